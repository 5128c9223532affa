// Goal: nothing a server or the network sends can harm us, and each answer leads to the right next
// step. Method: the samples, every row of the table of status codes, and hostile bytes (seeds
// printed).
#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/policy.h"
#include "adapters/mp/registration.h"
#include "adapters/mp/utf16.h"
#include "adapters/mp/verdict.h"
#include "adapters/mp/wire_time.h"
#include "tests/adapters/mp/fixture.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <random>

namespace greengate::test {
namespace {

using namespace greengate::adapters;
using std::chrono::milliseconds;

const std::string boundary = "aAbBcCdDv1234567890VxXyYzZ";

std::string reply_body(const std::string& payload) {
  return multipart_head(boundary) + "\xFF\xFE" + utf16_from_utf8("<Msg />") +
         multipart_middle(boundary) + payload + multipart_tail(boundary);
}

std::string wide_with_nul(const std::string& xml) {
  return utf16_from_utf8(xml) + std::string(2, '\0');
}

Result<Verdict> read(unsigned status, std::string_view body, bool expects_reply = true,
                     std::string_view retry = "") {
  const std::string type = "multipart/mixed; boundary=\"" + boundary + "\"";
  return read_verdict(sample_settings(), expects_reply, {status, type, retry, body},
                      sample_facts().made_at);
}

TEST(Verdict, TakesAny2xxOfAPostForDelivered) {
  for (const unsigned status : {200u, 202u, 204u})
    EXPECT_EQ(read(status, "", false)->kind, Verdict::Kind::delivered);
  EXPECT_EQ(read(200, "anything", false)->kind, Verdict::Kind::delivered);
}

TEST(Verdict, TakesAnEmpty200OfAnInvokeForARefusal) {
  EXPECT_EQ(read(200, "")->kind, Verdict::Kind::refused);
}

TEST(Verdict, ReadsAReplyCompressedOrPlainWithOrWithoutBomAndEnd) {
  const std::string xml = sample("registration-response.xml");
  const std::string wide = utf16_from_utf8(xml), nul(2, '\0');
  for (const std::string& text : {wide + nul, wide, "\xFF\xFE" + wide + nul, wide + nul + "\r\n",
                                  wide + nul + std::string(1, '\0')}) {
    for (const bool compressed : {true, false}) {
      const auto verdict = read(200, reply_body(compressed ? compress_zlib(text, 6) : text));
      ASSERT_TRUE(verdict) << verdict.error().message;
      EXPECT_EQ(verdict->kind, Verdict::Kind::reply);
      EXPECT_EQ(verdict->xml, xml);
    }
  }
}

TEST(Verdict, PutsEachStatusDownToWhoMustAct) {
  struct Row {
    unsigned status;
    const char* code;
    Remedy remedy;
  };
  for (const Row& row : std::initializer_list<Row>{{301, "mp.redirected", Remedy::retry},
                                                   {400, "mp.bad_request", Remedy::reject},
                                                   {401, "mp.unauthorized", Remedy::retry},
                                                   {403, "mp.forbidden", Remedy::retry},
                                                   {404, "mp.not_there", Remedy::retry},
                                                   {405, "mp.not_there", Remedy::retry},
                                                   {408, "mp.busy", Remedy::retry},
                                                   {413, "mp.bad_request", Remedy::reject},
                                                   {429, "mp.busy", Remedy::retry},
                                                   {500, "mp.unavailable", Remedy::retry},
                                                   {503, "mp.unavailable", Remedy::retry},
                                                   {700, "mp.status", Remedy::reject}}) {
    for (const bool expects_reply : {true, false}) {
      const auto verdict = read(row.status, "", expects_reply);
      ASSERT_FALSE(verdict) << row.status;
      EXPECT_STREQ(verdict.error().code, row.code) << row.status;
      EXPECT_EQ(verdict.error().remedy, row.remedy) << row.status;
    }
  }
}

TEST(Verdict, AsksSeldomWhereAPersonMustActFirst) {
  EXPECT_EQ(read(403, "").error().retry_after, sample_settings().configuration_retry);
  EXPECT_EQ(read(403, "", true, "3000").error().retry_after, milliseconds(3'000'000));
  EXPECT_EQ(read(500, "").error().retry_after, milliseconds(0));
}

TEST(RetryAfter, IsReadAsSecondsOrDateAndCapped) {
  const WallTime now = sample_facts().made_at;  // 2026-01-15T10:20:30Z, a Thursday
  const milliseconds cap(3'600'000);
  EXPECT_EQ(retry_after("120", now, cap), milliseconds(120'000));
  EXPECT_EQ(retry_after(" 120 ", now, cap), milliseconds(120'000));
  EXPECT_EQ(retry_after("99999", now, cap), cap);
  EXPECT_EQ(retry_after("99999999999999999999999", now, cap), cap);
  EXPECT_EQ(retry_after("Thu, 15 Jan 2026 10:21:30 GMT", now, cap), milliseconds(60'000));
  EXPECT_EQ(retry_after("Thu, 15 Jan 2026 10:19:30 GMT", now, cap), milliseconds(0));
  EXPECT_EQ(retry_after("Thu, 15 Jan 2099 10:19:30 GMT", now, cap), cap);
  for (const char* bad :
       {"", "-5", "soon", "Thu, 45 Jan 2026 10:21:30 GMT", "Thu, 15 Foo 2026 10:21:30 GMT", "1e3"})
    EXPECT_EQ(retry_after(bad, now, cap), milliseconds(0)) << bad;
}

TEST(WireTime, KnowsTheYearsCimHasAndNoOthers) {
  EXPECT_EQ(cim_datetime(0), "19700101000000.000000+000");
  EXPECT_EQ(cim_datetime(-1), "19691231235959.000000+000");
  EXPECT_EQ(us_datetime(to_millis(sample_facts().made_at)), "01/15/2026 10:20:30");
  EXPECT_EQ(iso_datetime(253'402'300'799'999), "9999-12-31T23:59:59Z");
  for (const std::int64_t bad :
       {INT64_MAX, INT64_MIN, std::int64_t{253'402'300'800'000}, std::int64_t{-11'644'473'600'001}})
    EXPECT_FALSE(cim_datetime(bad));
}

TEST(Multipart, ReadsItsOwnWriting) {
  const std::string payload = "\r\n--" + boundary + " and --" + boundary + "-- inside\r\n--";
  const std::string body = reply_body(payload);
  const auto parts = parse_multipart(body, multipart_content_type(boundary), "");
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->payload, payload);
  EXPECT_EQ(utf8_from_utf16(parts->header), "<Msg />");
}

TEST(Multipart, ReadsWhatOtherWritersSend) {
  // The last closing boundary counts, other boundaries do, a trailing line end and missing part
  // headers do no harm.
  const std::string body =
      "--x\r\nContent-Type: text/plain\r\nX: y\r\n\r\nhead\r\n--x\r\n\r\nA\r\n--x--B\r\n--x--\r\n";
  for (const char* type :
       {"multipart/mixed; boundary=x", "Multipart/Mixed;charset=z;  BOUNDARY = \"x\"",
        "multipart/mixed; boundary=x; a=b"}) {
    const auto parts = parse_multipart(body, type, "other");
    ASSERT_TRUE(parts) << type;
    EXPECT_EQ(parts->header, "head");
    EXPECT_EQ(parts->payload, "A\r\n--x--B");
  }
  EXPECT_TRUE(parse_multipart(body, "", "x"));
  EXPECT_FALSE(parse_multipart(body, "", "y"));
}

TEST(Multipart, CutAtAnyByteIsRefusedOrWhole) {
  const std::string body =
      reply_body(compress_zlib(wide_with_nul(sample("registration-response.xml")), 6));
  for (std::size_t length = 0; length < body.size(); ++length) {
    const auto parts = parse_multipart(std::string_view(body).substr(0, length),
                                       multipart_content_type(boundary), "");
    ASSERT_FALSE(parts) << length;
    EXPECT_STREQ(parts.error().code, "mp.multipart");
  }
}

TEST(Multipart, SurvivesRandomBytesAndRandomDamage) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string whole = reply_body(compress_zlib(wide_with_nul(sample("policy-reply.xml")), 6));
  const std::vector<std::string> pieces{
      "--" + boundary,     "\r\n", "--", "\r\n--" + boundary + "--", "a: b\r\n\r\n",
      std::string(3, '\0')};
  for (int round = 0; round < 3000; ++round) {
    std::string body;
    if (round % 2 == 0) {
      for (unsigned i = random() % 12; i > 0; --i) body += pieces[random() % pieces.size()];
    } else {
      body = whole;
      for (unsigned i = 1 + random() % 4; i > 0; --i)
        body[random() % body.size()] = static_cast<char>(random());
    }
    const auto verdict = read(200, body);
    if (!verdict) {
      EXPECT_EQ(verdict.error().remedy, Remedy::retry);
    } else if (verdict->kind == Verdict::Kind::reply) {
      static_cast<void>(parse_policy_reply(sample_settings(), verdict->xml));
      static_cast<void>(parse_registration_reply(sample_settings(), verdict->xml));
    }
  }
}

TEST(Inflate, StopsABombAtItsCap) {
  const std::string bomb = compress_zlib(std::string(64 << 20, '\0'), 6);
  EXPECT_LT(bomb.size(), 100'000u);
  const auto plain = inflate_zlib(bomb, 1 << 20);
  ASSERT_FALSE(plain);
  EXPECT_STREQ(plain.error().code, "mp.inflate_too_large");
  EXPECT_TRUE(inflate_zlib(bomb, 64 << 20));
}

TEST(Inflate, RefusesDamageAndBytesBehindTheEnd) {
  const std::string whole = compress_zlib("some text, and some text again", 6);
  EXPECT_EQ(*inflate_zlib(whole, 1000), "some text, and some text again");
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(inflate_zlib(whole.substr(0, length), 1000));
  const auto behind = inflate_zlib(whole + "x", 1000);
  ASSERT_FALSE(behind);
  EXPECT_STREQ(behind.error().code, "mp.inflate");
}

TEST(Compress, IsReadByZlibAtEveryLevelAndNamesTheDefault) {
  const std::string plain = sample("hinv-full.xml");
  for (int level = 1; level <= 12; ++level) {
    const std::string stream = compress_zlib(plain, level);
    EXPECT_EQ(stream.substr(0, 2), "\x78\x9C");
    std::string out(plain.size(), '\0');
    uLongf length = out.size();
    EXPECT_EQ(uncompress(reinterpret_cast<Bytef*>(out.data()), &length,
                         reinterpret_cast<const Bytef*>(stream.data()), stream.size()),
              Z_OK);
    EXPECT_EQ(out, plain);
  }
}

TEST(Compress, TakesWhatDoesNotCompressAtAnyLengthAndLevel) {
  std::uint64_t state = 88172645463325252ULL;
  std::string noise(3u << 20, '\0');
  for (char& c : noise) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    c = static_cast<char>(state);
  }
  std::vector<std::size_t> lengths{0, 1, 2, 63, 64, 4'999, 5'000, 65'534, 65'535, 65'536, 131'071, 1u << 20, (1u << 20) + 1, noise.size()};
  for (std::size_t more = 0; more < 40; ++more) lengths.push_back(7'919 * more + 13);
  for (const int level : {1, 2, 6}) {
    for (const std::size_t length : lengths) {
      const std::string_view plain = std::string_view(noise).substr(0, length);
      const auto back = inflate_zlib(compress_zlib(plain, level), length + 1);
      ASSERT_TRUE(back) << length << " bytes at level " << level << ": " << back.error().message;
      EXPECT_TRUE(*back == plain) << length << " bytes at level " << level;
    }
  }
}

TEST(Utf16, GoesThereAndBack) {
  const std::string text = "plain \xC3\x84 \xE2\x82\xAC \xF0\x9F\x98\x80";
  EXPECT_EQ(utf8_from_utf16(utf16_from_utf8(text)), text);
  EXPECT_EQ(utf8_from_utf16("\xFF\xFE" + utf16_from_utf8("x")), "x");
  EXPECT_EQ(utf8_from_utf16(std::string("\x00\xD8x\x00", 4)), "\xEF\xBF\xBDx");
  EXPECT_EQ(utf8_from_utf16("x"), "\xEF\xBF\xBD");
  EXPECT_EQ(utf8_from_utf16(utf16_from_utf8("\xC0\x80\xFF\xE2\x82")),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

Result<RegistrationReply> registered(const std::string& xml) {
  return parse_registration_reply(sample_settings(), xml);
}

TEST(RegistrationReply, ReadsTheSamples) {
  const auto first = registered(sample("registration-response.xml"));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->status, RegistrationStatus::pending);
  EXPECT_EQ(first->sms_id.raw(), vectors().at("smsid"));
  const auto second = registered(sample("confirmation-response.xml"));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->status, RegistrationStatus::done);
  EXPECT_EQ(second->approval, 1);
}

TEST(RegistrationReply, UnderstandsEveryRefusal) {
  EXPECT_EQ(registered("<ClientRegistrationResponse Status=\"2\" />")->status,
            RegistrationStatus::again);
  EXPECT_EQ(registered("<ClientRegistrationResponse Status=\"3\" />")->status,
            RegistrationStatus::rejected);
  EXPECT_EQ(registered("<ClientRegistrationResponse Status=\"0\" ApprovalStatus=\"-1\" />")->status,
            RegistrationStatus::rejected);
}

TEST(RegistrationReply, IsRefusedWithoutAUsableId) {
  for (const char* bad :
       {"<ClientRegistrationResponse Status=\"0\" />",
        "<ClientRegistrationResponse Status=\"1\" SMSID=\"x\" />", "<ClientRegistrationResponse />",
        "<ClientRegistrationResponse Status=\"4\" />", "<Other Status=\"2\" />"}) {
    const auto reply = registered(bad);
    ASSERT_FALSE(reply) << bad;
    EXPECT_STREQ(reply.error().code, "mp.registration_reply");
  }
}

TEST(ReplyXml, RefusesDoctypeDepthAndLength) {
  const auto code = [](const std::string& xml) {
    const auto reply = registered(xml);
    return std::string(reply ? "accepted" : reply.error().code);
  };
  EXPECT_EQ(code("<!DOCTYPE a [<!ENTITY b \"c\">]><ClientRegistrationResponse Status=\"2\" />"),
            "mp.reply_xml");
  EXPECT_EQ(code("<a"), "mp.reply_xml");
  EXPECT_EQ(code(""), "mp.reply_xml");
  std::string deep;
  for (int i = 0; i < 200'000; ++i) deep += "<a>";
  for (int i = 0; i < 200'000; ++i) deep += "</a>";
  EXPECT_EQ(code(deep), "mp.reply_xml");
  EXPECT_EQ(code(std::string(33u << 20, ' ')), "mp.reply_xml");
}

TEST(PolicyReply, ReadsTheSample) {
  const auto reply = parse_policy_reply(sample_settings(), sample("policy-reply.xml"));
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->cookie, "2026-01-15 10:20:31.000");
  ASSERT_EQ(reply->assignments.size(), 1u);
  const PolicyAssignment& one = reply->assignments[0];
  EXPECT_EQ(one.assignment_id, "{0D0E0F00-0000-4000-8000-000000000001}");
  EXPECT_EQ(one.policy_id, "{0D0E0F00-0000-4000-8000-0000000000AA}");
  EXPECT_EQ(one.version, "3.00");
  EXPECT_EQ(one.category, "InventoryActions");
  EXPECT_TRUE(one.may_be_fetched());
  EXPECT_EQ(*policy_target(one.location),
            "/SMS_MP/.sms_pol?{0D0E0F00-0000-4000-8000-0000000000AA}.3_00");
}

TEST(PolicyReply, NeverOffersTaskSequencesOrSecretsForFetching) {
  for (std::uint32_t flags = 0; flags < 128; ++flags) {
    const std::string xml = "<ReplyAssignments><PolicyAssignment><Policy PolicyFlags=\"" +
                            std::to_string(flags) + "\" /></PolicyAssignment></ReplyAssignments>";
    const auto reply = parse_policy_reply(sample_settings(), xml);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->assignments[0].may_be_fetched(), flags % 8 == 0);
  }
}

TEST(PolicyReply, IsRefusedWhenItsFlagsOrBoundsAreBroken) {
  const auto code = [](const std::string& xml, MpSettings settings = sample_settings()) {
    const auto reply = parse_policy_reply(settings, xml);
    return std::string(reply ? "accepted" : reply.error().code);
  };
  EXPECT_EQ(code("<ReplyAssignments><PolicyAssignment><Policy PolicyFlags=\"4x\" "
                 "/></PolicyAssignment></ReplyAssignments>"),
            "mp.policy_reply");
  EXPECT_EQ(code("<Other />"), "mp.policy_reply");
  EXPECT_EQ(code("<ReplyAssignments><ServerCookie>" + std::string(5000, 'x') +
                 "</ServerCookie></ReplyAssignments>"),
            "mp.policy_reply");
  EXPECT_EQ(code("<ReplyAssignments><PolicyAssignment><Policy PolicyID=\"" +
                 std::string(5000, 'x') + "\" /></PolicyAssignment></ReplyAssignments>"),
            "mp.policy_reply");
  MpSettings few = sample_settings();
  few.policy_assignments_max = 1;
  EXPECT_EQ(code("<ReplyAssignments><PolicyAssignment><Policy /><Policy "
                 "/></PolicyAssignment></ReplyAssignments>",
                 few),
            "mp.policy_reply");
}

TEST(PolicyTarget, LeadsNowhereButToTheManagementPointsPolicies) {
  for (const char* bad :
       {"", "file:///etc/passwd", "http://<mp>/other", "http://<mp>/SMS_MP/.sms_pol?a b",
        "http://<mp>/SMS_MP/.sms_pol?a\r\nX: y", "http://evil"}) {
    const auto target = policy_target(bad);
    ASSERT_FALSE(target) << bad;
    EXPECT_STREQ(target.error().code, "mp.policy_location");
  }
}

TEST(Settings, ComplainAboutEachValueThatCannotBe) {
  EXPECT_TRUE(sample_settings().problems("site").empty());
  MpSettings bad;
  bad.boundary = "a b";
  bad.request_path = "/ccm_system_altauth/request";
  bad.compression_level = 13;
  bad.reply_compression = "gzip";
  bad.internet_flag = 3;
  bad.state_priority = 6;
  const auto problems = bad.problems("site");
  std::set<std::string> keys;
  for (const auto& problem : problems) keys.insert(problem.key);
  EXPECT_EQ(keys, (std::set<std::string>{"site.site_code", "site.boundary", "site.request_path",
                                         "site.compression_level", "site.reply_compression",
                                         "site.internet_flag", "site.state_priority"}));
}

}  // namespace
}  // namespace greengate::test
