// Goal: what the specification's vectors and samples say is what the code does. Method: the files themselves.
#include "adapters/http/retry_after.h"
#include "adapters/wns/channel_uri.h"
#include "adapters/wns/classify.h"
#include "adapters/wns/token_source.h"
#include "tests/adapters/wns/lab.h"

#include <set>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

namespace json = boost::json;

std::string text_of(const json::value& value) { return std::string(value.as_string().data(), value.as_string().size()); }

TEST(ChannelUri, IsTakenOrRefusedAsTheVectorsSay) {
  const json::value file = vectors("channel-uri");
  std::size_t cases = 0;
  for (const json::value& one : file.at("cases").as_array()) {
    const std::string uri = text_of(one.at("uri"));
    const auto parsed = parse_channel_uri(uri);
    EXPECT_EQ(parsed.has_value(), one.at("accept").as_bool()) << text_of(one.at("why")) << ": " << uri.substr(0, 100);
    if (!parsed) {
      EXPECT_STREQ(parsed.error().code, "wns.channel_uri");
    }
    // Octets after the host go out as they came in.
    if (parsed) {
      EXPECT_TRUE(uri.ends_with(parsed->target)) << uri;
    }
    ++cases;
  }
  EXPECT_EQ(cases, 30u);
}

TEST(ChannelUri, RefusesWhatTheVectorsDoNotName) {
  for (const char* uri : {"https://.notify.windows.com/", "https://a..notify.windows.com/", "https://sin.notify.windows.com:/", "https:/sin.notify.windows.com/",
                          "https://sin.notify.windows.com:443:443/", "https://sin.notify.windows.com:0443/", "https://-.notify.windows.com\x7f/",
                          "https://sin_.notify.windows.com/", "https://[sin.notify.windows.com]/", "https:///notify.windows.com/",
                          "https://sin.notify.windows.com:443@attacker.example/", "https://sin.notify.windows.com%00.attacker.example/",
                          "https://attacker.example/?@sin.notify.windows.com@", "https://notify.windows.co/"})
    EXPECT_FALSE(parse_channel_uri(uri)) << uri;
  EXPECT_FALSE(parse_channel_uri("https://" + std::string(64, 'a') + ".notify.windows.com/"));
  std::string deep = "notify.windows.com";
  while (deep.size() < 260) deep = "abcdefgh." + deep;
  EXPECT_FALSE(parse_channel_uri("https://" + deep + "/"));
  EXPECT_FALSE(parse_channel_uri(std::string_view("https://sin.notify.windows.com/\0x", 33)));
}

TEST(ChannelUri, KeepsItsOctetsAndLowersOnlyTheHost) {
  const auto parsed = parse_channel_uri("HTTPS://Wns2-SIM1p.Notify.Windows.COM:443/A/b?Token=Q%2bQ%2B&x=//?@:");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->host, "wns2-sim1p.notify.windows.com");
  EXPECT_EQ(parsed->target, "/A/b?Token=Q%2bQ%2B&x=//?@:");
  EXPECT_EQ(parse_channel_uri("https://sin.notify.windows.com")->target, "/");
  EXPECT_EQ(parse_channel_uri("https://sin.notify.windows.com?token=Q")->target, "/?token=Q");
}

TEST(ChannelUri, IsNamedInLogsByAFingerprintThatNeedsTheKey) {
  // HMAC-SHA256("key", "The quick brown fox jumps over the lazy dog") begins with f7bc83f430538424 (RFC-style test value).
  EXPECT_EQ(channel_fingerprint("key", "The quick brown fox jumps over the lazy dog"), "f7bc83f430538424");
  EXPECT_NE(channel_fingerprint("other", uri_of(1)), channel_fingerprint("key", uri_of(1)));
}

