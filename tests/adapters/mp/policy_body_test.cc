// Goal: what a policy body says is read whatever its form, and a hostile one costs nothing. Method: bodies composed here after the
// documented classes and the one public shape of a body, in every encoding a site may use.
#include "adapters/mp/policy_body.h"
#include "adapters/mp/compression.h"
#include "adapters/mp/document.h"
#include "adapters/mp/signing_key.h"
#include "adapters/mp/utf16.h"
#include "adapters/mp/wire_time.h"
#include "tests/adapters/mp/fixture.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <random>

namespace greengate::test {
namespace {

using namespace greengate::adapters;
using std::chrono::minutes;

const std::string resync =
    R"(<?xml version="1.0"?><Policy PolicyID="{B1}" PolicyVersion="4.00"><PolicyRule PolicyRuleID="{B1}">)"
    R"(<PolicyAction PolicyActionType="WMI-XML"><instance class="InventoryAction">)"
    R"(<property name="InventoryActionID" type="8"><value><![CDATA[{00000000-0000-0000-0000-000000000001}]]></value></property>)"
    R"(<property name="ReportType" type="8"><value>Resync</value></property>)"
    R"(<property name="InventoryActionLastUpdateTime" type="8"><value>20260110000000.000000+000</value></property>)"
    R"(</instance></PolicyAction></PolicyRule></Policy>)";

std::string wide(const std::string& text) { return "\xFF\xFE" + utf16_from_utf8(text) + std::string(2, '\0'); }

std::string hex_digest(const EVP_MD* kind, const std::string& bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, kind, nullptr);
  return upper_hex({reinterpret_cast<const char*>(digest.data()), size});
}

Result<PolicyBody> read(const std::string& body, std::uint32_t flags = 0) {
  PolicyAssignment assignment;
  assignment.flags = flags;
  return read_policy_body(sample_settings(), assignment, body);
}

std::string code_of(const std::string& body, std::uint32_t flags = 0) {
  const auto got = read(body, flags);
  return got ? "read" : got.error().code;
}

TEST(PolicyBody, SaysWhatIsWantedAgainAndSinceWhen) {
  const auto body = read(wide(resync));
  ASSERT_TRUE(body) << body.error().message;
  ASSERT_EQ(body->actions.size(), 1u);
  EXPECT_EQ(body->actions[0].area, PolicyArea::hardware);
  EXPECT_TRUE(body->actions[0].wants_everything_again());
  EXPECT_EQ(body->actions[0].last_update, read_datetime("2026-01-10T00:00:00Z"));
  EXPECT_FALSE(body->conditional);
}

TEST(PolicyBody, IsReadInEveryEncodingASiteMaySend) {
  for (const std::string& sent :
       {wide(resync), "\xFF\xFE" + utf16_from_utf8(resync), utf16_from_utf8(resync), resync, "\xEF\xBB\xBF" + resync,
        resync + std::string(1, '\0')}) {
    const auto body = read(sent);
    ASSERT_TRUE(body) << body.error().message;
    EXPECT_EQ(body->actions.size(), 1u);
  }
}

TEST(PolicyBody, KnowsTheSameFactsInOtherForms) {
  for (const std::string form : {
           // CIM-XML
           R"(<X><INSTANCE CLASSNAME="InventoryAction"><PROPERTY NAME="InventoryActionID"><VALUE>{00000000-0000-0000-0000-000000000002}</VALUE></PROPERTY><PROPERTY NAME="ReportType"><VALUE>RESYNC</VALUE></PROPERTY></INSTANCE></X>)",
           // elements
           R"(<X><InventoryAction><InventoryActionID>{00000000-0000-0000-0000-000000000002}</InventoryActionID><ReportType>resync</ReportType></InventoryAction></X>)",
           // attributes
           R"(<InventoryAction InventoryActionID="{00000000-0000-0000-0000-000000000002}" ReportType="Resync"/>)",
           R"(<X><instance class="InventoryAction"><property name="InventoryActionID" value="{00000000-0000-0000-0000-000000000002}"/><property name="ReportType" value="Resync"/></instance></X>)"}) {
    const auto body = read(form);
    ASSERT_TRUE(body) << form;
    ASSERT_EQ(body->actions.size(), 1u) << form;
    EXPECT_EQ(body->actions[0].area, PolicyArea::software) << form;
    EXPECT_TRUE(body->actions[0].wants_everything_again()) << form;
  }
}

TEST(PolicyBody, ListsTheClassesAndPropertiesOfAnInventory) {
  const auto body = read(
      R"(<Policy><PolicyRule><PolicyAction><instance class="InventoryDataItem"><property name="ItemClass"><value>Win32_Service</value></property>)"
      R"(<property name="Namespace"><value>\\.\root\CIMV2</value></property><property name="Properties"><value>Name, State,StartMode</value></property>)"
      R"(<property name="InventoryActionID"><value>{00000000-0000-0000-0000-000000000001}</value></property></instance>)"
      R"(<instance class="InventoryDataItem"><property name="ItemClass"><value>SMS_Processor</value></property></instance></PolicyAction></PolicyRule></Policy>)");
  ASSERT_TRUE(body);
  ASSERT_EQ(body->items.size(), 2u);
  EXPECT_EQ(body->items[0].class_name, "Win32_Service");
  EXPECT_EQ(body->items[0].name_space, "root\\cimv2");
  EXPECT_EQ(body->items[0].properties, (std::vector<std::string>{"name", "state", "startmode"}));
  EXPECT_EQ(body->items[0].area, PolicyArea::hardware);
  EXPECT_TRUE(body->items[1].properties.empty());
  EXPECT_GT(body->bytes(), sizeof(PolicyBody));
}

TEST(PolicyBody, ReadsClientAgentSchedules) {
  const auto body = read(
      R"(<Policy><instance class="CCM_Scheduler_ScheduledMessage"><property name="ScheduledMessageID"><value>{00000000-0000-0000-0000-000000000003}</value></property>)"
      R"(<property name="Triggers" type="8200"><value>junk</value><value>SimpleInterval;Minutes=720;MaxRandomDelayMinutes=5</value></property></instance>)"
      R"(<instance class="CCM_Scheduler_ScheduledMessage"><property name="ScheduledMessageID"><value>{00000000-0000-0000-0000-000000000001}</value></property>)"
      R"(<property name="Triggers"><value>ScheduleString;Schedule=0001200000100038;MaxRandomDelayMinutes=240</value></property></instance></Policy>)");
  ASSERT_TRUE(body);
  ASSERT_EQ(body->schedules.size(), 2u);
  EXPECT_EQ(body->schedules[0].area, PolicyArea::discovery);
  EXPECT_EQ(body->schedules[0].every, minutes(720));
  EXPECT_EQ(body->schedules[1].area, PolicyArea::hardware);
  EXPECT_EQ(body->schedules[1].every, minutes(7 * 24 * 60));
}

TEST(TriggerInterval, DecodesTheDocumentedScheduleTokens) {
  EXPECT_EQ(trigger_interval("0001200000100038"), minutes(7 * 1440));    // every 7 days
  EXPECT_EQ(trigger_interval("1033BC7B10100010"), minutes(2 * 1440));    // every 2 days
  EXPECT_EQ(trigger_interval("0001200000102000"), minutes(1));           // every minute
  EXPECT_EQ(trigger_interval("0001200000100400"), minutes(4 * 60));      // every 4 hours
  EXPECT_EQ(trigger_interval("00012000001A4000"), minutes(14 * 1440));   // every 2 weeks
  EXPECT_EQ(trigger_interval("0001200000080000"), std::nullopt);         // once
  EXPECT_EQ(trigger_interval("0001200000100000"), std::nullopt);         // an interval of nothing
  for (const char* bad : {"", ";;;", "SimpleInterval;Minutes=0", "SimpleInterval;Minutes=-5", "SimpleInterval;Minutes=99999999",
                          "SimpleInterval;Minutes=1x", "Minutes=60", "00012000001000", "zzzzzzzzzzzzzzzz"})
    EXPECT_EQ(trigger_interval(bad), std::nullopt) << bad;
}

TEST(PolicyBody, NotesAConditionItDoesNotEvaluate) {
  const auto body = read(
      R"(<Policy><PolicyRule><Condition><Expression ExpressionLanguage="WQL"><![CDATA[@root\ccm SELECT * FROM A]]></Expression></Condition></PolicyRule></Policy>)");
  ASSERT_TRUE(body);
  EXPECT_TRUE(body->conditional);
}

TEST(PolicyBody, InflatesWhatIsFlaggedCompressedAndNothingElse) {
  const std::string packed = "<Policy>" + upper_hex(compress_zlib(wide(resync), 6)) + "</Policy>";
  const auto body = read(wide(packed), 64);
  ASSERT_TRUE(body) << body.error().message;
  EXPECT_EQ(body->actions.size(), 1u);
  EXPECT_TRUE(read(wide(packed))->empty()) << "without the flag it is only text";
  EXPECT_EQ(code_of("<Policy>not hex</Policy>", 64), "mp.policy_body");
  EXPECT_EQ(code_of("<Policy>00112233</Policy>", 64), "mp.inflate");
}

TEST(PolicyBody, StopsEveryHostileBodyAtItsBound) {
  const std::string bomb = "<Policy>" + upper_hex(compress_zlib(std::string(64u << 20, ' '), 9)) + "</Policy>";
  EXPECT_EQ(code_of(bomb, 64), "mp.inflate_too_large");
  EXPECT_EQ(code_of(std::string((4u << 20) + 1, ' ')), "mp.policy_too_large");
  std::string many = "<a>";
  while (many.size() < (3u << 20)) many += "<b/>";
  EXPECT_EQ(code_of(many + "</a>"), "mp.policy_too_large") << "a tree of small elements is refused before it is built";
  std::string deep;
  for (int i = 0; i < 50'000; ++i) deep += "<a>";
  for (int i = 0; i < 50'000; ++i) deep += "</a>";
  EXPECT_EQ(code_of(deep), "mp.reply_xml");
  EXPECT_EQ(code_of("<!DOCTYPE a [<!ENTITY b \"c\">]><Policy/>"), "mp.reply_xml");
  std::string instances = "<a>";
  for (int i = 0; i < 5'000; ++i) instances += "<InventoryAction/>";
  EXPECT_EQ(code_of(instances + "</a>"), "mp.policy_body");
  EXPECT_EQ(code_of(std::string("\x30\x82\x01\x00", 4)), "mp.policy_encrypted");
  EXPECT_EQ(code_of("<!DOCTYPE html><html><body>Error</body></html>"), "mp.policy_page");
  EXPECT_EQ(code_of(""), "mp.reply_xml");
}

TEST(PolicyBody, SurvivesRandomDamage) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 dice(seed);
  const std::string whole = wide(resync);
  for (int i = 0; i < 2'000; ++i) {
    std::string damaged = whole.substr(0, dice() % (whole.size() + 1));
    for (unsigned j = 0; j < dice() % 8 && !damaged.empty(); ++j) damaged[dice() % damaged.size()] = static_cast<char>(dice());
    (void)read(damaged, dice() % 2 ? 64 : 0);
  }
}

TEST(PolicyHash, CoversTheBodyAsSentWithBomAndNul) {
  const std::string body = wide(resync);
  PolicyAssignment one;
  const auto check = [&] { return check_policy_hash(one, body); };
  EXPECT_EQ(check(), HashCheck::unverified);
  one.hash_ex = "SHA256:" + hex_digest(EVP_sha256(), body);
  EXPECT_EQ(check(), HashCheck::matches);
  EXPECT_EQ(check_policy_hash(one, body.substr(2)), HashCheck::differs) << "without its BOM it is another body";
  EXPECT_EQ(check_policy_hash(one, body.substr(0, body.size() - 2)), HashCheck::differs) << "without its NUL too";
  one.hash_ex = "SHA256:00";  // the sample's
  EXPECT_EQ(check(), HashCheck::differs);
  one.hash_ex = "SHA1:" + hex_digest(EVP_sha1(), body);
  EXPECT_EQ(check(), HashCheck::matches);
  one.hash_ex = hex_digest(EVP_sha1(), body);  // 2007: SHA-1, bare
  EXPECT_EQ(check(), HashCheck::matches);
  one.hash_ex = "SHA512:" + hex_digest(EVP_sha512(), body);
  EXPECT_EQ(check(), HashCheck::differs) << "a hash nobody can check is no reason to believe";
  one.hash_ex = "";
  one.hash = hex_digest(EVP_md5(), body);  // 2007: MD5
  EXPECT_EQ(check(), HashCheck::matches);
  one.hash[0] = one.hash[0] == '0' ? '1' : '0';
  EXPECT_EQ(check(), HashCheck::differs);
  one.hash = "";
  one.location = "http://<mp>/SMS_MP/.sms_pol?{A}.SHA256:" + hex_digest(EVP_sha256(), body);
  EXPECT_EQ(check(), HashCheck::matches);
  one.location = "http://<mp>/SMS_MP/.sms_pol?{A}.SHA256:00";
  EXPECT_EQ(check(), HashCheck::differs);
}

TEST(PolicyAssignments, TellTheirHashesConditionsAndWhetherTheyAreAll) {
  const std::string sample_text = sample("policy-reply.xml");
  const auto reply = parse_policy_reply(sample_settings(), sample_text);
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->full);
  EXPECT_EQ(reply->assignments[0].hash_ex, "SHA256:00");
  EXPECT_EQ(reply->assignments[0].hash, "");
  EXPECT_FALSE(reply->assignments[0].conditional) << "its expression is empty";
  const auto update = parse_policy_reply(
      sample_settings(),
      R"(<ReplyAssignments ReplyType="OnUpdate"><PolicyAssignment><Condition><Operator><Expression>x</Expression></Operator></Condition><Policy PolicyID="a" PolicyFlags="8"/></PolicyAssignment></ReplyAssignments>)");
  ASSERT_TRUE(update);
  EXPECT_FALSE(update->full);
  EXPECT_TRUE(update->assignments[0].conditional);
  EXPECT_TRUE(update->assignments[0].intranet_only());
}

TEST(PolicyRequest, IsTheSampleAndFollowsTheSettings) {
  auto settings = sample_settings();
  const auto request = [&](const char* cookie) {
    const auto made = policy_request(settings, sample_identity(), sample_facts(), cookie);
    EXPECT_TRUE(made);
    return body_text(open(*made));
  };
  EXPECT_EQ(request(""), sample("policy-request.xml"));
  EXPECT_EQ(inside(request("2026-01-15 10:20:31.000"), "ServerCookie"), "2026-01-15 10:20:31.000");
  settings.policy_request_type = "OnUpdate";
  EXPECT_EQ(attribute(request("c"), "RequestAssignments", "RequestType"), "OnUpdate");
  EXPECT_EQ(attribute(request(""), "RequestAssignments", "RequestType"), "Full") << "there is nothing to update yet";
  settings.policy_validation = "CRC";
  EXPECT_EQ(attribute(request(""), "RequestAssignments", "ValidationRequested"), "CRC");
  settings.policy_request_type = "Sometimes";
  settings.policy_validation = "MD5";
  EXPECT_EQ(settings.problems("site").size(), 2u);
}

TEST(ReadDatetime, KnowsThePolicysFormsAndNoOthers) {
  const auto expected = from_millis(1'768'472'430'000);
  EXPECT_EQ(read_datetime("20260115102030.000000+000"), expected);
  EXPECT_EQ(read_datetime("20260115112030.000000+060"), expected);
  EXPECT_EQ(read_datetime("20260115092030.000000-060"), expected);
  EXPECT_EQ(read_datetime("2026-01-15T10:20:30Z"), expected);
  EXPECT_EQ(read_datetime("2026-01-15 10:20:30"), expected);
  EXPECT_EQ(read_datetime("01/15/2026 10:20:30"), expected);
  for (const char* bad : {"", "20260115102030", "20261315102030.000000+000", "20260230102030.000000+000", "20260115252030.000000+000",
                          "99990115102030.000000+000", "00000000000000.000000+000", "2026-01-15T10:20:30+01:00", "aa/bb/cccc 10:20:30"})
    EXPECT_EQ(read_datetime(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace greengate::test
