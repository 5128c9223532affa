#pragma once

#include "core/clock.h"
#include "store/embedded/database.h"
#include "store/embedded/device_registry.h"
#include "store/embedded/probe.h"
#include "store/embedded/readers.h"
#include "store/embedded/writer.h"
#include "store/report_queue.h"

#include <array>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace greengate::store {

struct QueueSettings {
  std::uint64_t bytes_max = std::uint64_t{8} << 30;
  std::uint32_t reserve_percent = 10;
  std::chrono::milliseconds lease_time{120'000};
  std::uint32_t history_per_device = 100;
  /// Dead letters with their bodies; above it the oldest lose theirs.
  std::uint64_t buried_bytes_max = std::uint64_t{1} << 30;
  /// Dead letters, with or without a body; above it the oldest go altogether.
  std::uint64_t buried_max = 100'000;
  /// Bodies in memory that wait for a commit; above it keep() is refused with queue.busy.
  std::size_t pending_bytes_max = std::size_t{128} << 20;
  /// Below the first, bulk lanes are refused; below the second, everything. Answers the file
  /// system's free bytes.
  std::uint64_t free_bytes_bulk = std::uint64_t{256} << 20;
  std::uint64_t free_bytes_any = std::uint64_t{64} << 20;
  std::function<std::uint64_t()> free_bytes;
};

/// The report queue in the store's one file: bodies on disk, the order in memory.
///
/// How       Everything that decides is in memory: per device and lane the waiting reports (32 bytes
///           each), per device the last sequences. The writer's thread judges against that plus what the open
///           transaction adds (`staged_`), which commit publishes and rollback drops; so memory
///           never runs ahead of the disk. Workers read bodies over connections of their own.
/// Limits    QueueSettings; every report counts kRowBytes beside its body, so that empty ones are
///           bounded too.
/// Threads   As ReportQueue says. apply_…(), before_commit(), committed(), rolled_back(),
///           housekeeping(): the writer's thread.
/// Source    docs/adr/0003-the-stores-promise-and-sqlite.md
///
/// Its parts are report_queue.cc (leases), …_keep.cc, …_settle.cc, …_order.cc (in memory),
/// …_load.cc (from disk), …_letters.cc, …_housekeeping.cc and …_trace.cc.
class EmbeddedReportQueue final : public ReportQueue, public Ledger {
 public:
  static constexpr std::uint64_t kRowBytes =
      128;  ///< What a report costs beside its body, on disk and in memory.
  static constexpr std::uint64_t kBodyBytesMax = 64u << 20;  ///< A larger body fits in no lane.
  static constexpr std::size_t kIncarnationsMax = 4;         ///< Remembered of one agent.
  static constexpr std::size_t kLanes = 5;

  EmbeddedReportQueue(QueueSettings settings, EmbeddedDeviceRegistry& registry, Readers& readers,
                      const Clock& clock, StoreProbe& probe);
  ~EmbeddedReportQueue() override;

  /// Prepares statements on the writer's connection and rebuilds the order and the accounting from
  /// disk. Before attach().
  Result<void> load(Database& database);
  void attach(Writer& writer) { writer_ = &writer; }
  /// An agent's number in the file; 0 when nothing was ever kept of it. Any thread.
  std::uint32_t number_of(const AgentId& agent) const;
  /// keep() is refused from here on, and nobody waits in lease() any more.
  void refuse_new();

