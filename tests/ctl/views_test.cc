#include "ctl/views.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace greengate::test {
namespace {

namespace json = boost::json;

TEST(IndentedXml, PutsEachElementOnALineAndKeepsItsText) {
  EXPECT_EQ(ctl::indented_xml("<?xml version=\"1.0\"?><A><B x=\"1\">text</B><C/><D></D><E><![CDATA[<x>]]></E></A>"),
            "<?xml version=\"1.0\"?>\n<A>\n  <B x=\"1\">text</B>\n  <C/>\n  <D></D>\n  <E><![CDATA[<x>]]></E>\n</A>\n");
}

TEST(IndentedXml, ShowsWhatIsNoXmlAsItIs) {
  EXPECT_EQ(ctl::indented_xml("no markup"), "no markup\n");
  EXPECT_EQ(ctl::indented_xml("</A></B><C"), "</A>\n</B>\n<C\n");
}

TEST(DeadLetterDiff, ShowsReportAndMessageBesideOneAnother) {
  const std::string shown = ctl::diff_dead_letter(json::parse(
      R"({"id": 7, "kind": "state messages", "has_body": true, "code": "mp.bad_request", "report": "messages {\n  topic_id: \"x\"\n}\n", "message_xml": "<A><B>x</B></A>"})"));
  EXPECT_NE(shown.find("messages {" + std::string(68, ' ') + " │ <A>\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find(" │   <B>x</B>\n"), std::string::npos);
  EXPECT_NE(shown.find("mp.bad_request"), std::string::npos);
}

TEST(Explanation, ShowsWhatItKnowsAndNothingOfWhatItDoesNot) {
  const std::string shown = ctl::show_explanation(json::parse(
      R"({"id": "a1", "host_name": "db01", "connected": true, "now_ms": 61000,
          "last_reports": [{"kind": "discovery", "state": "delivered", "bytes": 10, "collected_at_ms": 0, "stored_at_ms": 250, "settled_at_ms": 2250, "attempts": 0, "tracking": "{X}"}],
          "waiting": [{"lane": "inventory", "reports": 2, "bytes": 5, "oldest_stored_at_ms": 1000, "attempts": 3, "code": "mp.busy", "message": "later"}],
          "dead_letters": {"letters": 0}, "policy": {"assignments": 3, "asked_at_ms": 0, "next_for_ms": 60000}})"));
  EXPECT_NE(shown.find("connected"), std::string::npos);
  EXPECT_NE(shown.find("+250 ms"), std::string::npos);
  EXPECT_NE(shown.find("+2.0 s"), std::string::npos);
  EXPECT_NE(shown.find("mp.busy: later"), std::string::npos);
  EXPECT_NE(shown.find("1 min 0 s"), std::string::npos);
  EXPECT_EQ(shown.find("dead letters"), std::string::npos);
  EXPECT_EQ(shown.find("Identity"), std::string::npos);
}

}  // namespace
}  // namespace greengate::test
