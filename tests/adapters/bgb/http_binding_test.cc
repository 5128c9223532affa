#include "adapters/bgb/http_binding.h"

#include "tests/adapters/bgb/peer.h"

#include <gtest/gtest.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

namespace greengate::test {
namespace {

using namespace adapters::bgb;
using adapters::HttpResponse;
using std::chrono::milliseconds;
using std::chrono::seconds;

const std::string sms_id = "GUID:5B1D0A2E-6C44-4F0B-9E37-1A2B3C4D5E6F";
const WallTime noon = from_millis(1'768'478'400'000);  // 2026-01-15T12:00:00Z

Profile profile_a() {
  auto profile = built_in_profile("A");
  return *profile;
}

const TestIdentity& rsa_identity() {
  static const TestIdentity made = make_identity("agent", "", 30, true);
  return made;
}

HttpSigner signer() {
  return {SmsId(sms_id), rsa_identity().private_key_der};
}

Message sign_in() {
  Message message;
  message.kind = Kind::sign_in;
  message.unix_seconds = 1'768'478'400;
  message.client_id = sms_id;
  message.client_type = "SCCM";
  message.client_version = "5.00.9141.1000";
  return message;
}

std::string ascii_of(std::string_view utf16le) {
  std::string out;
  for (std::size_t i = 0; i + 1 < utf16le.size(); i += 2) out += utf16le[i];
  return out;
}

// By hand, layout A: u32 payload, two bytes of version, u16 header, u32 channel.
struct Body {
  std::uint32_t payload_size = 0, header_size = 0, channel = 0;
  std::string header, payload;
};
Body taken_apart(const std::string& body) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(body.at(i))); };
  Body parts;
  parts.payload_size = byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
  parts.header_size = byte(6) | byte(7) << 8;
  parts.channel = byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  parts.header = body.substr(12, parts.header_size);
  parts.payload = body.substr(12 + parts.header_size);
  return parts;
}

std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const auto from = text.find(before);
  if (from == std::string::npos) return "";
  const auto begin = from + before.size();
  return text.substr(begin, text.find(after, begin) - begin);
}

// RSA-SHA256 with big-endian bytes, as OpenSSL verifies it.
bool verifies(const std::string& signature, const std::string& covered) {
  const auto* at = reinterpret_cast<const unsigned char*>(rsa_identity().certificate_der.data());
  std::unique_ptr<X509, decltype(&X509_free)> certificate(
      d2i_X509(nullptr, &at, static_cast<long>(rsa_identity().certificate_der.size())), X509_free);
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  return EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, X509_get0_pubkey(certificate.get())) == 1 &&
         EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()), signature.size(),
                          reinterpret_cast<const unsigned char*>(covered.data()), covered.size()) == 1;
}

std::string from_base64(const std::string& text) {
  std::string out(text.size() / 4 * 3, '\0');
  const int got = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                  reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(std::max(got, 0)) - static_cast<std::size_t>(std::count(text.begin(), text.end(), '=')));
  return out;
}

std::string header_of(const HttpMessageRequest& request, const char* name) {
  return std::string(adapters::header_in(request.headers, name));
}

TEST(BgbHttpBinding, AMessageTravelsBehindAHeaderThatNamesItsSender) {
  const HttpBinding binding(profile_a());
  const Message message = sign_in();
  auto request = binding.request(HttpPurpose::sign_in, &message, {1, 0}, signer(), {}, 0);
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->target, "/bgb/handler.ashx?RequestType=LogIn");
  const Body body = taken_apart(request->body);
  EXPECT_EQ(body.channel, 0u);
  EXPECT_EQ(body.payload_size, body.payload.size());
  const std::string header = ascii_of(body.header);
  EXPECT_TRUE(header.starts_with("<BgbMessageHeaderHttp><SourceID>" + sms_id + "</SourceID><SourceType>SCCM</SourceType><Hooks>"
                                 "<Hook Name=\"clientauth\"><Property Name=\"Token\">"))
      << header;
  EXPECT_TRUE(ascii_of(body.payload).starts_with("<BgbSignInMessage TimeStamp=\"2026-01-15T12:00:00Z\">"));
}

