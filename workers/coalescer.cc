#include "workers/coalescer.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <algorithm>
#include <map>

namespace greengate::workers {
namespace {

bool newest_is_enough(std::uint32_t kind) { return kind == v1::KIND_DISCOVERY || is_inventory(kind); }

// What a report's message tells: a request for everything again is about the state it asks for.
std::uint32_t told_by(const store::LeasedReport& report) {
  if (report.kind != v1::KIND_RESYNC) return report.kind;
  v1::ResyncRequest request;
  const bool known = request.ParseFromString(report.body) && is_inventory(request.kind());
  return known ? request.kind() : report.kind;
}

// A dead letter that is tried again comes behind newer reports, so the place in the batch alone does not tell.
bool newer(const store::LeasedReport& report, const store::LeasedReport& than) {
  return report.name.incarnation != than.name.incarnation || report.name.sequence >= than.name.sequence;
}

}  // namespace

bool is_inventory(std::uint32_t kind) { return kind == v1::KIND_HARDWARE_INVENTORY || kind == v1::KIND_SOFTWARE_INVENTORY; }

Plan plan_messages(const store::Batch& batch, const CoalescerConfig& config) {
  Plan plan;
  std::map<std::uint64_t, std::size_t> pinned;                    // group id → place in plan.messages
  std::map<std::uint32_t, std::size_t> states;                    // kind → place of its one unpinned message
  std::map<std::uint32_t, const store::LeasedReport*> newest;     // full-state kinds, unpinned
  for (const store::LeasedReport& report : batch.reports) {
    if (report.group != 0 || !newest_is_enough(report.kind)) continue;
    const store::LeasedReport*& best = newest[report.kind];
    if (best == nullptr || newer(report, *best)) best = &report;
  }

  std::vector<const store::LeasedReport*> chunks;  // of collected files, unpinned
  std::size_t open_state_group = SIZE_MAX;  // the group that further state messages may still join
  std::int64_t open_bytes = 0;
  for (const store::LeasedReport& report : batch.reports) {
    const std::uint32_t kind = told_by(report);
    if (report.group != 0) {
      const auto [place, first_seen] = pinned.try_emplace(report.group, plan.messages.size());
      if (first_seen) plan.messages.push_back({kind, {}, report.note});
      plan.messages[place->second].reports.push_back(&report);
      continue;
    }
    if (newest_is_enough(kind)) {
      if (newest_is_enough(report.kind) && newest[kind] != &report) {
        plan.superseded.push_back(&report);
        continue;
      }
      const auto [place, first_seen] = states.try_emplace(kind, plan.messages.size());
      if (first_seen) plan.messages.push_back({kind, {}, {}});
      plan.messages[place->second].reports.push_back(&report);
      continue;
    }
    if (report.kind == v1::KIND_FILE_CHUNK) {
      chunks.push_back(&report);
      continue;
    }
    const auto bytes = static_cast<std::int64_t>(report.body.size());
    const bool joins = report.kind == v1::KIND_STATE_MESSAGES && open_state_group != SIZE_MAX &&
                       plan.messages[open_state_group].reports.size() < config.state_reports_max &&
                       open_bytes + bytes <= config.state_bytes_max;
    if (joins) {
      plan.messages[open_state_group].reports.push_back(&report);
      open_bytes += bytes;
      continue;
    }
    plan.messages.push_back({report.kind, {&report}, {}});
    if (report.kind == v1::KIND_STATE_MESSAGES) {
      open_state_group = plan.messages.size() - 1;
      open_bytes = bytes;
    }
  }
  FilePlan files = plan_files(chunks, config.files, chunks.size() == batch.reports.size());
  for (auto& whole : files.whole) plan.messages.push_back({v1::KIND_FILE_CHUNK, std::move(whole), {}});
  plan.wait = std::move(files.wait);
  plan.hopeless = std::move(files.hopeless);
  return plan;
}

}  // namespace greengate::workers
