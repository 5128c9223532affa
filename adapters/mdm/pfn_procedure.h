#pragma once

#include "adapters/mdm/nodes.h"
#include "core/clock.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greengate::adapters {

/// What is remembered of a device's push registration from one session to the next.
struct PfnRecord {
  std::string pfn;                  ///< Tried last.
  WallTime day_began;               ///< Of the writes counted.
  std::uint32_t writes = 0;         ///< Replace and Add since then.
  std::uint32_t failed_sessions = 0;///< In a row, by an unspecific failure.
  WallTime unsupported_until;
  bool again = false;               ///< Try in the next session though nobody asks.
  std::string outcome;              ///< A word: set, registered_late, bad_pfn, refused_by_service, unsupported, failed, …
  WallTime outcome_at;
  bool operator==(const PfnRecord&) const = default;
};

/// Tells a device the name of the application whose pushes shall wake it, and copes with what devices answer.
///
/// Usage     In a session: begin(); while it gives a command, send it followed by reads of ChannelURI and Status, and give the answers to
///           answered(), which says the next command or nothing. record() is then to be kept.
/// Promise   At most 4 writes a device and day; at most 6 commands a session; never Add and Replace in one message.
/// Threads   One at a time.
/// Source    wns-mdm-push 11, 10.1
class PfnProcedure {
 public:
  static constexpr std::uint32_t writes_a_day_max = 4;

  PfnProcedure(const PushNodes& nodes, PfnRecord record) : nodes_(nodes), record_(std::move(record)) {}

  /// `pfn`: what is to be set; empty: only what an earlier session left to be tried again.
  std::optional<DmCommand> begin(const std::string& pfn, WallTime now);
  /// `status`: of the command; `text`: what a Get of the PFN found; `push_status`: as read after it, if it could be read.
  std::optional<DmCommand> answered(int status, const std::string& text, std::optional<int> push_status, bool uri_there, WallTime now);
  bool busy() const { return step_ != Step::idle; }
  const PfnRecord& record() const { return record_; }

 private:
  enum class Step { idle, replace, add, look, remove, add_again };
  std::optional<DmCommand> write(Step step, WallTime now);
  std::optional<DmCommand> finish(const char* outcome, bool again, WallTime now);
  std::optional<DmCommand> judge_registration(std::optional<int> push_status, bool uri_there, WallTime now);
  std::optional<DmCommand> judge_failure(std::optional<int> push_status, WallTime now);

  const PushNodes& nodes_;
  PfnRecord record_;
  Step step_ = Step::idle;
  bool looked_ = false;
};

}  // namespace greengate::adapters
