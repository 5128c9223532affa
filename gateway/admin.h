#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"
#include "gateway/fan_out.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/courier.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::gateway {

/// One request of an operator's tool.
struct AdminCall {
  std::string method;  ///< "GET", "POST", "DELETE"
  std::string target;  ///< Path and query: "/v1/agents/db01/reports?count=20"
  std::string body;    ///< JSON, or empty
};

/// Its answer: JSON, or {"code": …, "message": …} with a status of 400 and above.
struct AdminReply {
  unsigned status = 200;
  std::string json;
};

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
  };

  Admin(store::DeviceRegistry& devices, store::ReportQueue& reports, const Clock& clock, House house);

  AdminReply answer(const AdminCall& call);

 private:
  AdminReply status() const;
  AdminReply agents() const;
  AdminReply agent(const store::Device& device) const;
  AdminReply reports(const store::Device& device, std::uint32_t count_max);
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
  const WallTime started_;
};

}  // namespace greengate::gateway
