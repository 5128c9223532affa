#pragma once

#include "adapters/http/server.h"
#include "core/lifecycle.h"
#include "core/metrics.h"
#include "gateway/admin.h"
#include "gateway/config.h"

#include <atomic>
#include <memory>
#include <string>

namespace greengate::gateway {

/// The doors for operators: the admin socket, and /metrics, /health and /ready on a loopback port.
///
/// Promise   Admin requests, which may wait for the disk, run on a thread of their own and one at a time; the observe port stays quick.
/// Threads   set_ready(): any.
class Doors final : public Component {
 public:
  Doors(const GatewayConfig& config, boost::asio::io_context& net, Admin& admin, const Metrics& metrics);
  ~Doors() override;

  void set_ready(bool ready) { ready_ = ready; }
  std::uint16_t observe_port() const;

  std::string_view name() const override { return "operators' doors"; }
  Result<void> start() override;
  /// Says not ready first, so that whoever routes work here looks elsewhere.
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  struct AdminThread;
  std::atomic<bool> ready_{false};
  std::unique_ptr<AdminThread> admin_thread_;
  std::unique_ptr<adapters::HttpServer> admin_server_;
  std::unique_ptr<adapters::HttpServer> observe_server_;
};

}  // namespace greengate::gateway
