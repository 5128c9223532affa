#include "simulators/notification_server/notification_server.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <cstdlib>
#include <fstream>

namespace greengate::sim {
namespace {

struct NotifyStart : ::testing::Test {
  NotifyStart() {
    std::string name = (std::filesystem::temp_directory_path() / "notify-XXXXXX").string();
    dir = ::mkdtemp(name.data());
    config.dir = dir / "evidence";
  }
  ~NotifyStart() override { std::filesystem::remove_all(dir); }

  std::string start_code() {
    boost::asio::io_context io;
    NotificationServer server(io, config, nullptr);
    auto started = server.start();
    return started ? "" : started.error().code;
  }

  std::filesystem::path dir;
  NotifyConfig config;
};

TEST_F(NotifyStart, TakesAFreePortAndWritesItsCertificate) {
  boost::asio::io_context io;
  NotificationServer server(io, config, nullptr);
  ASSERT_TRUE(server.start());
  EXPECT_NE(server.port(), 0);
  EXPECT_TRUE(std::filesystem::exists(config.dir / "server-certificate.pem"));
  using std::filesystem::perms;
  const auto who = std::filesystem::status(config.dir / "server-key.pem").permissions();
  EXPECT_EQ(who, perms::owner_read | perms::owner_write);
  server.stop();
  server.stop();
  EXPECT_EQ(server.admin("GET", "/notify/stats", "").first, 503U);
}

TEST_F(NotifyStart, KeepsItsCertificateOverARestart) {
  const auto read = [&] {
    std::ifstream file(config.dir / "server-certificate.pem");
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(start_code(), "");
  const std::string first = read();
  EXPECT_EQ(start_code(), "");
  EXPECT_FALSE(first.empty());
  EXPECT_EQ(read(), first);
}

TEST_F(NotifyStart, SaysThatTheAddressIsTaken) {
  boost::asio::io_context io;
  boost::asio::ip::tcp::acceptor taken(io, {boost::asio::ip::make_address("127.0.0.1"), 0}, false);
  config.port = taken.local_endpoint().port();
  EXPECT_EQ(start_code(), "notify.bind");
}

TEST_F(NotifyStart, SaysThatTheAddressIsNone) {
  config.bind_address = "nowhere";
  EXPECT_EQ(start_code(), "notify.bind");
}

TEST_F(NotifyStart, SaysThatTheCertificateCannotBeUsed) {
  std::ofstream(dir / "bad.pem") << "no certificate";
  config.certificate_file = dir / "bad.pem";
  config.key_file = dir / "bad.pem";
  EXPECT_EQ(start_code(), "notify.certificate");
}

TEST_F(NotifyStart, SaysThatEvidenceCannotBeWritten) {
  std::ofstream(dir / "evidence") << "a file where a folder should be";
  EXPECT_EQ(start_code(), "notify.evidence");
}

TEST_F(NotifyStart, RefusesSettingsItDoesNotKnow) {
  config.profile = "D";
  EXPECT_EQ(start_code(), "notify.settings");
  for (const char* json :
       {"", "[]", R"({"no_such": 1})", R"({"profile": "Z"})", R"({"profile": 1})",
        R"({"port": -1})", R"({"major": 256})", R"({"check_key": 1})",
        R"({"certificate_file": "only-one.pem"})", R"({"throttle_sends": "many"})",
        R"({"text": "utf-7"})", R"({"dir": 5})"}) {
    const auto read = notify_config_from_json(json);
    ASSERT_FALSE(read) << json;
    EXPECT_STREQ(read.error().code, "notify.settings");
  }
}

TEST_F(NotifyStart, ReadsSettingsOverWhatIsThere) {
  config.major = 3;
  const auto read = notify_config_from_json(
      R"({"profile": "B", "throttle_sends": 5, "check_key": false, "port": 7, "dir": "x"})",
      config);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->profile, "B");
  EXPECT_EQ(read->throttle_sends, 5);
  EXPECT_FALSE(read->check_key);
  EXPECT_EQ(read->port, 7);
  EXPECT_EQ(read->dir, "x");
  EXPECT_EQ(read->major, 3);
}

}  // namespace
}  // namespace greengate::sim