TEST(BgbHttpBinding, TheHookSignsThePayloadOrWithoutOneTheSmsId) {
  const HttpBinding binding(profile_a());
  const Message message = sign_in();
  const auto with = binding.request(HttpPurpose::sign_in, &message, {1, 0}, signer(), {}, 0);
  const auto without = binding.request(HttpPurpose::receive, nullptr, {1, 0}, signer(), {}, 0);
  ASSERT_TRUE(with);
  ASSERT_TRUE(without);
  const auto signature_in = [](const HttpMessageRequest& request) {
    std::string bytes = from_base64(between(ascii_of(taken_apart(request.body).header), "Token\">", "</Property>"));
    std::reverse(bytes.begin(), bytes.end());  // it is little-endian
    return bytes;
  };
  EXPECT_TRUE(verifies(signature_in(*with), taken_apart(with->body).payload));
  EXPECT_TRUE(verifies(signature_in(*without), to_utf16le(sms_id) + std::string(2, '\0')));
  EXPECT_EQ(taken_apart(without->body).payload, "");
  EXPECT_EQ(taken_apart(without->body).channel, 7u) << "type None";
  EXPECT_EQ(without->target, "/bgb/handler.ashx?RequestType=Continue");
}

TEST(BgbHttpBinding, EveryLiteralIsTheProfiles) {
  Profile profile = profile_a();
  profile.http.method = "CCM_POST";
  profile.http.path = "/other/place";
  profile.http.type_parameter = "T";
  profile.http.send_word = "Send";
  profile.http.receive_word = "Wait";
  profile.http.content_type = "text/xml";
  profile.http.hang_parameter = "hang";
  profile.http.header_xml = "<H a=\"{source_id}\">{hooks}</H>";
  profile.http.hook_xml = "<K>{signature}</K>";
  profile.http.signature_text = HttpProfile::SignatureText::hex;
  profile.http.signature_little_endian = false;
  profile.http.signs = HttpProfile::Signs::client_id;
  const HttpBinding binding(profile);
  Message message = sign_in();
  message.kind = Kind::keep_alive;
  const auto sent = binding.request(HttpPurpose::send, &message, {1, 0}, signer(), {}, 90);
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->method, "CCM_POST");
  EXPECT_EQ(sent->target, "/other/place?T=Send") << "only a request that waits says how long";
  EXPECT_EQ(header_of(*sent, "Content-Type"), "text/xml");
  const std::string header = ascii_of(taken_apart(sent->body).header);
  const std::string hex = between(header, "<K>", "</K>");
  EXPECT_EQ(header, "<H a=\"" + sms_id + "\"><K>" + hex + "</K></H>");
  std::string signature;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) signature += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  EXPECT_TRUE(verifies(signature, to_utf16le(sms_id) + std::string(2, '\0')));
  EXPECT_EQ(binding.request(HttpPurpose::receive, nullptr, {1, 0}, signer(), {}, 90)->target, "/other/place?T=Wait&hang=90");

  profile.http.signs = HttpProfile::Signs::nothing;
  const auto bare = HttpBinding(profile).request(HttpPurpose::receive, nullptr, {1, 0}, {SmsId(sms_id), "no key at all"}, {}, 0);
  ASSERT_TRUE(bare) << "nothing is signed, so no key is looked at";
  EXPECT_EQ(ascii_of(taken_apart(bare->body).header), "<H a=\"" + sms_id + "\"></H>");
}

TEST(BgbHttpBinding, AKeyThatCannotSignIsAnIdentityError) {
  const HttpBinding binding(profile_a());
  const auto p256 = make_identity("agent");
  for (const std::string& key : {std::string("nonsense"), p256.private_key_der}) {
    const auto refused = binding.request(HttpPurpose::receive, nullptr, {1, 0}, {SmsId(sms_id), key}, {}, 0);
    ASSERT_FALSE(refused);
    EXPECT_STREQ(refused.error().code, "bgb.identity");
  }
}

std::string framed(std::uint32_t channel, const std::string& xml) {
  std::string frame = frame_a(channel, xml);
  frame[6] = frame[7] = 0;  // HeaderSize counts an XML header, and there is none
  return frame;
}

HttpResponse reply(unsigned status, std::string body = "") {
  HttpResponse made;
  made.status = status;
  made.body = std::move(body);
  return made;
}

const std::string request_xml =
    "<BgbRequestMessage TimeStamp=\"2026-01-15T10:00:00Z\"><PushID>8</PushID><TaskID>9</TaskID><TaskGUID></TaskGUID>"
    "<TaskType>1</TaskType><TaskParam></TaskParam></BgbRequestMessage>";
const std::string confirm_xml =
    "<BgbSignInConfirmMessage TimeStamp=\"2026-01-15T10:00:00Z\"><MessageVersion>1.0</MessageVersion></BgbSignInConfirmMessage>";

