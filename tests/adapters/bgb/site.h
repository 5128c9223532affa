// The notification server simulator on a thread of its own, for tests of the pool.
#pragma once

#include "simulators/notification_server/notification_server.h"
#include "tests/adapters/bgb/pool_stage.h"

#include <boost/asio.hpp>
#include <boost/json.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

namespace greengate::test {

class Site {
 public:
  explicit Site(const boost::json::object& more = {}) {
    folder_ = std::filesystem::temp_directory_path() / ("greengate-bgb-faults-" + std::to_string(getpid()) + "-" + std::to_string(number++));
    boost::json::object settings{{"pending_push_delay_max_ms", 20}, {"black_hole_ms", 300},     {"negotiation_open_ms", 200},
                          {"client_close_limit_ms", 5'000},  {"evidence", "violations"}, {"response_limit_ms", 5'000}};
    for (const auto& [key, value] : more) settings[key] = value;
    auto config = sim::notify_config_from_json(boost::json::serialize(settings));
    EXPECT_TRUE(config) << config.error().message;
    config->dir = folder_;
    server_.emplace(io_, *config, nullptr);
    const auto started = server_->start();
    EXPECT_TRUE(started) << started.error().message;
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Site() {
    asio::post(io_, [this] { server_->stop(); });
    asio::post(io_, [this] { io_.stop(); });
    thread_.join();
    std::filesystem::remove_all(folder_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(server_->port()); }
  int port() const { return server_->port(); }
  int http_port() const { return server_->http_port(); }
  std::string certificate_file() const { return (folder_ / "server-certificate.pem").string(); }
  boost::json::value call(const std::string& method, const std::string& path, const boost::json::value& body = {}) {
    std::promise<std::pair<unsigned, std::string>> reply;
    asio::post(io_, [&] { reply.set_value(server_->admin(method, "/notify/" + path, body.is_null() ? "" : boost::json::serialize(body))); });
    const auto [status, text] = reply.get_future().get();
    EXPECT_EQ(status, 200u) << method << " " << path << ": " << text;
    return boost::json::parse(text);
  }

  /// How many of a push's clients have answered; -1 when nobody knows the push.
  std::int64_t answered(std::uint64_t push_id) {
    const auto pushes = call("GET", "pushes");
    for (const auto& push : pushes.at("pushes").as_array())
      if (push.at("push_id").to_number<std::uint64_t>() == push_id) return push.at("answered").to_number<std::int64_t>();
    return -1;
  }
  std::uint64_t push_to_all() {
    return call("POST", "push", {{"clients", "all"}, {"task_type", 1}}).at("push_id").to_number<std::uint64_t>();
  }
  std::int64_t faults_applied() {
    std::int64_t times = 0;
    const auto faults = call("GET", "faults");
    for (const auto& fault : faults.at("faults").as_array()) times += fault.at("applied").to_number<std::int64_t>();
    return times;
  }

 private:
  static inline std::atomic<int> number = 0;
  std::filesystem::path folder_;
  asio::io_context io_;
  std::optional<sim::NotificationServer> server_;
  std::thread thread_;
};

}  // namespace greengate::test
