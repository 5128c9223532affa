// Goal: an exchange ends whole, in time or with the right error, whatever the server does. Method:
// a server of raw bytes. Each claim is held for a waiting caller and, where the path differs, for
// the net thread.
#include "adapters/http/client.h"
#include "tests/adapters/http/scripted_server.h"

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>

#include <filesystem>
#include <fstream>
#include <future>

namespace greengate::test {
namespace {

using namespace greengate::adapters;
using std::chrono::milliseconds;

constexpr milliseconds patience(20'000);  ///< Never reached unless something hangs.

const std::string ok =
    "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nhi";

struct Bench {
  explicit Bench(HttpClientConfig config = {})
      : client(std::move(*HttpClient::create(net, std::move(config), metrics))) {}
  HttpRequest request(const ScriptedServer& server, milliseconds deadline = patience) const {
    HttpRequest made;
    made.server = *parse_url(server.url());
    made.method = "CCM_POST";
    made.target = "/ccm_system/request";
    made.headers = {{"Content-Type", "multipart/mixed"}};
    made.body = "hello";
    made.deadline = deadline;
    return made;
  }
  std::string code(const ScriptedServer& server, milliseconds deadline = patience) {
    const auto reply = client->exchange_and_wait(request(server, deadline));
    return reply ? "reply " + std::to_string(reply->status) : reply.error().code;
  }
  /// The same as a coroutine of the net thread, driven here.
  std::string net_code(const ScriptedServer& server, milliseconds deadline = patience) {
    auto future = asio::co_spawn(net, into(*client, request(server, deadline)), asio::use_future);
    net.restart();
    net.run();
    return future.get();
  }
  static asio::awaitable<std::string> into(HttpClient& through, HttpRequest what) {
    auto reply = co_await through.exchange(std::move(what));
    co_return reply ? "reply " + std::to_string(reply->status) : std::string(reply.error().code);
  }

  asio::io_context net;
  Metrics metrics;
  std::unique_ptr<HttpClient> client;
};

/// Answers every request on every connection with `reply`.
ScriptedServer::Script always(std::string reply) {
  return [reply = std::move(reply)](ScriptedServer::Peer& peer) {
    while (!peer.read_request().empty()) peer.send(reply);
  };
}

TEST(HttpClient, SendsItsOwnMethodWithALengthAndReadsTheReply) {
  std::string seen;
  ScriptedServer server([&](ScriptedServer::Peer& peer) {
    seen = peer.read_request();
    peer.send(ok);
    peer.wait_for_close();
  });
  Bench bench;
  const auto reply = bench.client->exchange_and_wait(bench.request(server));
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->status, 200u);
  EXPECT_EQ(reply->body, "hi");
  EXPECT_EQ(reply->header("content-type"), "text/x");
  EXPECT_EQ(reply->header("RETRY-AFTER"), "7");
  EXPECT_EQ(reply->header("absent"), "");
  EXPECT_EQ(seen, "CCM_POST /ccm_system/request HTTP/1.1\r\nHost: 127.0.0.1:" +
                      std::to_string(server.port()) +
                      "\r\nContent-Type: multipart/mixed\r\nContent-Length: 5\r\n\r\nhello");
}

TEST(HttpClient, KeepsItsConnectionForTheNextExchange) {
  ScriptedServer server(always(ok));
  Bench bench;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(bench.code(server), "reply 200");
  EXPECT_EQ(server.connections(), 1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(bench.net_code(server), "reply 200");
  EXPECT_EQ(server.connections(), 2);
}

TEST(HttpClient, OpensANewConnectionWhereTheServerClosesEach) {
  ScriptedServer server([](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  });
  Bench bench;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bench.code(server), "reply 200");
  EXPECT_EQ(server.connections(), 3);
}

TEST(HttpClient, SendsAgainOnceWhenAKeptConnectionHadBeenClosed) {
  ScriptedServer server([](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send(ok);  // then closes, without having said so
  });
  Bench bench;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(bench.code(server), "reply 200");
  EXPECT_EQ(bench.net_code(server), "reply 200");
  EXPECT_EQ(bench.net_code(server), "reply 200");
}

TEST(HttpClient, DoesNotSendAgainOnAConnectionThatWasNew) {
  std::atomic<int> requests{0};
  ScriptedServer server([&](ScriptedServer::Peer& peer) {
    if (!peer.read_request().empty()) ++requests;
  });
  Bench bench;
  EXPECT_EQ(bench.code(server), "http.closed");
  EXPECT_EQ(requests, 1);
}

TEST(HttpClient, DoesNotSendAgainOnceAnyOfTheReplyArrived) {
  std::atomic<int> requests{0};
  ScriptedServer server([&](ScriptedServer::Peer& peer) {
    peer.read_request();
    ++requests;
    peer.send(ok);
    if (peer.read_request().empty()) return;
    ++requests;
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
  });
  Bench bench;
  EXPECT_EQ(bench.code(server), "reply 200");
  EXPECT_EQ(bench.code(server), "http.closed");
  EXPECT_EQ(requests, 2);
}

TEST(HttpClient, EndsAtItsDeadlineWhenTheServerIsSilent) {
  ScriptedServer server([](ScriptedServer::Peer& peer) { peer.wait_for_close(); });
  Bench bench;
  EXPECT_EQ(bench.code(server, milliseconds(50)), "http.timeout");
  EXPECT_EQ(bench.net_code(server, milliseconds(50)), "http.timeout");
}

TEST(HttpClient, EndsAtItsDeadlineWhenTheServerTrickles) {
  std::atomic<bool> done{false};
  ScriptedServer server([&](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\n");
    // Each byte arrives in time; only all together they do not.
    std::mutex mutex;
    std::condition_variable never;
    while (!done) {
      peer.send("X-Slow: 1\r\n");
      std::unique_lock lock(mutex);
      never.wait_for(lock, milliseconds(5));
    }
  });
  Bench bench;
  const auto code = bench.code(server, milliseconds(100));
  done = true;
  EXPECT_EQ(code, "http.timeout");
}

TEST(HttpClient, RefusesALengthOverItsBoundWithoutReadingTheBody) {
  ScriptedServer server(always("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"));
  Bench bench;
  EXPECT_EQ(bench.code(server), "http.reply_too_large");
}

TEST(HttpClient, RefusesAnUnannouncedBodyOverItsBound) {
  HttpClientConfig config;
  config.body_bytes_max = 1024;
  ScriptedServer chunked([](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 10; ++i) peer.send("100\r\n" + std::string(256, 'x') + "\r\n");
    peer.wait_for_close();
  });
  Bench bench(config);
  EXPECT_EQ(bench.code(chunked), "http.reply_too_large");
  ScriptedServer endless([](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\n\r\n" + std::string(4096, 'x'));
    peer.wait_for_close();
  });
  EXPECT_EQ(bench.code(endless), "http.reply_too_large");
}

TEST(HttpClient, ReadsLongHeadersUpToTheirBoundAndNoFurther) {
  const auto with_header = [](std::size_t bytes) {
    return "HTTP/1.1 200 OK\r\nX: " + std::string(bytes, 'x') + "\r\nContent-Length: 0\r\n\r\n";
  };
  ScriptedServer fits(always(with_header(40'000)));
  ScriptedServer too_long(always(with_header(70'000)));
  ScriptedServer endless([](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\nX: " + std::string(1 << 20, 'x'));
    peer.wait_for_close();
  });
  Bench bench;
  EXPECT_EQ(bench.code(fits), "reply 200");
  EXPECT_EQ(bench.code(too_long), "http.reply_too_large");
  EXPECT_EQ(bench.code(endless), "http.reply_too_large");
}

TEST(HttpClient, FollowsNoRedirect) {
  ScriptedServer server(
      always("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"));
  Bench bench;
  EXPECT_EQ(bench.code(server), "http.redirect");
}

TEST(HttpClient, HandsOverStatusesThatAreNotItsBusiness) {
  ScriptedServer server(always("HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"));
  Bench bench;
  const auto reply = bench.client->exchange_and_wait(bench.request(server));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 503u);
  EXPECT_EQ(reply->header("retry-after"), "9");
}

TEST(HttpClient, ReadsBodiesInChunksAndThoseThatEndWithTheConnection) {
  ScriptedServer chunked(always(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"));
  ScriptedServer until_close([](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send("HTTP/1.1 200 OK\r\n\r\nabc");
  });
  Bench bench;
  EXPECT_EQ(bench.client->exchange_and_wait(bench.request(chunked))->body, "abcde");
  EXPECT_EQ(bench.client->exchange_and_wait(bench.request(until_close))->body, "abc");
}

TEST(HttpClient, CallsGarbageByItsName) {
  ScriptedServer server(always("SSH-2.0-OpenSSH_9.2\r\n\r\n"));
  Bench bench;
  EXPECT_EQ(bench.code(server), "http.protocol");
}

TEST(HttpClient, SaysWhenNobodyListens) {
  std::uint16_t port = 0;
  {
    port = ScriptedServer([](ScriptedServer::Peer&) {}).port();
  }
  Bench bench;
  HttpRequest request;
  request.server = *parse_url("http://127.0.0.1:" + std::to_string(port));
  const auto reply = bench.client->exchange_and_wait(request);
  ASSERT_FALSE(reply);
  EXPECT_STREQ(reply.error().code, "http.connect");
  EXPECT_EQ(reply.error().remedy, Remedy::retry);
}

TEST(HttpClient, SaysWhenTheNameIsNotKnown) {
  Bench bench;
  HttpRequest request;
  request.server = *parse_url("http://no-such-host.invalid");
  const auto reply = bench.client->exchange_and_wait(request);
  ASSERT_FALSE(reply);
  EXPECT_STREQ(reply.error().code, "http.resolve");
}

TEST(HttpClient, ReachesAServerByName) {
  ScriptedServer server(always(ok));
  Bench bench;
  HttpRequest request = bench.request(server);
  request.server.host = "localhost";
  const auto reply = bench.client->exchange_and_wait(request);
  ASSERT_TRUE(reply) << reply.error().message;
}

TEST(HttpClient, SendsNothingThatCouldBecomeAnotherLine) {
  ScriptedServer server(always(ok));
  Bench bench;
  const auto refused = [&](auto change) {
    HttpRequest request = bench.request(server);
    change(request);
    const auto reply = bench.client->exchange_and_wait(request);
    return !reply && std::string(reply.error().code) == "http.request";
  };
  EXPECT_TRUE(refused([](HttpRequest& r) { r.method = "GET /x"; }));
  EXPECT_TRUE(refused([](HttpRequest& r) { r.target = "/a b"; }));
  EXPECT_TRUE(refused([](HttpRequest& r) { r.target = "/a\r\nX: y"; }));
  EXPECT_TRUE(refused([](HttpRequest& r) { r.headers.emplace_back("X", "a\r\nY: b"); }));
  EXPECT_TRUE(refused([](HttpRequest& r) { r.headers.emplace_back("X Y", "a"); }));
  EXPECT_EQ(server.connections(), 0);
}

TEST(HttpClient, RefusesNewExchangesOnceStopping) {
  ScriptedServer server(always(ok));
  Bench bench;
  bench.client->stop();
  EXPECT_EQ(bench.code(server), "http.stopping");
  EXPECT_EQ(bench.net_code(server), "http.stopping");
}

// The server reads the request and never answers; only the client's own end ends it.
TEST(HttpClient, EndsWhatIsUnderWayAtOnceWhenAbandoned) {
  std::promise<void> asked;
  ScriptedServer server([&](ScriptedServer::Peer& peer) {
    peer.read_request();
    asked.set_value();
    peer.wait_for_close();
  });
  Bench bench;
  auto waiting = std::async(std::launch::async,
                            [&] { return bench.client->exchange_and_wait(bench.request(server)); });
  asked.get_future().wait();
  bench.client->abandon();
  ASSERT_EQ(waiting.wait_for(milliseconds(5'000)), std::future_status::ready);
  const auto reply = waiting.get();
  ASSERT_FALSE(reply);
  EXPECT_STREQ(reply.error().code, "http.stopping");
  EXPECT_EQ(reply.error().remedy, Remedy::halt);
  EXPECT_EQ(bench.code(server), "http.stopping");
}

// Goal: an exchange that is ended before it waits for anything, by its deadline or by the gateway's stop, does not begin after all, as nobody
// would end it a second time. Method: a deadline that has passed when it first runs, a kept connection, and a server that answers no more.
TEST(HttpClient, DoesNotBeginOnceItsEndHasCome) {
  Bench bench;
  ScriptedServer server([&](ScriptedServer::Peer& peer) {
    peer.read_request();
    peer.send(ok);
    peer.wait_for_close();
  });
  ASSERT_EQ(bench.code(server), "reply 200");
  auto waiting = std::async(std::launch::async, [&] { return bench.code(server, milliseconds(0)); });
  const bool ended = waiting.wait_for(patience) == std::future_status::ready;
  if (!ended) bench.client->abandon();
  ASSERT_TRUE(ended);
  EXPECT_EQ(waiting.get(), "http.timeout");
}

TEST(HttpClient, EndsWhatIsUnderWayOnTheNetThreadWhenAbandoned) {
  Bench bench;
  ScriptedServer server([&](ScriptedServer::Peer& peer) {
    peer.read_request();
    bench.client->abandon();
    peer.wait_for_close();
  });
  EXPECT_EQ(bench.net_code(server), "http.stopping");
}

TEST(HttpClient, ServesManyThreadsAtOnce) {
  ScriptedServer server(always(ok));
  Bench bench;
  std::atomic<int> replies{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) replies += bench.code(server) == "reply 200";
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(replies, 160);
  EXPECT_LE(server.connections(), 8);
}

/// A server with TLS, and its certificate in a file where a client can name it.
struct TlsBench {
  TlsBench() : certificate(make_certificate()), context(asio::ssl::context::tls_server) {
    context.use_certificate_chain(asio::buffer(certificate.certificate_pem));
    context.use_private_key(asio::buffer(certificate.key_pem), asio::ssl::context::pem);
    server.emplace(always(ok), &context);
    file = std::filesystem::temp_directory_path() /
           ("greengate-ca-" + std::to_string(server->port()) + ".pem");
    std::ofstream(file) << certificate.certificate_pem;
  }
  ~TlsBench() { std::filesystem::remove(file); }
  TestCertificate certificate;
  asio::ssl::context context;
  std::optional<ScriptedServer> server;
  std::filesystem::path file;
};

TEST(HttpClientTls, TrustsAPinnedCertificateAndKeepsTheConnection) {
  TlsBench tls;
  HttpClientConfig config;
  config.pinned_sha256 = tls.certificate.sha256_hex;
  EXPECT_TRUE(config.problems("x").empty());
  Bench bench(config);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(bench.code(*tls.server), "reply 200");
  EXPECT_EQ(bench.net_code(*tls.server), "reply 200");
  EXPECT_EQ(tls.server->connections(), 2);
}

TEST(HttpClientTls, RefusesAnotherCertificateThanThePinned) {
  TlsBench tls;
  HttpClientConfig config;
  config.pinned_sha256 = make_certificate().sha256_hex;
  Bench bench(config);
  EXPECT_EQ(bench.code(*tls.server), "http.tls_untrusted");
}

TEST(HttpClientTls, TrustsWhatItsCaFileTrustsAndNothingElse) {
  TlsBench tls, other;
  HttpClientConfig config;
  config.ca_file = tls.file;
  Bench bench(config);
  EXPECT_EQ(bench.code(*tls.server), "reply 200");
  EXPECT_EQ(bench.code(*other.server), "http.tls_untrusted");
  HttpRequest by_wrong_name = bench.request(*tls.server);
  by_wrong_name.server.host = "localhost";  // the certificate names the address only
  const auto reply = bench.client->exchange_and_wait(by_wrong_name);
  ASSERT_FALSE(reply);
  EXPECT_STREQ(reply.error().code, "http.tls_untrusted");
}

TEST(HttpClientTls, TrustsNoSelfSignedCertificateByDefault) {
  TlsBench tls;
  Bench bench;
  EXPECT_EQ(bench.code(*tls.server), "http.tls_untrusted");
}

TEST(HttpClientTls, EndsAtItsDeadlineInAHandshakeThatNeverEnds) {
  ScriptedServer server([](ScriptedServer::Peer& peer) { peer.wait_for_close(); });
  Bench bench;
  HttpRequest request = bench.request(server, milliseconds(50));
  request.server.tls = true;
  const auto reply = bench.client->exchange_and_wait(request);
  ASSERT_FALSE(reply);
  EXPECT_STREQ(reply.error().code, "http.connect_timeout");
}

TEST(HttpClientTls, SaysAtOnceWhichFileCannotBeUsed) {
  asio::io_context net;
  Metrics metrics;
  HttpClientConfig config;
  config.ca_file = "/nonexistent/ca.pem";
  const auto client = HttpClient::create(net, config, metrics);
  ASSERT_FALSE(client);
  EXPECT_STREQ(client.error().code, "http.tls_config");
  EXPECT_NE(client.error().message.find("/nonexistent/ca.pem"), std::string::npos);
}

TEST(Url, IsReadInAllItsForms) {
  const Url plain = *parse_url("http://MP01.example.com");
  EXPECT_EQ(plain.authority(), "mp01.example.com");
  EXPECT_EQ(plain.port, 80);
  const Url full = *parse_url("https://[2001:DB8::1]:8443/base?x=y");
  EXPECT_TRUE(full.tls);
  EXPECT_EQ(full.host, "2001:db8::1");
  EXPECT_EQ(full.authority(), "[2001:db8::1]:8443");
  EXPECT_EQ(full.path, "/base?x=y");
  EXPECT_EQ(parse_url("https://h:443")->authority(), "h");
  for (const char* bad :
       {"", "ftp://h", "http://", "http://:80", "http://h:", "http://h:0", "http://h:99999",
        "http://h:8x", "http://u@h", "http://[::1", "http://[::1]x", "http://a b", "http://h/#f",
        "http://h\r\n", "http://h\"x", "http://[mp01]", "http://[]", "http://[::1\"]", "http://[::1%eth0]"}) {
    const auto url = parse_url(bad);
    ASSERT_FALSE(url) << bad;
    EXPECT_STREQ(url.error().code, "http.url");
  }
}

}  // namespace
}  // namespace greengate::test