TEST(BgbHttpBinding, ABodyHoldsAnyNumberOfMessages) {
  const HttpBinding binding(profile_a());
  const auto none = binding.read(reply(200), noon);
  EXPECT_EQ(none.verdict, HttpVerdict::empty);
  EXPECT_EQ(binding.read(reply(204), noon).verdict, HttpVerdict::empty);
  const auto three = binding.read(reply(200, framed(1, confirm_xml) + framed(3, request_xml) + framed(5, "")), noon);
  ASSERT_EQ(three.verdict, HttpVerdict::messages);
  ASSERT_EQ(three.messages.size(), 3u);
  EXPECT_EQ(three.messages[0].kind, Kind::sign_in_confirm);
  EXPECT_EQ(three.messages[1].push_id, 8u);
  EXPECT_EQ(three.messages[2].kind, Kind::disconnect);
}

TEST(BgbHttpBinding, AReplyMayCarryAnXmlHeaderOfItsOwn) {
  const HttpBinding binding(profile_a());
  const std::string header = to_utf16le("<BgbMessageHeaderHttp></BgbMessageHeaderHttp>");
  std::string frame = framed(3, request_xml);
  frame[6] = static_cast<char>(header.size());
  frame.insert(12, header);
  const auto meaning = binding.read(reply(200, frame), noon);
  ASSERT_EQ(meaning.messages.size(), 1u);
  EXPECT_EQ(meaning.messages[0].task_id, 9u);

  Profile as_tcp = profile_a();
  as_tcp.http.reply_header = HttpProfile::ReplyHeader::fixed_part;
  EXPECT_EQ(HttpBinding(as_tcp).read(reply(200, frame_a(3, request_xml)), noon).messages.size(), 1u);
}

TEST(BgbHttpBinding, ABodyCutAnywhereIsNoHalfMessage) {
  const HttpBinding binding(profile_a());
  const std::string whole = framed(3, request_xml);
  for (std::size_t at = 1; at < whole.size(); ++at) {
    const auto meaning = binding.read(reply(200, whole.substr(0, at)), noon);
    ASSERT_EQ(meaning.verdict, HttpVerdict::strange) << at;
    ASSERT_TRUE(meaning.messages.empty()) << at;
  }
}

TEST(BgbHttpBinding, ABodyIsBounded) {
  Profile profile = profile_a();
  profile.payload_bytes_max = 4096;
  const HttpBinding binding(profile);
  EXPECT_EQ(binding.body_bytes_max(), 2u * (4096 + 4096));
  std::string many;
  for (std::size_t i = 0; i <= HttpBinding::messages_max; ++i) many += framed(5, "");
  const auto meaning = binding.read(reply(200, many), noon);
  EXPECT_EQ(meaning.verdict, HttpVerdict::strange);
  EXPECT_TRUE(meaning.messages.empty());
  EXPECT_STREQ(binding.read(reply(200, framed(3, std::string(5000, 'x'))), noon).error.code, "bgb.frame_oversize");
}

TEST(BgbHttpBinding, EachNumberHasItsMeaning) {
  const HttpBinding binding(profile_a());
  const std::pair<unsigned, HttpVerdict> all[] = {
      {401, HttpVerdict::refused}, {403, HttpVerdict::refused}, {404, HttpVerdict::broken},  {500, HttpVerdict::broken},
      {407, HttpVerdict::proxy},   {503, HttpVerdict::busy},    {408, HttpVerdict::cut},     {502, HttpVerdict::cut},
      {504, HttpVerdict::cut},     {302, HttpVerdict::strange}, {400, HttpVerdict::strange}, {418, HttpVerdict::strange}};
  for (const auto& [status, verdict] : all) {
    const auto meaning = binding.read(reply(status, framed(3, request_xml)), noon);
    EXPECT_EQ(meaning.verdict, verdict) << status;
    EXPECT_TRUE(meaning.messages.empty()) << status;
    EXPECT_STRNE(meaning.error.code, "") << status;
  }
}

TEST(BgbHttpBinding, RetryAfterIsSecondsOrADate) {
  EXPECT_EQ(retry_after_of("120", noon), seconds(120));
  EXPECT_EQ(retry_after_of(" 7 ", noon), seconds(7));
  EXPECT_EQ(retry_after_of("Thu, 15 Jan 2026 12:00:30 GMT", noon), seconds(30));
  EXPECT_EQ(retry_after_of("Thu, 15 Jan 2026 11:00:00 GMT", noon), seconds(0)) << "it is over";
  EXPECT_EQ(retry_after_of("99999999999999999999", noon), std::chrono::hours(1)) << "nobody makes us wait for ever";
  EXPECT_EQ(retry_after_of("86400", noon), std::chrono::hours(1));
  for (const char* nonsense : {"", "soon", "-5", "12 monkeys", "Thu, 15 Jan 2026", "Thu, 15 Jan 2026 12:00:30 GMT and more of the same"})
    EXPECT_EQ(retry_after_of(nonsense, noon), seconds(0)) << nonsense;
  HttpResponse busy = reply(503);
  busy.headers = {{"retry-after", "90"}};
  EXPECT_EQ(HttpBinding(profile_a()).read(busy, noon).error.retry_after, seconds(90));
}

