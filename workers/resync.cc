#include "workers/resync.h"

#include "workers/coalescer.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

namespace greengate::workers {

Result<void> request_resync(store::ReportQueue& reports, const AgentId& agent, std::uint32_t kind, const std::string& policy_id,
                            const std::string& policy_version, WallTime now) {
  if (!is_inventory(kind)) {
    return fail(Remedy::reject, "resync.kind", "reports of kind " + std::to_string(kind) + " have no state that could be sent again.");
  }
  v1::ResyncRequest request;
  request.set_kind(kind);
  request.set_policy_id(policy_id);
  request.set_policy_version(policy_version);
  store::NewReport report;
  report.name.agent = agent;
  report.lane = store::Lane::inventory;
  report.kind = v1::KIND_RESYNC;
  report.collected_at = now;
  report.body = request.SerializeAsString();
  auto kept = reports.keep_own(std::move(report));
  if (!kept) return pass(kept);
  return {};
}

}  // namespace greengate::workers
