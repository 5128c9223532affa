#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "gateway/admin_call.h"
#include "gateway/dead_letters.h"
#include "gateway/fan_out.h"
#include "gateway/notify_admin.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/courier.h"

#include <boost/json/value.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::gateway {

/// What the house is and does, as JSON for greengatectl and the page.
///
/// Threads   answer(): any but the net and ingest threads, as changes wait for the disk.
/// Errors    admin.not_found 404, admin.ambiguous 409, admin.bad_request 400, admin.method 405; the store's own codes 409 or 503.
/// Source    docs/reference/admin-api.md
class Admin {
 public:
  /// Facts and levers of other parts, given by the composition root.
  struct House {
    std::vector<std::string> roles;
    std::function<bool(const AgentId&)> connected;
    std::function<std::string(const AgentId&)> session;  ///< The notification session's state in a word.
    std::function<std::uint64_t()> sessions_online;
    std::function<std::vector<workers::MpHealth>()> management_points;
    std::function<std::vector<workers::BudgetHealth>()> pacing;
    std::function<PushCounts()> pushes;
    std::function<void(const AgentId&, store::DeviceState)> state_changed;
    std::function<Result<void>(const AgentId&)> rotate_key;
    std::function<std::string()> agent_endpoint;  ///< Where agents connect.
    std::function<std::string()> gateway_key;     ///< The public key they pin.
    std::function<Result<boost::json::value>(const std::string&)> class_shape;  ///< Of an inventory class, by its name.
    NotifyAdmin* notifications = nullptr;         ///< None: nobody can be asked to do anything.
    Replayer* replayer = nullptr;                 ///< None: nothing can be replayed here.
    MessageOf message_of;                         ///< What a report would be sent as; none where nothing is delivered.
    /// What other parts know of one agent, under the name it has in `explain`: "identity", "inventory", "policy", "pacing", …
    std::vector<std::pair<std::string, std::function<boost::json::value(const AgentId&)>>> details;
  };

  Admin(store::DeviceRegistry& devices, store::ReportQueue& reports, const Clock& clock, House house);

  AdminReply answer(const AdminCall& call);

 private:
  AdminReply status() const;
  AdminReply agents() const;
  AdminReply agent(const store::Device& device) const;
  AdminReply reports(const store::Device& device, std::uint32_t count_max);
  AdminReply explained(const store::Device& device);
  AdminReply change_state(const store::Device& device, store::DeviceState state);
  AdminReply tokens() const;
  AdminReply create_token(const std::string& body);
  AdminReply revoke_token(const std::string& id);
  /// By id, by the beginning of an id, or by host name; several matches are an error that names them.
  Result<store::Device> find_agent(const std::string& name) const;

  store::DeviceRegistry& devices_;
  store::ReportQueue& reports_;
  const Clock& clock_;
  const House house_;
  DeadLetters dead_letters_;
  const WallTime started_;
};

}  // namespace greengate::gateway
