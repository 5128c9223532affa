#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "gateway/admin_call.h"
#include "gateway/fan_out.h"
#include "store/device_registry.h"
#include "store/mailbox.h"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::gateway {

/// The notifications' part of the admin API: an operator's (or a program's) own button, and the receipts of everybody's.
///
/// Promise   A wipe is posted only for one device that the confirmation names. Scripts come from the site alone.
/// Limits    10,000 names or patterns in one order; 10,000 entries a page.
/// Threads   As Admin::answer().
/// Errors    admin.bad_request 400, admin.not_found 404, admin.ambiguous, admin.not_active and admin.not_confirmed 409; the mailbox's own
///           409 or 503.
/// Source    docs/reference/mailbox.md, docs/reference/admin-api.md
class NotifyAdmin {
 public:
  using Orderer = std::function<Result<store::Posted>(Order)>;
  using FindAgent = std::function<Result<store::Device>(const std::string&)>;

  NotifyAdmin(store::DeviceRegistry& devices, store::Mailbox& mailbox, const Clock& clock, Orderer order)
      : devices_(devices), mailbox_(mailbox), clock_(clock), order_(std::move(order)) {}

  /// `path` is the call's, split. Nothing: not something that can be asked.
  std::optional<AdminReply> answer(const AdminCall& call, const std::vector<std::string>& path, const FindAgent& find);
  /// A device's newest notifications, for explain.
  boost::json::value last_of(const AgentId& agent);

 private:
  AdminReply send(const std::string& body, const FindAgent& find);
  Result<Order> order_in(const boost::json::object& body, const FindAgent& find) const;
  Result<std::vector<AgentId>> devices_in(const boost::json::object& body, const FindAgent& find) const;
  AdminReply list(const std::string& target);
  AdminReply show(std::uint64_t id, const std::string& target);
  AdminReply cancel(std::uint64_t id);

  store::DeviceRegistry& devices_;
  store::Mailbox& mailbox_;
  const Clock& clock_;
  const Orderer order_;
};

}  // namespace greengate::gateway
