// Goal: the result of a script task travels as the specification's sample has it. Method: the sample byte for byte, and hostile rows.
#include "adapters/mp/script_result.h"

#include "adapters/mp/state_messages.h"
#include "adapters/mp/utf16.h"
#include "greengate/v1/report.pb.h"
#include "tests/adapters/mp/sample_reports.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <fstream>
#include <iterator>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

std::string sample() {
  std::ifstream file(GREENGATE_SOURCE_DIR "/tests/data/bgb/12-cmpivot-result-decoded.xml", std::ios::binary);
  EXPECT_TRUE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string from_base64(const std::string& text) {
  std::string bytes(text.size(), '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  EXPECT_GE(length, 0);
  const auto padding = static_cast<std::size_t>(std::count(text.begin(), text.end(), '='));
  bytes.resize(static_cast<std::size_t>(std::max(length, 0)) - padding);
  return bytes;
}

// The XML inside details, which are base64 between quotation marks.
std::string xml_in(const std::string& details) {
  EXPECT_TRUE(details.size() > 2 && details.front() == '"' && details.back() == '"') << details;
  return utf8_from_utf16(from_base64(details.substr(1, details.size() - 2)));
}

v1::ScriptResult result_of(std::initializer_list<const char*> columns, std::initializer_list<std::initializer_list<const char*>> rows) {
  v1::ScriptResult result;
  result.set_task_guid("7A1B2C3D-4E5F-4061-8293-A4B5C6D7E8F9");
  for (const char* column : columns) result.add_columns(column);
  for (const auto& row : rows) {
    v1::ScriptRow& made = *result.add_rows();
    for (const char* value : row) made.add_values(value);
  }
  return result;
}

TEST(ScriptResult, IsTheSampleByteForByte) {
  const auto details = script_result_details(result_of({"Name", "Version"}, {{"Example OS", "10.0.1"}}));
  ASSERT_TRUE(details) << details.error().message;
  EXPECT_EQ(xml_in(*details), sample());
  const std::string wide = from_base64(details->substr(1, details->size() - 2));
  EXPECT_EQ(wide, utf16_from_utf8(sample())) << "UTF-16LE without a byte order mark";
}

TEST(ScriptResult, TravelsInAStateMessageUnderItsScriptAndTask) {
  v1::StateMessage message;
  message.set_time_ms(1'768'464'000'000);
  message.set_topic_type(9'003);
  message.set_topic_id("3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19");
  message.set_state_id(1);
  *message.mutable_script_result() = result_of({"Name", "Version"}, {{"Example OS", "10.0.1"}});
  const std::vector<const v1::StateMessage*> one{&message};
  const auto made = state_message(sample_settings(), sample_identity(), sample_facts(), one, 7);
  ASSERT_TRUE(made) << made.error().message;
  const std::string body = body_text(open(*made));
  const auto details = script_result_details(message.script_result());
  ASSERT_TRUE(details);
  const std::string wanted =
      "<Topic ID=\"3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19\" Type=\"9003\" IDType=\"0\" User=\"\" UserSID=\"\"/><State ID=\"1\" Criticality=\"0\"/>"
      "<StateDetails Type=\"1\"><![CDATA[" + *details + "]]></StateDetails>"
      "<UserParameters Flags=\"0\" Count=\"2\"><Param>{7A1B2C3D-4E5F-4061-8293-A4B5C6D7E8F9}</Param><Param>0</Param></UserParameters>";
  EXPECT_NE(body.find(wanted), std::string::npos) << body;
}

TEST(ScriptResult, ValuesCannotBecomeMarkup) {
  const auto details = script_result_details(result_of({"Output"}, {{"<e a=\"b\">&amp;]]>"}, {"tab\there"}, {""}}));
  ASSERT_TRUE(details);
  EXPECT_EQ(xml_in(*details),
            "<?xml version=\"1.0\" encoding=\"utf-16\"?><result ResultCode=\"0\"><e Output=\"&lt;e a=&quot;b&quot;&gt;&amp;amp;]]&gt;\" />"
            "<e Output=\"tab&#9;here\" /><e Output=\"\" /></result>");
}

TEST(ScriptResult, CodeAndAbsenceOfRowsAreTold) {
  v1::ScriptResult result = result_of({"Output"}, {});
  result.set_result_code(-5);
  EXPECT_EQ(xml_in(*script_result_details(result)), "<?xml version=\"1.0\" encoding=\"utf-16\"?><result ResultCode=\"-5\"></result>");
}

TEST(ScriptResult, HostileColumnsAndSizesAreRefused) {
  const auto code = [](const v1::ScriptResult& result) {
    const auto details = script_result_details(result);
    return details ? std::string() : details.error().code;
  };
  EXPECT_EQ(code(result_of({"a b"}, {{"x"}})), "mp.script_result");
  EXPECT_EQ(code(result_of({"a", "a"}, {{"x", "y"}})), "mp.script_result");
  EXPECT_EQ(code(result_of({""}, {{"x"}})), "mp.script_result");
  EXPECT_EQ(code(result_of({"a"}, {{"x", "y"}})), "mp.script_result");
  EXPECT_EQ(code(result_of({}, {{"x"}})), "mp.script_result");
  v1::ScriptResult large = result_of({"a"}, {});
  for (int i = 0; i < 70; ++i) large.add_rows()->add_values(std::string(1'000, 'x'));
  EXPECT_EQ(code(large), "mp.script_result");
  v1::ScriptResult wide = result_of({}, {});
  for (int i = 0; i < 33; ++i) wide.add_columns("c" + std::to_string(i));
  EXPECT_EQ(code(wide), "mp.script_result");
}

}  // namespace
}  // namespace greengate::test