TEST(ChannelUri, ShowsOfARefusedOneOnlyTheHost) {
  EXPECT_EQ(claimed_host("https://user:secret@attacker.example/path?token=SECRET"), "attacker.example");
  EXPECT_EQ(claimed_host("https://attacker.example?token=SECRET"), "attacker.example");
  EXPECT_EQ(claimed_host("https://a\r\nb/"), "a??b");
  EXPECT_EQ(claimed_host(std::string(5'000, 'x')).size(), 100u);
}

TEST(RetryAfter, IsReadAsTheVectorsSay) {
  const json::value file = vectors("retry-after");
  const WallTime now = from_millis(1'924'992'000'000);  // 2031-01-01T00:00:00Z, the file's own
  ASSERT_EQ(text_of(file.at("now")), "2031-01-01T00:00:00Z");
  std::size_t cases = 0;
  for (const json::value& one : file.at("cases").as_array()) {
    const auto wait = parse_retry_after(text_of(one.at("value")), now, seconds(file.at("clamp_seconds").as_int64()));
    ++cases;
    ASSERT_EQ(wait.has_value(), !one.at("seconds").is_null()) << one.at("value");
    if (wait) {
      EXPECT_EQ(*wait, seconds(one.at("seconds").as_int64())) << one.at("value");
    }
  }
  EXPECT_EQ(cases, 19u);
}

TEST(RetryAfter, RefusesBentDates) {
  const WallTime now = from_millis(1'924'992'000'000);
  for (const char* value : {"Wed, 32 Jan 2031 00:02:00 GMT", "Wed, 01 Xxx 2031 00:02:00 GMT", "Wed, 01 Jan 2031 24:02:00 GMT", "Wed, 01 Jan 2031 00:02:00 UTC",
                            ", 01 Jan 2031 00:02:00 GMT", "Wed Jan 1 00:01:00 2031", "Wed, 01 anF 2031 00:02:00 GMT", "Wed, 30 Feb 2031 00:02:00 GMT",
                            "Wed, 01 Jan 9999 00:02:00 GMT", "GMT", " GMT", "Wednesday, 01-Jan-31 00:01:00"})
    EXPECT_FALSE(parse_retry_after(value, now, hours(1))) << value;
  // Two digits: the nearest year with that ending that is not more than 50 ahead.
  EXPECT_EQ(parse_retry_after("Monday, 01-Jan-99 00:01:00 GMT", now, hours(1)), milliseconds(0));
}

TEST(Classify, SaysOfEveryAnswerWhatTheVectorsSay) {
  const json::value file = vectors("classify");
  std::size_t cases = 0;
  std::set<std::string> outcomes;
  for (const json::value& one : file.at("cases").as_array()) {
    std::map<std::string, std::string> headers;
    std::string reason;
    for (const auto& [name, value] : one.at("headers").as_object()) {
      std::string key(name);
      if (key == "_reason") reason = text_of(value);
      for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      headers[key] = text_of(value);
    }
    PushReply reply;
    reply.status = static_cast<unsigned>(one.at("status").as_int64());
    reply.reason = reason;
    reply.header = [&](std::string_view name) -> std::string_view {
      std::string key(name);
      for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      const auto found = headers.find(key);
      return found == headers.end() ? std::string_view() : found->second;
    };
    const Classified got = classify(reply, from_millis(0), {});
    const std::string retry = got.retry == RetryWord::after
                                  ? "after:" + std::to_string(std::chrono::duration_cast<seconds>(got.wait).count())
                                  : std::string(retry_word_name(got.retry));
    const std::string name = text_of(one.at("name"));
    EXPECT_EQ(outcome_name(got.outcome), text_of(one.at("outcome"))) << name;
    EXPECT_EQ(throttle_scope_name(got.throttle_scope), text_of(one.at("throttle_scope"))) << name;
    EXPECT_EQ(channel_action_name(got.channel_action), text_of(one.at("channel_action"))) << name;
    EXPECT_EQ(token_action_name(got.token_action), text_of(one.at("token_action"))) << name;
    EXPECT_EQ(retry, text_of(one.at("retry"))) << name;
    outcomes.insert(outcome_name(got.outcome));
    ++cases;
  }
  EXPECT_EQ(cases, 42u);
  EXPECT_EQ(outcomes.size(), 18u);  // all but transport and untrusted_host, which are no answers
}

TEST(Classify, NeverEndsAChannelForAFailure) {
  for (const char* code : {"http.timeout", "http.resolve", "http.connect", "http.connect_timeout", "http.tls", "http.tls_untrusted", "http.address",
                           "http.closed", "http.protocol", "http.reply_too_large", "http.redirect", "http.connection", "http.stopping"})
    EXPECT_EQ(classify_failure(code).channel_action, ChannelAction::keep) << code;
  EXPECT_EQ(classify_failure("http.tls_untrusted").retry, RetryWord::never);
  EXPECT_EQ(classify_failure("http.timeout").retry, RetryWord::backoff);
}

TEST(TokenReply, IsReadAsTheVectorsSay) {
  const WnsSettings settings = lab_settings();
  const LegacyTokens source(settings.apps[0], settings);
  const json::value file = vectors("token-expiry");
  std::size_t cases = 0;
  for (const json::value& one : file.at("cases").as_array()) {
    const std::string body = json::serialize(one.at("json"));
    const auto grant = source.read(200, "", body, from_millis(0));
    ++cases;
    ASSERT_EQ(grant.has_value(), one.at("usable").as_bool()) << body;
    if (!grant) {
      EXPECT_STREQ(grant.error().code, "wns.token_reply");
      EXPECT_EQ(grant.error().remedy, Remedy::retry);
      continue;
    }
    EXPECT_EQ(grant->life.count(), one.at("life_seconds").as_int64()) << body;
    EXPECT_EQ((grant->life - token_margin(grant->life, seconds(300))).count(), one.at("refresh_after_seconds").as_int64()) << body;
  }
  EXPECT_EQ(cases, 15u);
}

std::string body_of(const std::string& message) { return message.substr(message.find("\r\n\r\n") + 4); }
unsigned status_of(const std::string& message) { return static_cast<unsigned>(std::stoul(message.substr(9, 3))); }

TEST(TokenReply, ReadsTheSamplesOfBothServices) {
  const WnsSettings settings = lab_settings();
  WnsApp entra = settings.apps[0];
  entra.auth = "entra";
  entra.tenant = "t";
  const LegacyTokens legacy(settings.apps[0], settings);
  const EntraTokens modern(entra, settings);
  const auto read = [](const TokenSource& source, const std::string& name, const std::string& retry_after = "") {
    const std::string message = read_sample("http/" + name);
    return source.read(status_of(message), retry_after, body_of(message), from_millis(0));
  };
  EXPECT_EQ(read(legacy, "02-token-legacy-200.http")->token.reveal(), "U0lNLVRPS0VOLTAwMDE=");
  EXPECT_EQ(read(legacy, "03-token-legacy-200-no-expires.http")->life, seconds(86'400));
  EXPECT_STREQ(read(legacy, "04-token-legacy-400-invalid-client.http").error().code, "wns.token_client");
  const auto closed = read(legacy, "05-token-legacy-400-endpoint-closed.http");
  EXPECT_STREQ(closed.error().code, "wns.token_closed");
  EXPECT_EQ(closed.error().remedy, Remedy::reject);
  EXPECT_EQ(read(modern, "07-token-entra-200-string-expiry.http")->life, seconds(86'399));
  EXPECT_STREQ(read(modern, "08-token-entra-401-invalid-client.http").error().code, "wns.token_client");
  EXPECT_STREQ(read(modern, "05-token-legacy-400-endpoint-closed.http").error().code, "wns.token_request");
  const auto busy = read(legacy, "09-token-503.http", "20");
  EXPECT_STREQ(busy.error().code, "wns.token_busy");
  EXPECT_EQ(busy.error().retry_after, seconds(20));
}

TEST(TokenReply, RefusesWhatCannotBeAToken) {
  const WnsSettings settings = lab_settings();
  const LegacyTokens source(settings.apps[0], settings);
  const auto code = [&](unsigned status, const std::string& body) {
    const auto grant = source.read(status, "", body, from_millis(0));
    return grant ? "token" : std::string(grant.error().code);
  };
  EXPECT_EQ(code(200, "{"), "wns.token_reply");
  EXPECT_EQ(code(200, "[1]"), "wns.token_reply");
  EXPECT_EQ(code(200, ""), "wns.token_reply");
  EXPECT_EQ(code(200, "{\"access_token\":5}"), "wns.token_reply");
  EXPECT_EQ(code(200, "{\"access_token\":\"t\",\"token_type\":5}"), "wns.token_reply");
  EXPECT_EQ(code(200, "{\"access_token\":\"" + std::string(8'192, 't') + "\"}"), "token");
  EXPECT_EQ(code(200, "{\"access_token\":\"" + std::string(8'193, 't') + "\"}"), "wns.token_reply");
  EXPECT_EQ(code(200, "{\"access_token\":\"caf\xc3\xa9\"}"), "wns.token_reply");
  EXPECT_EQ(code(200, std::string(20, '[') + std::string(20, ']')), "wns.token_reply");
  EXPECT_EQ(code(204, "{\"access_token\":\"t\"}"), "wns.token_reply");
  EXPECT_EQ(code(400, "<html>"), "wns.token_reply");
  EXPECT_EQ(code(400, "{\"error\":\"SECRET=abc\"}"), "wns.token_reply");
  EXPECT_EQ(code(429, ""), "wns.token_busy");
  // Words of the service's own that could hold anything are not repeated.
  EXPECT_EQ(source.read(400, "", "{\"error\":\"Bearer abc\"}", from_millis(0)).error().message.find("abc"), std::string::npos);
}

TEST(TokenRequest, IsTheSamplesForm) {
  WnsSettings settings = lab_settings();
  settings.apps[0].client_id = "S-1-15-2-1000000001-1000000002-1000000003-1000000004-1000000005-1000000006-1000000007";
  const LegacyTokens legacy(settings.apps[0], settings);
  EXPECT_EQ(legacy.form(Secret("Sim+Secret/With&Specials=")), body_of(read_sample("http/01-token-legacy-request.http")));
  EXPECT_EQ(legacy.server().authority() + legacy.target(), "login.live.com/accesstoken.srf");
  WnsApp app;
  app.auth = "entra";
  app.client_id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
  app.tenant = "11111111-2222-4333-8444-555555555555";
  const EntraTokens entra(app, settings);
  EXPECT_EQ(entra.form(Secret("Sim~Secret.2")), body_of(read_sample("http/06-token-entra-request.http")));
  EXPECT_EQ(entra.server().authority() + entra.target(), "login.microsoftonline.com/11111111-2222-4333-8444-555555555555/oauth2/v2.0/token");
}

TEST(Scrubbed, KeepsNothingOfTheChannelOrTheToken) {
  EXPECT_EQ(scrubbed("Ttl value conflicts.", 200, uri_of(7), "TOKENTOKEN"), "Ttl value conflicts.");
  EXPECT_EQ(scrubbed("got Bearer TOKENTOKEN!", 200, uri_of(7), "TOKENTOKEN"), "(withheld)");
  EXPECT_EQ(scrubbed("channel " + uri_of(7), 200, uri_of(7), "TOKENTOKEN"), "(withheld)");
  EXPECT_EQ(scrubbed("a\r\nb", 200, "", ""), "a??b");
  EXPECT_EQ(scrubbed(std::string(500, 'x'), 200, "", "").size(), 200u);
}

TEST(Secret, LeavesNothingWhereItCameFrom) {
  std::string source = "a-secret-that-is-longer-than-a-small-string";
  const char* place = source.data();
  const Secret secret(std::move(source));
  EXPECT_EQ(secret.reveal(), "a-secret-that-is-longer-than-a-small-string");
  EXPECT_TRUE(std::all_of(place, place + 40, [](char c) { return c == '\0'; }));
}

}  // namespace
}  // namespace greengate::test
