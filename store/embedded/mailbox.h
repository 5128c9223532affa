#pragma once

#include "core/metrics.h"
#include "store/embedded/database.h"
#include "store/embedded/readers.h"
#include "store/embedded/writer.h"
#include "store/mailbox.h"

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

namespace greengate::store {

/// The mailbox's numbers.
struct MailboxProbe {
  explicit MailboxProbe(Metrics& metrics);
  Gauge entries, open;
  Counter damaged;
  std::array<Counter, 8> became;  ///< By EntryState - 1.
};

/// The mailbox in the store's SQLite file.
///
/// Promise   An action is one row; an entry is one row of about 60 bytes and its places in two indexes, three when it is over. What a device is asked
///           to do is checked against a checksum before anybody gets to see it; a damaged one fails with mailbox.damaged.
/// Limits    Memory holds the number of entries and which actions are half written, nothing of a device.
class EmbeddedMailbox final : public Mailbox, public Ledger {
 public:
  EmbeddedMailbox(MailboxConfig config, Readers& readers, const Clock& clock, MailboxProbe& probe)
      : config_(config), readers_(readers), clock_(clock), probe_(probe) {}

  // Before the writer starts.
  Result<void> load(Database& database);
  void attach(Writer& writer) { writer_ = &writer; }

  void post(Action action, const AgentId& device, std::function<void(Result<Posted>)> done) override;
  Result<Posted> post(Action action, std::span<const AgentId> devices) override;
  Result<std::vector<std::pair<Entry, Action>>> open_entries(const AgentId& device, std::uint32_t count_max) override;
  Result<bool> has_open(const AgentId& device) override;
  void move(std::uint64_t entry, const AgentId& device, EntryState to, std::string code, std::string message,
            std::function<void(Result<Entry>)> done) override;
  Result<std::uint64_t> cancel(std::uint64_t action) override;
  Result<std::vector<ActionView>> actions(std::uint64_t before, std::uint32_t count_max) override;
  Result<std::optional<ActionView>> action(std::uint64_t id) override;
  Result<std::vector<Entry>> entries(std::uint64_t action, std::uint64_t after, std::uint32_t count_max) override;
  Result<std::vector<std::pair<Entry, Action>>> history(const AgentId& device, std::uint32_t count_max) override;

  // The writer's thread.
  void housekeeping();
  Result<void> before_commit(Database& database) override;
  void committed() override;
  void rolled_back() override;

 private:
  class PostChange;
  class MoveChange;
  class KeepingChange;
  class DamagedChange;

  /// One entry of the file, as a change needs it.
  struct Place {
    std::uint64_t id, action;
    EntryState state;
  };
  /// Why a change was refused, or nothing.
  using Refusal = std::optional<Error>;

  // Within the open transaction, on the writer's thread (mailbox_post.cc).
  Result<void> apply_post(Database& database, Action& action, const AgentId& device, Posted& posted, Refusal& refused);
  Result<bool> find_posted(Database& database, const Action& action, const AgentId& device, Posted& posted);
  Result<Refusal> judge_device(Database& database, const AgentId& device, const std::string& collapse);
  Result<void> insert_action(Database& database, Action& action, int stage);
  Result<std::uint64_t> insert_entry(Database& database, std::uint64_t action, const AgentId& device);
  /// Older waiting entries of its kind give way to `entry`.
  Result<std::uint32_t> collapse_older(Database& database, const AgentId& device, const std::string& collapse, std::uint64_t entry);
  Result<void> set_state(Database& database, const Place& entry, EntryState to, std::string_view code, std::string_view message);
  Result<void> apply_part(Database& database, Action& action, bool first, std::span<const AgentId> devices, Posted& posted, Refusal& refused);
  /// A part of stage 2: of the entries above `after`, which moves on; it is 0 when there are no more.
  Result<std::uint32_t> apply_collapse(Database& database, std::uint64_t action, std::uint64_t& after);
  Result<void> apply_stage(Database& database, std::uint64_t action, int stage);
  Result<Posted> post_in_parts(Action action, std::span<const AgentId> devices);
  Result<void> wait_for(const std::function<Result<void>(Database&)>& apply);

  // mailbox_housekeeping.cc
  /// A post that was not finished: stage 1 goes, stage 2 is completed.
  struct Half {
    std::uint64_t action, after = 0;
    bool mended = false;
  };
  bool anything_due();
  // Each does what its share of a transaction allows and takes that from the budget; what is left shows in anything_due() again.
  Result<void> mend(Database& database, Half& half, std::uint32_t& budget);
  Result<void> expire(Database& database, std::uint32_t& budget);
  Result<void> forget(Database& database, std::uint32_t& budget);
  std::int64_t forget_before() const;
  Result<void> drop_action(Database& database, std::uint64_t action);

  // mailbox_look.cc
  Result<ActionView> view_of(Database& database, Action action);
  void entry_damaged(std::uint64_t entry);

  const MailboxConfig config_;
  Readers& readers_;
  const Clock& clock_;
  MailboxProbe& probe_;
  Writer* writer_ = nullptr;
  static constexpr std::uint32_t kInFlightMax = 200'000;  ///< Posts and moves that wait for the disk.
  std::atomic<std::uint32_t> changes_in_flight_{0};

  // The writer's thread only.
  Statement insert_action_, insert_entry_, find_posted_, find_action_, open_count_, kind_waiting_, set_state_, read_entry_, raise_ids_,
      due_close_, due_forget_, entries_in_state_, entries_of_, close_action_, delete_entry_, drop_action_, set_stage_, stage_entries_,
      read_stage_, cancel_action_;
  std::uint64_t total_ = 0, open_ = 0;               ///< As committed.
  std::int64_t total_change_ = 0, open_change_ = 0;  ///< Of the open transaction.
  /// Ids are reserved by the thousand, so that a number is never given twice, without a write for each.
  struct Ids {
    const char* key;
    std::uint64_t reserved_at_once, next = 1, ceiling = 1, ceiling_on_disk = 1;
  };
  Ids entry_ids_{"mailbox_entry_ceiling", 100'000}, action_ids_{"mailbox_action_ceiling", 100};
  static std::uint64_t next_id(Ids& ids);
  bool keeping_ = false;

  std::mutex mutex_;         ///< Guards the member below.
  std::vector<Half> halves_;
};

/// The file's failure as callers of the mailbox know it.
inline Error mailbox_error(const Error& failure) {
  const bool stopping = failure.remedy == Remedy::halt;
  return Error{failure.remedy, stopping ? "mailbox.stopping" : "mailbox.disk", failure.message, failure.retry_after};
}
inline Error mailbox_unknown(std::string what) { return Error{Remedy::reject, "mailbox.unknown", std::move(what), {}}; }

}  // namespace greengate::store
