#pragma once

#include "core/result.h"

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace greengate::sim {

/// What the notification server needs to know of clients; the MP simulator answers. Any thread.
struct KnownClient {
  std::string sms_id;
  std::string certificate_der;
  bool approved = true;
  bool blocked = false;
};

class ClientDirectory {
 public:
  virtual ~ClientDirectory() = default;
  virtual std::optional<KnownClient> find(const std::string& sms_id) const = 0;
};

struct NotifyConfig {
  std::string bind_address = "127.0.0.1";
  std::uint16_t port = 0;
  std::string profile = "A";
  std::filesystem::path dir;  ///< Evidence folder.
};

/// The client notification server: its own engineer writes it; this is the agreed face.
class NotificationServer {
 public:
  NotificationServer(boost::asio::io_context&, NotifyConfig, const ClientDirectory*);
  ~NotificationServer();
  Result<void> start();
  void stop();
  std::uint16_t port() const;
  /// JSON admin: path below /notify/…, body JSON; returns (http status, JSON text). Called on the io thread.
  std::pair<unsigned, std::string> admin(const std::string& method, const std::string& path,
                                         const std::string& body);
};

}  // namespace greengate::sim
