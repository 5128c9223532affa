#pragma once

#include "core/config_reader.h"
#include "core/ids.h"
#include "store/report_queue.h"
#include "workers/file_assembly.h"

#include <cstdint>
#include <string>
#include <vector>

namespace greengate::workers {

/// How far several reports of one device may grow into one message.
struct CoalescerConfig {
  std::uint32_t state_reports_max = 200;          ///< Reports whose state messages share one message.
  std::int64_t state_bytes_max = 256 * 1024;      ///< And their bytes as kept.
  FileLimits files;                               ///< What one lease can hold; the pool knows.
};

/// Reports of one device that travel as one message.
struct Group {
  /// What the message tells; for a resync request the kind of state it asks for, if that is one.
  std::uint32_t kind = 0;
  std::vector<const store::LeasedReport*> reports;  ///< Oldest first; they live in the batch.
  std::string note;                                 ///< Set: this group was attempted before and keeps its content.
};

/// What is to be done with one batch.
struct Plan {
  std::vector<Group> messages;                          ///< Oldest first.
  std::vector<const store::LeasedReport*> superseded;   ///< A newer one in the batch says all they said.
  std::vector<Waiting> wait;                            ///< Chunks of files whose rest is still to come.
  std::vector<Hopeless> hopeless;                       ///< Chunks that will never be a file.
};

/// Kinds whose reports hold a state the gateway keeps a baseline of.
bool is_inventory(std::uint32_t kind);

/// Turns a device's waiting reports into as few messages as tell the same story.
///
/// Promise   A group that was attempted before stays exactly as it was. State messages keep their order; of discovery and of an
///           inventory only the newest unattempted one is sent, as each holds the full state: the one with the highest sequence of its
///           incarnation, or the last to come. A request for everything again joins the newest state of its kind.
/// Threads   Any; pure.
Plan plan_messages(const store::Batch& batch, const CoalescerConfig& config);

}  // namespace greengate::workers