  void keep(std::vector<NewReport> batch, KeepDone done) override;
  std::uint64_t last_sequence(const AgentId& agent, std::uint64_t incarnation) const override;
  Result<ItemId> keep_own(NewReport report) override;
  Result<std::optional<Batch>> lease(LaneSet lanes, std::uint32_t reports_max, std::uint64_t bytes_max,
                                     std::chrono::milliseconds patience) override;
  void wake_waiters() override;
  Result<void> pin(LeaseId lease, const std::vector<Pin>& pins,
                   const std::vector<CounterValue>& counters) override;
  Result<void> settle(LeaseId lease, const std::vector<Settlement>& settlements,
                      const std::vector<BaselineMove>& baselines) override;
  Result<void> bury(LeaseId lease, const std::vector<ItemId>& reports,
                    const Error& reason) override;
  Result<void> postpone(LeaseId lease, const std::vector<ItemId>& reports,
                        std::chrono::milliseconds delay, const Error& reason) override;
  void hand_back(LeaseId lease) override;
  void hold(const AgentId& agent) override;
  void unhold(const AgentId& agent) override;
  void on_expired(std::function<void(const std::vector<ReportName>&)> listener) override;
  Result<std::vector<DeadLetter>> dead_letters(const DeadLetterFilter& filter,
                                               std::uint32_t count_max) override;
  Result<LeasedReport> dead_letter(ItemId id) override;
  Result<std::uint32_t> replay(const std::vector<ItemId>& letters) override;
  Result<std::uint32_t> discard(const std::vector<ItemId>& letters) override;
  Result<std::vector<ReportTrace>> trace(const AgentId& agent, std::uint32_t count_max) override;
  QueueStats stats() const override;

  Result<void> before_commit(Database& database) override;
  void committed() override;
  void rolled_back() override;
  /// Settles what outlived its time to live in queues nobody leases, bounds the dead letters, and
  /// shows the gauges.
  void housekeeping();

 private:
  struct Agent;
  struct Lease;
  class KeepChange;
  class LeaseChange;
  class SettleChange;
  class PostponeChange;
  class PinChange;
  class RemoveChange;
  class TrimBuriedChange;

  /// One waiting report as the order needs it. A million of these is 32 MB.
  struct Waiting {
    std::uint64_t id = 0;
    std::int64_t kept_at = 0;  ///< Milliseconds.
    std::uint64_t pinned = 0;  ///< The group: the id of its oldest report; 0 for none.
    std::uint32_t ttl_s = 0;   ///< Seconds from kept_at to live; 0 for ever.
    std::uint32_t bytes : 28 = 0;
    std::uint32_t lane : 3 = 0;      ///< 1 to 5.
    std::uint32_t progress : 1 = 0;  ///< It has a row in `progress`.
  };
  static_assert(sizeof(Waiting) == 32 && kBodyBytesMax < (1u << 28));

  /// What one incarnation of an agent has had stored.
  struct Sequence {
    std::uint64_t incarnation = 0;
    std::uint64_t last = 0;
    std::uint64_t last_id = 0;  ///< The report that moved `last`: the incarnation heard of longest
                                ///< ago is forgotten first.
  };
  struct Sequences {
    std::array<Sequence, kIncarnationsMax> slots;  ///< Free ones have last_id 0.
    const Sequence* find(std::uint64_t incarnation) const;
    void raise(std::uint64_t incarnation, std::uint64_t sequence, std::uint64_t id);
    std::string packed() const;
    void unpack(std::string_view bytes);
  };

  /// What waits of one device in one lane. It is there while anything waits or is leased: an idle
  /// device costs no queue.
  struct LaneQueue {
    std::vector<Waiting> waiting;  ///< From `head` on, by id.
    std::size_t head = 0;
    std::size_t pinned_waiting = 0;
    SteadyTime not_before{};  ///< Postponed until.
    SteadyTime due{};
    std::uint64_t due_order = 0;
    bool queued = false;  ///< Its key is in due_.
    bool leased = false;

    std::size_t count() const { return waiting.size() - head; }
  };

  struct Agent {
    AgentId id;
    std::uint32_t no = 0;
    bool on_disk = false;  ///< Its row is committed; the writer's thread only.
    bool held = false;
    std::uint32_t staged = kNotStaged;  ///< Where in staged_; the writer's thread only.
    std::uint64_t broken_in =
        0;  ///< The last batch in which one of its reports was refused; the writer's thread only.
    std::uint64_t settled =
        0;  ///< Reports that ever entered its history; the writer's thread only.
    Sequences sequences;
    std::array<std::unique_ptr<LaneQueue>, kLanes> lanes;  ///< See lane_of().
  };
  static constexpr std::uint32_t kNotStaged = ~0u;

  /// What the open transaction adds to an agent.
  struct Staged {
    Agent* agent;
    Sequences sequences;
    std::uint64_t settled;
    bool has_row;
    bool owes_row;  ///< Reports that proved its sequences are deleted: its row must say them.
  };

