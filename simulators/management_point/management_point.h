#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "simulators/common/admin_server.h"
#include "simulators/management_point/settings.h"
#include "simulators/notification_server/notification_server.h"

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <memory>

namespace greengate::sim {

/// A management point that takes nothing on trust: HTTP, and HTTPS if asked, in front of a Site.
///
/// Promise   Each CCM_POST gets one verdict in the evidence; refusals look on the wire like a real one's: 200 and empty.
/// Limits    MpSettings: header, body, inflated size, clients, connections, read time.
/// Threads   start(), stop() and ports from one thread; the io_context may run on several.
/// Errors    mp.bind, mp.tls, and those of opening the evidence.
/// Source    mp-protocol, readings
class ManagementPoint {
 public:
  ManagementPoint(boost::asio::io_context& io, MpSettings settings, const Clock& clock);
  ~ManagementPoint();
  Result<void> start();
  void stop();
  std::uint16_t port() const;
  std::uint16_t tls_port() const;  ///< 0 without TLS.
  /// Paths under /mp/. Any thread.
  AdminReply admin(const AdminRequest& request);
  const ClientDirectory& clients() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace greengate::sim
