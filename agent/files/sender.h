#pragma once

#include "agent/files/plan.h"
#include "agent/outbox.h"
#include "agent/trees/sha256.h"
#include "core/clock.h"
#include "core/log.h"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace greengate::agent {

struct FileSenderConfig {
  std::string ledger_file;
  std::size_t chunk_bytes = 256 << 10;
  std::uint64_t bytes_per_second = 1 << 20;  ///< Into the outbox; 0: as fast as it empties.
  std::int64_t window_reports = 4;           ///< Chunks that may wait in the outbox.
  std::int64_t window_bytes = 1 << 20;
  int restarts_max = 3;  ///< Of one file in one run.
};

/// Turns planned files into chunks, a few at a time, so that a large file neither fills the outbox
/// nor memory.
///
/// Promise   One transfer at a time, its chunks in order. How far it got is written together with
///           each chunk: a killed agent goes on with the next chunk as soon as a plan says that the
///           file is still the same. The last chunk goes out only when everything read has the
///           planned hash. A chunk lost in the outbox begins the transfer anew, under a new number.
/// Limits    window_reports and window_bytes in the outbox; one chunk in memory; 128 chunks a file,
///           of which a large one has larger ones; restarts_max.
/// Threads   One.
/// Errors    outbox.disk (retry) from work(); nothing has happened then.
class FileSender {
 public:
  FileSender(FileSenderConfig config, Outbox& outbox, const Clock& clock);

  /// A new plan. What the last one left is forgotten, except a transfer that is still right.
  void take(FilePlan plan);
  /// Something half-sent waits for a plan, since the agent was stopped in between.
  bool needs_plan() const { return current_ && !busy_ && !all_put() && !own_; }
  bool busy() const { return busy_ || (current_ && (own_ || all_put())) || next_own_; }
  /// A file of the agent's own, before everything planned that has not begun; the ledger does not learn of it. One at a time: a later one takes
  /// the place of one not begun. It does not outlive the agent.
  void send_own(PlannedFile file);
  /// max: nothing to do before the outbox changes.
  SteadyTime next_due() const;
  void outbox_changed() { next_ = std::min(next_, not_before_); }
  /// The gateway will not deliver these after all: files whose chunks may be among them are sent
  /// again in the next run.
  void rejected(std::uint64_t first, std::uint64_t last);

  struct Progress {
    std::optional<std::uint64_t> put;  ///< The sequence of the chunk just put.
    bool run_over = false;             ///< Once, when everything planned is done.
    bool again = false;                ///< With run_over: some file changed meanwhile or got lost.
    std::uint64_t files = 0, bytes = 0;  ///< With run_over: what was sent.
    std::optional<bool> own_over;        ///< Once for each send_own: whether the gateway has the whole file.
  };
  /// Does what is due: at most one chunk.
  Result<Progress> work();

  /// For `status`: "/etc/a.conf, chunk 3 of 17"; empty when nothing is under way.
  static std::string progress_text(Outbox& outbox);

 private:
  struct Transfer {
    std::uint64_t id = 0;
    CollectedPlace place;
    Standing standing;
    std::string sha256;
    std::uint64_t chunk_bytes = 0, count = 0;
    std::uint64_t next = 0;  // the chunk that comes next
    Sha256 hash;             // of the chunks before it
    std::uint64_t incarnation = 0, first_sequence = 0, last_sequence = 0;
    std::vector<std::uint64_t> waiting;  // sequences not yet known to be kept
    int restarts = 0;
    std::string encode() const;
    static std::optional<Transfer> decode(const std::string& note);
  };
  bool all_put() const { return current_->next == current_->count; }
  Result<Progress> work_on();
  void begin(const PlannedFile& file);
  enum class Chunks { kept, waiting, lost, rejected };
  Chunks look_at_chunks();
  void withdraw();
  void restart();
  void drop(const char* why, bool again);
  Result<void> complete();
  std::optional<std::string> read_chunk(Sha256& hash, const char*& why) const;
  Result<std::optional<std::uint64_t>> put_chunk();
  void save_ledger();
  void forget_note();

  FileSenderConfig config_;
  Outbox& outbox_;
  const Clock& clock_;
  Log log_{"files"};
  FileLedger ledger_;
  std::deque<PlannedFile> queue_;
  std::optional<Transfer> current_;
  std::optional<PlannedFile> next_own_;
  bool own_ = false;  // current_ is the agent's own file
  std::optional<bool> own_over_;
  bool busy_ = false;
  bool again_ = false;
  std::uint64_t files_ = 0, bytes_ = 0;
  SteadyTime next_{};        // when work() has something to do
  SteadyTime not_before_{};  // for the pace
};

}  // namespace greengate::agent
