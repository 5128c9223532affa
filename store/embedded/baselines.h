#pragma once

#include "core/ids.h"
#include "core/result.h"
#include "store/baselines.h"
#include "store/embedded/probe.h"
#include "store/embedded/readers.h"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace greengate::store {

class EmbeddedReportQueue;

/// The one row of an agent and a kind.
inline std::uint64_t baseline_place(std::uint32_t agent_no, std::uint32_t kind) {
  return std::uint64_t{agent_no} << 32 | kind;
}

/// CRC-32 over whose and which baseline it is, then its body. Times in milliseconds.
std::uint32_t baseline_checksum(const AgentId& agent, std::uint32_t kind, std::uint64_t major,
                                std::uint64_t minor, std::int64_t full_at, std::int64_t moved_at,
                                std::string_view body);

/// Reads what settlements wrote (report_queue_settle.cc).
///
/// Limits    list() does not look at bodies, so it also names a baseline that find() would find damaged.
class EmbeddedBaselines final : public Baselines {
 public:
  EmbeddedBaselines(const EmbeddedReportQueue& queue, Readers& readers, StoreProbe& probe)
      : queue_(queue), readers_(readers), probe_(probe) {}

  Result<std::optional<Baseline>> find(const AgentId& agent, std::uint32_t kind) override;
  Result<std::vector<Baseline>> list(const AgentId& agent) override;

 private:
  const EmbeddedReportQueue& queue_;
  Readers& readers_;
  StoreProbe& probe_;
};

}  // namespace greengate::store
