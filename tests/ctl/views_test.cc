#include "ctl/terminal.h"
#include "ctl/views.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace greengate::test {
namespace {

namespace json = boost::json;

TEST(Terminal, GetsNoControlCharacterFromAStrangersWords) {
  using ctl::Lines;
  EXPECT_EQ(ctl::tamed("a\x1b[2J\x07\x7f\r b", Lines::keep), "a?[2J??? b");
  EXPECT_EQ(ctl::tamed("one\ttwo\nthree", Lines::keep), "one\ttwo\nthree");
  EXPECT_EQ(ctl::tamed("one\ttwo\nthree", Lines::flatten), "one?two?three");
  EXPECT_EQ(ctl::tamed("\xC2\x9B" "31m \xC3\xBC \xC2\xA7 \xE2\x80\xA6 \xC2", Lines::flatten), "?31m \xC3\xBC \xC2\xA7 \xE2\x80\xA6 \xC2");
  EXPECT_EQ(ctl::tamed(std::string_view("\0", 1), Lines::keep), "?");
}

TEST(Notifications, AnAgentsWordsCannotCommandTheTerminal) {
  const std::string shown = ctl::show_notification(json::parse(
      R"({"id": 17, "task": "restart", "origin": "site", "created_at_ms": 0, "expires_at_ms": 1000, "devices": 1, "states": {"failed": 1},
          "entries": [{"notification": 99, "agent": "a1", "host_name": "db\u001b]0;x\u0007", "state": "failed", "changed_at_ms": 500, "code": "task.vetoed", "message": "\u009b2J"}]})"));
  EXPECT_EQ(shown.find('\x1b'), std::string::npos);
  EXPECT_EQ(shown.find("\xC2\x9B"), std::string::npos);
  EXPECT_NE(shown.find("db?]0;x?"), std::string::npos) << shown;
}

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

TEST(Notifications, ListShowsEachWithHowFarItIs) {
  const std::string shown = ctl::show_notifications(json::parse(
      R"({"notifications": [{"id": 17, "task": "full_scan", "origin": "anna", "created_at_ms": 0, "devices": 5, "states": {"waiting": 2, "done": 3}}]})"));
  EXPECT_NE(shown.find("17"), std::string::npos);
  EXPECT_NE(shown.find("full_scan"), std::string::npos);
  EXPECT_NE(shown.find("2 waiting, 3 done"), std::string::npos) << shown;
  EXPECT_EQ(ctl::show_notifications(json::parse(R"({"notifications": []})")), "Nobody was asked to do anything.\n");
}

TEST(Notifications, OneShowsEveryAgentAndSaysWhenThereAreMore) {
  const std::string shown = ctl::show_notification(json::parse(
      R"({"id": 17, "task": "restart", "urgent": true, "origin": "site", "key": "13/1013", "created_at_ms": 0, "expires_at_ms": 1000, "expired": true,
          "devices": 2, "states": {"failed": 1, "done": 1},
          "entries": [{"notification": 99, "agent": "a1", "host_name": "db01", "state": "failed", "changed_at_ms": 500, "code": "task.vetoed", "message": "Not today."}]})"));
  EXPECT_NE(shown.find("17, urgent"), std::string::npos);
  EXPECT_NE(shown.find("site, its 13/1013"), std::string::npos);
  EXPECT_NE(shown.find("which is over"), std::string::npos);
  EXPECT_NE(shown.find("task.vetoed: Not today."), std::string::npos);
  EXPECT_NE(shown.find("--after 99"), std::string::npos) << shown;
}

TEST(Notifications, AnOrderSaysWhatBecameOfIt) {
  EXPECT_EQ(ctl::show_order(json::parse(R"({"id": 3, "task": "discovery", "devices": 1, "collapsed": 1, "fresh": true})")),
            "Notification 3: discovery for 1 agent. It takes the place of 1 that still waited. `greengatectl notify show 3` tells how far it is.\n");
  EXPECT_NE(ctl::show_order(json::parse(R"({"id": 3, "task": "discovery", "devices": 0, "fresh": false})")).find("Nothing new"), std::string::npos);
}

TEST(Explanation, ShowsAnAgentsLastNotifications) {
  const std::string shown = ctl::show_explanation(json::parse(
      R"({"id": "a1", "notifications": [{"id": 3, "task": "restart", "origin": "anna", "created_at_ms": 0, "state": "failed", "changed_at_ms": 0, "code": "task.vetoed", "message": ""}]})"));
  EXPECT_NE(shown.find("LAST NOTIFICATIONS"), std::string::npos);
  EXPECT_NE(shown.find("anna"), std::string::npos);
  EXPECT_NE(shown.find("task.vetoed"), std::string::npos);
}

}  // namespace
}  // namespace greengate::test
