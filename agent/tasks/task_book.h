#pragma once

#include "agent/watchers/notebook.h"
#include "core/log.h"

#include "greengate/v1/notification.pb.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::agent {

/// "full_scan" for TASK_FULL_SCAN; empty for what this agent has no word for.
std::string task_name(v1::Task task);

/// A task that was accepted and is not over.
struct OpenTask {
  std::uint64_t id = 0;
  std::uint64_t print = 0;      ///< Of what was asked, to know it again.
  std::int64_t due_at_ms = 0;   ///< By this machine's clock.
  std::int64_t expires_at_ms = 0;  ///< By this machine's clock; 0: never.
  std::uint64_t starts = 0;     ///< How often it was begun.
  std::string memory;           ///< The work's own.
  v1::Notification asked;
};

/// What became of one that is over.
struct PastTask {
  std::uint64_t id = 0;
  std::uint64_t print = 0;
  v1::Task task = v1::TASK_UNSPECIFIED;
  v1::TaskOutcome outcome = v1::TASK_OUTCOME_UNSPECIFIED;
  std::int64_t ended_at_ms = 0;
  std::string code, message;
};

/// The same for a task however often it is sent: its kind, parameters and the site's id, not its times.
std::uint64_t print_of(const v1::Notification& asked);

/// The tasks this agent was asked for, on disk beside the outbox: what is open, and how the last ones ended, so that a task that is asked for
/// twice is done once.
///
/// Promise   What a call answered `true` for is on disk; after `false` nothing has changed, there or here.
/// Limits    open_max tasks and open_bytes_max of them open; the last past_max that ended.
/// Threads   One.
class TaskBook {
 public:
  static constexpr std::size_t memory_bytes_max = 4 << 10;
  static constexpr std::size_t open_max = 16, open_bytes_max = 256 << 10, past_max = 128, message_bytes_max = 240;

  explicit TaskBook(Notebook& notebook);

  const std::deque<OpenTask>& open() const { return open_; }
  const std::deque<PastTask>& past() const { return past_; }
  OpenTask* find_open(std::uint64_t id);
  const PastTask* find_past(std::uint64_t id) const;
  bool has_room_for(const v1::Notification& asked) const;

  bool add(OpenTask task);
  /// It is begun (again), with this memory.
  bool begin(OpenTask& task, std::string memory);
  /// The task leaves the open ones, if it was there, together with its reports.
  bool end(PastTask task, const std::vector<Finding>& reports);

 private:
  std::string open_note() const;
  std::string past_note() const;
  void read_open(const std::string& note);
  void read_past(const std::string& note);

  Notebook& notebook_;
  Log log_{"tasks"};
  std::deque<OpenTask> open_;  // in the order they were asked for
  std::deque<PastTask> past_;  // the newest last
};

}  // namespace greengate::agent