  struct Due {
    SteadyTime due;
    std::uint64_t order;
    Agent* agent;
    std::uint32_t lane;
    bool operator<(const Due& other) const {
      return due != other.due ? due < other.due : order < other.order;
    }
  };

  /// A report in a worker's hands.
  struct Held {
    Waiting entry;
    std::uint64_t incarnation = 0, sequence = 0;
    std::int64_t collected_at = 0;
    std::uint32_t kind = 0;
    std::uint32_t attempts = 0;  ///< Postponements so far.
    bool moving = false;         ///< A change that settles or puts it back is on its way to disk.
  };
  struct Lease {
    LeaseId id;
    Agent* agent = nullptr;
    std::uint32_t lane = 0;
    std::vector<Held> reports;
    SteadyTime until{};
    std::uint32_t changes = 0;  ///< On their way to disk; while there are any it does not expire.
    bool overdue = false;
  };

  /// What the history says of a report, wherever it came from.
  struct Ending {
    std::uint64_t id, incarnation, sequence;
    std::uint32_t lane, kind;
    std::uint64_t bytes;
    std::int64_t collected_at, kept_at;
    std::uint32_t attempts;
    bool progress;
  };

  struct Totals {
    std::uint64_t waiting = 0, waiting_bytes = 0, leased = 0, held_devices = 0;
    std::uint64_t kept = 0, delivered = 0, superseded = 0, expired = 0, buried = 0, replayed = 0;
    std::uint64_t buried_now = 0, buried_bytes = 0, damaged = 0;
  };

  Agent& agent_of(const AgentId& id);         // with mutex_
  Agent* find_agent(const AgentId& id) const;  // with mutex_
  Agent* agent_numbered(std::uint32_t no);     // with mutex_
  /// Lanes are 1 to 5; a number that is none, as only damage can make it, travels in the last.
  static std::uint32_t lane_number(std::uint64_t lane) { return lane >= 1 && lane <= kLanes ? static_cast<std::uint32_t>(lane) : kLanes; }
  static std::unique_ptr<LaneQueue>& place_of(Agent& agent, std::uint32_t lane) { return agent.lanes[lane - 1]; }
  static LaneQueue& lane_of(Agent& agent, std::uint32_t lane);  // with mutex_
  /// Puts the lane in due_ or takes it out, as its state asks; an idle one goes. With mutex_.
  void refresh_due(Agent& agent, std::uint32_t lane, SteadyTime now);
  /// Whose turn it is among these lanes; null when none of them is due. With mutex_.
  const Due* next_due(LaneSet lanes, SteadyTime now) const;
  /// When it is worth looking again for somebody who waits for these lanes. With mutex_.
  std::optional<SteadyTime> next_event(LaneSet lanes) const;
  void count_waiter(LaneSet lanes, int by);       // with mutex_
  void return_expired(SteadyTime now);            // with mutex_
  Lease* live_lease(LeaseId id, SteadyTime now);  // with mutex_
  /// All of one lane. With mutex_.
  void put_back(Agent& agent, std::vector<Waiting> entries);
  /// What no change is moving goes from the lease back to its lane.
  void put_back_unmoved(Lease& lease);                        // with mutex_
  void end_lease_if_empty(std::uint64_t id, SteadyTime now);  // with mutex_
  void end_change(std::uint64_t lease, SteadyTime now);       // with mutex_
  std::vector<Waiting> take(LaneQueue& queue, std::uint32_t reports_max, std::uint64_t bytes_max,
                            WallTime now,
                            std::vector<Waiting>& expired);  // with mutex_
  void append(Agent& agent, const Waiting& entry);           // with mutex_
  static Waiting waiting_entry(std::uint64_t id, std::int64_t kept_at, std::uint32_t ttl_s,
                               std::uint64_t bytes, std::uint64_t lane);
  bool is_expired(const Waiting& entry, WallTime now) const;

