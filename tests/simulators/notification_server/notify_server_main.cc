// Runs the notification server alone, for its tests: settings and clients in a JSON file, then one
// admin call a line on standard input. Not shipped.
//
//   notify_server_main FILE     {"settings": {…}, "clients": [{"sms_id", "certificate_hex", …}]}
//   {"method","path","body"}  → {"status","body"}
//   {"advance_ms": n}         → moves the server's clock
//   {"client": {…}}           → adds or replaces a known client

#include "simulators/notification_server/notification_server.h"

#include <boost/asio.hpp>
#include <boost/json.hpp>

#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace greengate;

class ShiftedClock final : public Clock {
 public:
  WallTime wall() const override { return system_.wall() + shift_; }
  SteadyTime steady() const override { return system_.steady() + shift_; }
  void advance(std::chrono::milliseconds by) { shift_ += by; }

 private:
  SystemClock system_;
  std::chrono::milliseconds shift_{0};
};

class ListedClients final : public sim::ClientDirectory {
 public:
  std::optional<sim::KnownClient> find(const std::string& sms_id) const override {
    const auto found = clients_.find(sms_id);
    if (found == clients_.end()) return std::nullopt;
    return found->second;
  }
  void put(const json::object& from) {
    sim::KnownClient client;
    client.sms_id = std::string(from.at("sms_id").as_string());
    const std::string hex(from.at("certificate_hex").as_string());
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
      client.certificate_der += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    if (const auto* approved = from.if_contains("approved")) client.approved = approved->as_bool();
    if (const auto* blocked = from.if_contains("blocked")) client.blocked = blocked->as_bool();
    clients_[client.sms_id] = client;
  }

 private:
  std::map<std::string, sim::KnownClient> clients_;
};

struct Console {
  asio::io_context& io;
  sim::NotificationServer& server;
  ListedClients& clients;
  ShiftedClock& clock;
  asio::posix::stream_descriptor in{io, ::dup(0)};
  asio::streambuf buffer{};

  void next() {
    asio::async_read_until(in, buffer, '\n', [this](boost::system::error_code ended, std::size_t) {
      if (ended) {
        server.stop();
        return io.stop();
      }
      std::istream stream(&buffer);
      std::string line;
      std::getline(stream, line);
      std::cout << json::serialize(answer(json::parse(line).as_object())) << std::endl;
      next();
    });
  }

  json::value answer(const json::object& call) {
    if (const auto* by = call.if_contains("advance_ms")) {
      clock.advance(std::chrono::milliseconds(by->as_int64()));
      server.admin("GET", "/notify/stats", "");
      return {{"status", 200}};
    }
    if (const auto* client = call.if_contains("client")) {
      clients.put(client->as_object());
      return {{"status", 200}};
    }
    const auto [status, body] = server.admin(std::string(call.at("method").as_string()),
                                             std::string(call.at("path").as_string()),
                                             std::string(call.at("body").as_string()));
    return {{"status", status}, {"body", body}};
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::ifstream file(argv[1]);
  std::stringstream text;
  text << file.rdbuf();
  const json::object given = json::parse(text.str()).as_object();

  ShiftedClock clock;
  ListedClients clients;
  if (const auto* listed = given.if_contains("clients"))
    for (const auto& client : listed->as_array()) clients.put(client.as_object());
  sim::NotifyConfig base;
  base.clock = &clock;
  auto config = sim::notify_config_from_json(json::serialize(given.at("settings")), base);
  if (!config) {
    std::cerr << config.error().message << "\n";
    return 78;
  }
  asio::io_context io;
  const bool anyone = given.contains("anyone");
  sim::NotificationServer server(io, *config, anyone ? nullptr : &clients);
  auto started = server.start();
  if (!started) {
    std::cerr << started.error().code << ": " << started.error().message << "\n";
    return 1;
  }
  std::cout << json::serialize(json::value{{"port", server.port()}, {"http_port", server.http_port()}}) << std::endl;
  Console console{io, server, clients, clock};
  console.next();
  io.run();
  return 0;
}
