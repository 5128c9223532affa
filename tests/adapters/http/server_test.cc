// Goal: operators are answered, and nobody else harms the gateway through this door. Method: our
// own client for good manners, raw sockets for bad ones.
#include "adapters/http/server.h"
#include "adapters/http/unix_client.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>

#include <filesystem>
#include <fstream>
#include <thread>

namespace greengate::test {
namespace {

using namespace greengate::adapters;
using std::chrono::milliseconds;
using tcp = asio::ip::tcp;
using local = asio::local::stream_protocol;

constexpr milliseconds patience(20'000);

HttpReply echo(const HttpCall& call) {
  HttpReply reply(200, "text/plain", call.method + " " + call.target + " " + call.body);
  reply.headers.emplace_back("X-Unix", call.over_unix_socket ? "yes" : "no");
  if (call.target == "/missing") reply.status = 404;
  return reply;
}

/// A server on its own net thread and socket path.
struct House {
  explicit House(HttpServerConfig config = {}) : work(asio::make_work_guard(net)) {
    directory = std::filesystem::temp_directory_path() /
                ("greengate-http-" + std::to_string(::getpid()) + "-" + std::to_string(++made));
    std::filesystem::create_directory(directory);
    config.unix_path = directory / "admin.sock";
    config.port = 0;
    path = config.unix_path;
    server = std::make_unique<HttpServer>(net, config, plain_handler(echo));
  }
  ~House() {
    server->stop();
    work.reset();
    if (thread.joinable()) thread.join();
    std::filesystem::remove_all(directory);
  }
  void start() {
    const auto started = server->start();
    ASSERT_TRUE(started) << started.error().message;
    thread = std::thread([this] { net.run(); });
  }
  Result<HttpResponse> ask(const std::string& method, const std::string& target,
                           const std::string& body = "") {
    return unix_request(path, method, target, body, patience);
  }
  /// Sends bytes on a TCP connection and reads until the server closes.
  std::string raw(const std::string& bytes) {
    asio::io_context mine;
    tcp::socket socket(mine);
    socket.connect({asio::ip::address_v4::loopback(), server->port()});
    boost::system::error_code error;
    asio::write(socket, asio::buffer(bytes), error);
    std::string got;
    char piece[4096];
    while (!error) {
      const auto read = socket.read_some(asio::buffer(piece), error);
      got.append(piece, read);
    }
    return got;
  }
  static inline std::atomic<int> made{0};
  asio::io_context net{1};
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::filesystem::path directory;
  std::string path;
  std::unique_ptr<HttpServer> server;
  std::thread thread;
};

TEST(HttpServer, AnswersOverItsUnixSocket) {
  House house;
  house.start();
  const auto reply = house.ask("POST", "/v1/x?y=z", "body");
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->status, 200u);
  EXPECT_EQ(reply->body, "POST /v1/x?y=z body");
  EXPECT_EQ(reply->header("x-unix"), "yes");
  EXPECT_EQ(reply->header("content-type"), "text/plain");
  EXPECT_EQ(house.ask("GET", "/missing")->status, 404u);
}

TEST(HttpServer, GivesItsSocketToOwnerAndGroupOnly) {
  House house;
  house.start();
  struct stat file {};
  ASSERT_EQ(::stat(house.path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0660u);
}

TEST(HttpServer, AnswersSeveralRequestsOnOneConnection) {
  House house;
  house.start();
  const std::string got = house.raw(
      "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(got.find("GET /a "), std::string::npos);
  EXPECT_NE(got.find("GET /b "), std::string::npos);
  EXPECT_NE(got.find("X-Unix: no"), std::string::npos);
}

TEST(HttpServer, SendsNoBodyToAHead) {
  House house;
  house.start();
  const std::string got = house.raw("HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(got.ends_with("\r\n\r\n")) << got;
  EXPECT_NE(got.find("Content-Length: 8\r\n"), std::string::npos);
}

TEST(HttpServer, RefusesWhatIsTooLargeOrNoHttp) {
  HttpServerConfig config;
  config.request_bytes_max = 4096;
  config.header_bytes_max = 2048;
  House house(config);
  house.start();
  EXPECT_TRUE(house.raw("POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, 'x'))
                  .starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(house.raw("POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n")
                  .starts_with("HTTP/1.1 413"));
  EXPECT_TRUE(house.raw("GET / HTTP/1.1\r\nX: " + std::string(3000, 'x') + "\r\n\r\n")
                  .starts_with("HTTP/1.1 431"));
  EXPECT_TRUE(house.raw("\x16\x03\x01 no http\r\n\r\n").starts_with("HTTP/1.1 400"));
  EXPECT_TRUE(house.ask("GET", "/")) << "still serves the well-mannered";
}

TEST(HttpServer, ClosesOnAClientThatIsTooSlow) {
  HttpServerConfig config;
  config.request_timeout = milliseconds(50);
  config.idle_timeout = milliseconds(50);
  House house(config);
  house.start();
  EXPECT_EQ(house.raw("GET / HT"), "");
  EXPECT_EQ(house.raw(""), "");
}

TEST(HttpServer, TakesNoMoreConnectionsThanItsBound) {
  HttpServerConfig config;
  config.connections_max = 2;
  House house(config);
  house.start();
  asio::io_context mine;
  std::vector<tcp::socket> held;
  for (int i = 0; i < 2; ++i) {
    held.emplace_back(mine);
    held.back().connect({asio::ip::address_v4::loopback(), house.server->port()});
    asio::write(held.back(), asio::buffer(std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n")));
    char first = 0;
    held.back().read_some(asio::buffer(&first, 1));  // it is in, and answered
  }
  const auto refused = house.ask("GET", "/");
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "http.closed");
}

TEST(HttpServer, ReplacesASocketFileNobodyAnswersOn) {
  House house;
  {
    asio::io_context mine;
    local::acceptor left_behind(mine, local::endpoint(house.path));
  }
  ASSERT_TRUE(std::filesystem::exists(house.path));
  house.start();
  EXPECT_TRUE(house.ask("GET", "/"));
}

TEST(HttpServer, LeavesASocketInUseAndOtherFilesAlone) {
  House first, second;
  first.start();
  HttpServerConfig config;
  config.unix_path = first.path;
  HttpServer rival(second.net, config, plain_handler(echo));
  const auto started = rival.start();
  ASSERT_FALSE(started);
  EXPECT_STREQ(started.error().code, "http.listen");
  EXPECT_TRUE(first.ask("GET", "/"));

  config.unix_path = second.directory / "file";
  std::ofstream(config.unix_path) << "precious";
  HttpServer other(second.net, config, plain_handler(echo));
  EXPECT_FALSE(other.start());
  EXPECT_TRUE(std::filesystem::exists(config.unix_path));
}

TEST(HttpServer, SaysWhyItCannotListen) {
  House house;
  HttpServerConfig config;
  config.unix_group = "no-such-group";
  config.unix_path = house.directory / "g.sock";
  HttpServer no_group(house.net, config, plain_handler(echo));
  const auto started = no_group.start();
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("no-such-group"), std::string::npos);
  config.unix_path = std::string(200, 'x');
  EXPECT_FALSE(config.problems("admin").empty());
  HttpServer too_long(house.net, config, plain_handler(echo));
  EXPECT_FALSE(too_long.start());
}

TEST(UnixClient, SaysWhenNobodyListensAndWhenTheServerIsSilent) {
  House house;
  const auto nobody = house.ask("GET", "/");
  ASSERT_FALSE(nobody);
  EXPECT_STREQ(nobody.error().code, "http.connect");
  asio::io_context mine;
  local::acceptor silent(mine, local::endpoint(house.path));
  const auto late = unix_request(house.path, "GET", "/", "", milliseconds(50));
  ASSERT_FALSE(late);
  EXPECT_STREQ(late.error().code, "http.timeout");
  EXPECT_STREQ(unix_request(house.path, "GET", "x y", "", patience).error().code, "http.request");
}

}  // namespace
}  // namespace greengate::test