  /// Fills the batch and the lease's facts from disk. Damaged or missing records go to `damaged`.
  Result<void> read_bodies(const std::vector<Waiting>& entries, const AgentId& agent,
                           std::vector<LeasedReport>& reports, std::vector<Held>& held,
                           std::vector<Waiting>& damaged);

  Staged& staged(Agent& agent);
  Result<std::uint64_t> next_id(Database& database);
  bool room_for(Lane lane, std::uint64_t bytes) const;
  void look_at_disk();
  Result<void> apply_keep(Database& database, KeepChange& change);
  Result<void> insert_report(Database& database, Agent& agent, std::uint64_t id, std::int64_t kept_at, const NewReport& report);
  Result<std::optional<std::uint64_t>> apply_replay(Database& database, std::uint64_t letter);
  Result<void> delete_letter(Database& database, std::uint64_t letter);
  /// Deletes a report and writes its history. A buried one is moved among the dead letters, unless
  /// it was `set_aside` already.
  Result<void> write_ending(Database& database, Agent& agent, const Ending& ending, Outcome outcome,
                            std::string_view code, std::string_view message,
                            std::string_view tracking, bool set_aside = false);
  Result<void> write_baseline(Database& database, const Agent& agent, const BaselineMove& move);
  Result<std::optional<Ending>> read_ending(Database& database, const Waiting& entry);
  void count_settled(Outcome outcome, std::uint64_t reports, std::uint64_t bytes);  // with mutex_
  Result<void> submit_and_wait(std::unique_ptr<LeaseChange> change);
  void sweep_expired();
  void trim_buried();
  /// Expired or damaged reports that were taken out of the order leave the disk too.
  void remove(Agent& agent, std::vector<Waiting> entries, bool damaged);
  void show_gauges();

  const QueueSettings settings_;
  EmbeddedDeviceRegistry& registry_;
  Readers& readers_;
  const Clock& clock_;
  StoreProbe& probe_;
  Writer* writer_ = nullptr;

  // The writer's thread only.
  Statement insert_report_, delete_report_, insert_history_, trim_history_, insert_agent_,
      update_agent_, delete_progress_, postpone_, pin_, bury_facts_, bury_body_, move_damaged_,
      read_facts_, raise_ceiling_, oldest_letters_, oldest_bodies_, delete_buried_,
      delete_buried_body_, read_letter_, letter_bytes_, replay_, mark_replayed_, put_baseline_,
      drop_baseline_;
  std::vector<Staged> staged_;
  struct Added {
    Agent* agent;
    Waiting entry;
    bool replayed = false;
  };
  std::vector<Added> added_;
  std::uint64_t added_bytes_ = 0;  ///< Of `added_`, rows included.
  /// Ids are reserved by the million, so that the highest survives its report without a write for
  /// each.
  std::uint64_t next_id_ = 1, id_ceiling_ = 1, id_ceiling_on_disk_ = 1;
  std::uint64_t keep_number_ = 0;
  std::uint64_t free_bytes_ = ~std::uint64_t{0};
  std::uint64_t written_since_look_ = 0;
  std::optional<SteadyTime> last_look_;
  std::size_t sweep_at_ = 0;
  std::uint32_t housekeepings_ = 0;
  bool trimming_buried_ = false;

  mutable std::mutex
      mutex_;  ///< Guards everything below, and every Agent except what says otherwise.
  std::condition_variable due_changed_;
  std::array<std::uint32_t, kLanes> waiters_{};  ///< Who waits in lease(), by the lanes they want.
  std::uint64_t wakes_ = 0;
  bool stopping_ = false;
  std::deque<Agent> agents_;  ///< Never shrinks, so that pointers stay.
  std::uint32_t next_agent_no_ = 1;
  std::unordered_map<std::string_view, Agent*> agents_by_id_;
  std::array<std::set<Due>, kLanes> due_;  ///< By lane.
  std::uint64_t due_order_ = 0;
  std::unordered_map<std::uint64_t, Lease> leases_;
  std::set<std::pair<SteadyTime, std::uint64_t>> lease_ends_;
  std::uint64_t next_lease_ = 1;
  Totals totals_;
  std::shared_ptr<const std::function<void(const std::vector<ReportName>&)>> expired_listener_;
};

}  // namespace greengate::store
