#pragma once

#include "core/result.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace greengate::sim {

/// Constructors, because a temporary aggregate in an awaited call is destroyed twice by g++ 12.
struct AdminRequest {
  AdminRequest() = default;
  std::string method, path, query, body;
};
struct AdminReply {
  AdminReply() = default;
  AdminReply(unsigned http_status, std::string json_text)
      : status(http_status), json(std::move(json_text)) {}
  unsigned status = 200;
  std::string json;
};
using AdminHandler = std::function<boost::asio::awaitable<AdminReply>(AdminRequest)>;

/// The simulators' JSON door for scripts and tests: HTTP on loopback, no authentication, so never bind it wider.
///
/// Limits    64 connections at a time, 16 KiB of header, 1 MiB of body, 30 s for each request.
/// Threads   mount() before start(); handlers run on the io_context. start(), stop() and port() from one thread.
/// Errors    admin.bind; on the wire 404 and 413 with {"code","text"}.
class AdminServer {
 public:
  AdminServer(boost::asio::io_context& io, std::string bind_address, std::uint16_t port);
  ~AdminServer();
  /// Paths that begin with `prefix`; the longest prefix wins.
  void mount(std::string prefix, AdminHandler handler);
  Result<void> start();
  void stop();
  std::uint16_t port() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// {"code":…,"text":…}
AdminReply admin_error(unsigned status, const std::string& code, const std::string& text);

}  // namespace greengate::sim