TEST(BgbCookieJar, KeepsWhatTheServerSetsAndNothingElse) {
  CookieJar jar;
  jar.take({{"Set-Cookie", "a=1; Path=/bgb; HttpOnly"}, {"set-cookie", "b=two"}, {"Cookie", "c=3"}});
  EXPECT_EQ(jar.header(), "a=1; b=two");
  jar.take({{"Set-Cookie", "a=9"}, {"Set-Cookie", "b=; Max-Age=0"}});
  EXPECT_EQ(jar.header(), "a=9");
  jar.take({{"Set-Cookie", "no equals sign"}, {"Set-Cookie", "=x"}, {"Set-Cookie", "d=a b"}, {"Set-Cookie", "e=x\r\nEvil: 1"},
            {"Set-Cookie", "f=" + std::string(5000, 'x')}});
  EXPECT_EQ(jar.header(), "a=9") << "what could become another header is dropped";
  for (int i = 0; i < 40; ++i) jar.take({{"Set-Cookie", "n" + std::to_string(i) + "=1"}});
  EXPECT_EQ(jar.size(), CookieJar::cookies_max);
}

TEST(BgbHttpBinding, CookiesGoWithEveryRequestUnlessTheProfileKeepsNone) {
  CookieJar jar;
  jar.take({{"Set-Cookie", "session=abc"}});
  Profile profile = profile_a();
  EXPECT_EQ(header_of(*HttpBinding(profile).request(HttpPurpose::receive, nullptr, {1, 0}, signer(), jar, 0), "Cookie"), "session=abc");
  profile.http.cookies = false;
  EXPECT_EQ(header_of(*HttpBinding(profile).request(HttpPurpose::receive, nullptr, {1, 0}, signer(), jar, 0), "Cookie"), "");
}

TEST(BgbHttpProfile, AFileSaysEveryLiteralWithItsBasis) {
  std::ifstream in(std::string(GREENGATE_SOURCE_DIR) + "/deploy/bgb-profiles/A.json");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  auto profile = parse_profile(text, "A.json");
  ASSERT_TRUE(profile) << profile.error().message;
  const HttpProfile built_in;
  EXPECT_EQ(profile->http.name, built_in.name);
  EXPECT_EQ(profile->http.method, built_in.method);
  EXPECT_EQ(profile->http.path, built_in.path);
  EXPECT_EQ(profile->http.sign_in_word, built_in.sign_in_word);
  EXPECT_EQ(profile->http.content_type, built_in.content_type);
  EXPECT_EQ(profile->http.header_xml, built_in.header_xml);
  EXPECT_EQ(profile->http.hook_xml, built_in.hook_xml);
  EXPECT_EQ(profile->http.signs, built_in.signs);
  EXPECT_EQ(profile->http.hang_seconds, built_in.hang_seconds);
  ASSERT_EQ(profile->http.guesses.size(), built_in.guesses.size());
  for (std::size_t i = 0; i < built_in.guesses.size(); ++i) EXPECT_EQ(profile->http.guesses[i].first, built_in.guesses[i].first);
}

TEST(BgbHttpProfile, AValueThatCannotServeIsRefusedWithItsName) {
  std::ifstream in(std::string(GREENGATE_SOURCE_DIR) + "/deploy/bgb-profiles/A.json");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::pair<const char*, const char*> wrong[] = {
      {"\"POST\"", "\"PO ST\""},
      {"\"/bgb/handler.ashx\"", "\"bgb\""},
      {"\"Continue\", \"send\"", "\"\", \"send\""},
      {"{source_id}", "{nobody}"},
      {"{signature}", "{nothing}"},
      {"\"hang_seconds\": {\"value\": 300", "\"hang_seconds\": {\"value\": 0"},
      {"\"value\": \"base64\"", "\"value\": \"morse\""}};
  for (const auto& [from, to] : wrong) {
    std::string changed = text;
    const auto at = changed.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    changed.replace(at, std::string(from).size(), to);
    const auto refused = parse_profile(changed, "A.json");
    ASSERT_FALSE(refused) << to;
    EXPECT_NE(refused.error().message.find("http."), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace greengate::test
