#include "adapters/mdm/dm_server.h"
#include "tests/adapters/mdm/scripted_device.h"
#include "tests/adapters/mdm/tls_client.h"
#include "tests/support/manual_clock.h"

#include <filesystem>
#include <mutex>
#include <thread>

namespace greengate::test {
namespace {

using namespace adapters;
using std::chrono::milliseconds;

class Server : public testing::Test {
 protected:
  Server() {
    std::string pattern = (std::filesystem::temp_directory_path() / "greengate-mdm-XXXXXX").string();
    if (!mkdtemp(pattern.data())) std::abort();
    folder_ = pattern;
    const std::time_t now = std::chrono::system_clock::to_time_t(clock_.wall());
    authority_ = std::make_unique<Certificate>(folder_, "Device CA", nullptr, true, -10, 100, now);
    device_ = std::make_unique<Certificate>(folder_, "device", authority_.get(), false, -1, 30, now);
    stranger_ = std::make_unique<Certificate>(folder_, "stranger", nullptr, false, -1, 30, now);
    late_ = std::make_unique<Certificate>(folder_, "late", authority_.get(), false, -9, -1, now);
    server_certificate_ = std::make_unique<Certificate>(folder_, "dm.example.test", nullptr, false, -1, 30, now);
    config_.listen = "127.0.0.1:0";
    config_.certificate_file = server_certificate_->certificate_file;
    config_.key_file = server_certificate_->key_file;
    config_.client_ca_file = authority_->certificate_file;
  }
  ~Server() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  std::uint16_t start() {
    server_ = std::make_unique<DmServer>(
        config_,
        [this](const DmPeer& peer, std::string_view body) {
          std::lock_guard lock(mutex_);
          peers_.push_back(peer);
          DmReply reply = answer_;
          if (reply.status == 200) reply.body = "<echo>" + std::string(body) + "</echo>";
          return reply;
        },
        clock_, metrics_);
    const auto started = server_->start();
    EXPECT_TRUE(started) << started.error().message;
    return server_->port();
  }
  DmPeer last_peer() {
    std::lock_guard lock(mutex_);
    return peers_.empty() ? DmPeer{} : peers_.back();
  }

  ManualClock clock_;
  Metrics metrics_;
  std::filesystem::path folder_;
  DmServerConfig config_;
  std::unique_ptr<Certificate> authority_, device_, stranger_, late_, server_certificate_;
  std::mutex mutex_;
  std::vector<DmPeer> peers_;
  DmReply answer_;
  std::unique_ptr<DmServer> server_;
};

TEST_F(Server, takes_messages_one_after_the_other_and_knows_who_sends_them) {
  Client client(start(), device_.get());
  ASSERT_TRUE(client.connected());
  for (int i = 0; i < 3; ++i) {
    const std::string answer = client.post("message");
    EXPECT_EQ(status_of(answer), "200 OK");
    EXPECT_NE(answer.find("Content-Type: application/vnd.syncml.dm+xml\r\n"), std::string::npos);
    EXPECT_EQ(answer.find("Transfer-Encoding"), std::string::npos);
    EXPECT_EQ(body_of(answer), "<echo>message</echo>");
  }
  const DmPeer peer = last_peer();
  EXPECT_EQ(peer.fingerprint.size(), 64u);
  EXPECT_EQ(peer.serial, "aff");
  EXPECT_EQ(peer.issuer, "CN=Device CA");
  EXPECT_TRUE(peer.trusted);
  EXPECT_TRUE(peer.in_time);
  EXPECT_EQ(peer.remote, "127.0.0.1");
}

TEST_F(Server, certificates_of_others_are_told_apart) {
  const std::uint16_t port = start();
  const auto seen = [&](const Certificate* identity) {
    Client client(port, identity);
    EXPECT_TRUE(client.connected());
    client.post("x");
    return last_peer();
  };
  EXPECT_TRUE(seen(nullptr).fingerprint.empty());
  EXPECT_FALSE(seen(stranger_.get()).trusted);
  EXPECT_TRUE(last_peer().in_time);
  EXPECT_FALSE(seen(late_.get()).in_time);
  EXPECT_FALSE(last_peer().trusted);
}

TEST_F(Server, what_is_no_management_message_is_refused_in_http) {
  const std::uint16_t port = start();
  const auto status = [&](auto... what) {
    Client client(port, device_.get());
    return status_of(client.post(what...)).substr(0, 3);
  };
  EXPECT_EQ(status("x", "application/vnd.syncml.dm+xml; charset=UTF-8"), "200");
  EXPECT_EQ(status("x", "Application/VND.syncml.dm+XML; charset=\"utf-8\""), "200");
  EXPECT_EQ(status("x", "application/vnd.syncml.dm+wbxml"), "415");
  EXPECT_EQ(status("x", "application/vnd.syncml.dm+xml; charset=utf-16"), "415");
  EXPECT_EQ(status("x", "text/xml"), "415");
  EXPECT_EQ(status("", "application/vnd.syncml.dm+xml", "/dm", "GET"), "405");
  EXPECT_EQ(status("x", "application/vnd.syncml.dm+xml", "/dm", "PUT"), "405");
  EXPECT_EQ(status("x", "application/vnd.syncml.dm+xml", "/"), "404");
  EXPECT_EQ(status("x", "application/vnd.syncml.dm+xml", "/dmx"), "404");
  EXPECT_EQ(status(std::string(300 * 1024, 'x')), "413");
  EXPECT_EQ(status(std::string(7 << 20, 'x')), "413") << "who is still sending hears it too";
  Client client(port, device_.get());
  client.send("GARBAGE\r\n\r\n");
  EXPECT_EQ(status_of(client.answer()).substr(0, 3), "400");
  Client headers(port, device_.get());
  headers.send("POST /dm HTTP/1.1\r\nX-Large: " + std::string(20'000, 'a') + "\r\n\r\n");
  EXPECT_EQ(status_of(headers.answer()).substr(0, 3), "431");
}

TEST_F(Server, a_full_house_says_when_to_come_back) {
  answer_.status = 429;
  answer_.body = "mdm.full\n";
  answer_.retry_after = std::chrono::seconds(77);
  Client client(start(), device_.get());
  const std::string answer = client.post("x");
  EXPECT_EQ(status_of(answer).substr(0, 3), "429");
  EXPECT_NE(answer.find("Retry-After: 77\r\n"), std::string::npos);
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << "its place is another's until it comes back";
  EXPECT_EQ(client.answer(), "");
}

TEST_F(Server, slow_clients_are_closed) {
  config_.handshake_timeout = config_.request_timeout = config_.idle_timeout = milliseconds(150);
  const std::uint16_t port = start();
  asio::io_context context;
  tcp::socket silent(context);
  silent.connect(tcp::endpoint(asio::ip::address_v4::loopback(), port));
  char byte = 0;
  boost::system::error_code error;
  while (!error) silent.read_some(asio::buffer(&byte, 1), error);  // no handshake: closed
  Client idle(port, device_.get());
  EXPECT_EQ(idle.answer(), "");
  Client half(port, device_.get());
  half.send("POST /dm HTTP/1.1\r\nContent-Length: 100\r\n\r\nonly a part");
  EXPECT_EQ(half.answer(), "");
  // A byte now and then does not move the deadline.
  Client drip(port, device_.get());
  const auto begin = std::chrono::steady_clock::now();
  std::thread dripping([&] {
    for (int i = 0; i < 30; ++i) {
      drip.send(i == 0 ? "POST /dm HTTP/1.1\r\nX: " : "a");
      std::this_thread::sleep_for(milliseconds(25));
    }
  });
  dripping.join();
  EXPECT_EQ(drip.answer(), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(Server, more_connections_than_allowed_are_closed_at_once) {
  config_.connections_max = 2;
  const std::uint16_t port = start();
  Client first(port, device_.get()), second(port, device_.get());
  ASSERT_TRUE(first.connected() && second.connected());
  EXPECT_FALSE(Client(port, device_.get()).connected());
  // Not even a hello is waited for: nothing is computed for who cannot stay.
  asio::io_context context;
  tcp::socket silent(context);
  silent.connect(tcp::endpoint(asio::ip::address_v4::loopback(), port));
  char byte = 0;
  boost::system::error_code error;
  EXPECT_EQ(silent.read_some(asio::buffer(&byte, 1), error), 0u);
  EXPECT_TRUE(error);
  EXPECT_EQ(status_of(first.post("x")), "200 OK");
}

TEST_F(Server, files_that_are_missing_are_told_at_start) {
  config_.certificate_file = "/nowhere.pem";
  DmServer missing(config_, [](const DmPeer&, std::string_view) { return DmReply{}; }, clock_, metrics_);
  const auto started = missing.start();
  ASSERT_FALSE(started);
  EXPECT_STREQ(started.error().code, "mdm.certificate");
}

TEST_F(Server, stops_with_connections_open) {
  Client client(start(), device_.get());
  EXPECT_EQ(status_of(client.post("x")), "200 OK");
  server_->drain({});
  server_->stop();
  EXPECT_EQ(client.answer(), "");
}

}  // namespace
}  // namespace greengate::test
