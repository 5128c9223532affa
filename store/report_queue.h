#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::store {

/// Which queue a report travels in. When room is short, discovery, inventory and files are refused first; control and state keep a reserve.
enum class Lane : std::uint8_t { control = 1, state = 2, discovery = 3, inventory = 4, files = 5 };

/// Some lanes, as bits.
class LaneSet {
 public:
  constexpr LaneSet() = default;
  static constexpr LaneSet all() { return LaneSet(0b111110); }
  constexpr LaneSet with(Lane lane) const { return LaneSet(static_cast<std::uint8_t>(bits_ | bit(lane))); }
  constexpr bool has(Lane lane) const { return (bits_ & bit(lane)) != 0; }
  constexpr bool empty() const { return bits_ == 0; }

 private:
  explicit constexpr LaneSet(std::uint8_t bits) : bits_(bits) {}
  static constexpr std::uint8_t bit(Lane lane) { return static_cast<std::uint8_t>(1u << static_cast<unsigned>(lane)); }
  std::uint8_t bits_ = 0;
};

/// A report's name, made by its agent: our idempotency key.
struct ReportName {
  AgentId agent;
  std::uint64_t incarnation = 0;  ///< Random; changes when the agent lost its outbox.
  std::uint64_t sequence = 0;     ///< From 1, rising by one.
};

/// A report on its way into the store: opaque bytes and the few facts the queue needs.
struct NewReport {
  ReportName name;
  std::uint64_t skipped = 0;  ///< Sequences directly before this one that will never come.
  Lane lane = Lane::state;
  std::uint32_t kind = 0;  ///< What `body` holds; a number the store only passes on.
  WallTime collected_at;
  std::chrono::seconds time_to_live{0};  ///< From kept_at; 0 keeps until delivered.
  std::string body;
};

/// What became of one offered report.
enum class Kept : std::uint8_t {
  stored,       ///< On disk, synced.
  duplicate,    ///< Its sequence was stored before, or passed over as skipped; nothing to do, acknowledge it again.
  out_of_order, ///< Sequences before it are missing: not kept, and neither is anything of this agent after it.
  full,         ///< No room in its lane: not kept. What follows it of this agent is then out_of_order.
};
struct KeepResult {
  Kept kept = Kept::stored;
  std::uint64_t last_sequence = 0;  ///< The agent's last stored sequence of that incarnation, after this report.
};
/// One result a report, in the batch's order; or the reason why none of them was kept.
using KeepDone = std::function<void(Result<std::vector<KeepResult>>)>;

/// A kept report in a worker's hands.
struct LeasedReport {
  ItemId id;
  ReportName name;
  Lane lane = Lane::state;
  std::uint32_t kind = 0;
  WallTime collected_at;
  WallTime kept_at;
  std::optional<WallTime> expires_at;
  std::uint32_t attempt = 1;  ///< 1 on first delivery; counts postponements, not leases handed back.
  /// Set once pin() was called: reports with the same group are one message and `note` says which.
  std::uint64_t group = 0;
  std::string note;
  std::string body;
};

/// One device's oldest due reports of one lane, held by one worker until `until`, when they return by themselves.
struct Batch {
  LeaseId lease;
  AgentId agent;
  Lane lane = Lane::state;
  /// Oldest first: either reports without a group, or exactly one pinned group, whole whatever the bounds.
  std::vector<LeasedReport> reports;
  WallTime until;
};

enum class Outcome : std::uint8_t { delivered = 1, superseded = 2, expired = 3, buried = 4 };

/// How one leased report ends.
struct Settlement {
  ItemId id;
  Outcome outcome = Outcome::delivered;
  std::string tracking = {};  ///< Delivered: the message ID the management point was given.
  std::string code = {}; ///< Why, where the outcome alone does not say: "inventory.unchanged". Shown in the history.
};

/// A durable number of one device, such as the last state message's serial number.
struct CounterValue {
  std::string name;
  std::uint64_t value = 0;
};

/// Reports that are one message; see ReportQueue::pin().
struct Pin {
  std::vector<ItemId> reports;
  std::string note;
};

/// What the site now has of a device, moved with the settlement that proves it; see store/baselines.h.
struct BaselineMove {
  std::uint32_t kind = 0;  ///< Of the state: the reports' kind.
  std::uint64_t major = 0, minor = 0;
  WallTime full_at;        ///< When the last whole state was taken by the site.
  std::string body;        ///< Opaque, compressed by the caller. Empty: forget the baseline.
};

/// One dead letter, without its body.
struct DeadLetter {
  ItemId id;
  ReportName name;
  Lane lane = Lane::state;
  std::uint32_t kind = 0;
  std::uint64_t bytes = 0;
  WallTime collected_at, kept_at, buried_at;
  std::uint32_t attempts = 0;
  std::string code, message;
  bool has_body = true;  ///< False: given up to make room; the reason is all that is left.
};
/// Which dead letters; what is not set does not matter.
struct DeadLetterFilter {
  std::optional<AgentId> agent;
  std::string code;
  std::optional<std::uint32_t> kind;
  std::uint64_t above = 0;  ///< Only ids above this one, for paging: dead letters come oldest first.
};

/// One report's life, for an operator.
struct ReportTrace {
  ItemId id;
  ReportName name;
  Lane lane = Lane::state;
  std::uint32_t kind = 0;
  std::uint64_t bytes = 0;
  WallTime collected_at;
  WallTime kept_at;
  std::optional<WallTime> settled_at;
  std::optional<Outcome> outcome;  ///< Nothing: still waiting or leased.
  bool leased = false;
  std::uint32_t attempts = 0;  ///< Postponements so far: 0 when the first attempt did it.
  std::string code;      ///< Why it was buried, or last postponed.
  std::string message;
  std::string tracking;
};

struct QueueStats {
  /// Waiting: kept and not settled, leased ones included.
  std::uint64_t waiting = 0, waiting_bytes = 0, leased = 0, held_devices = 0;
  /// Since this process began.
  std::uint64_t kept_total = 0, delivered_total = 0, superseded_total = 0, expired_total = 0, buried_total = 0;
  std::uint64_t replayed_total = 0;  ///< Dead letters that went back; not in kept_total.
  std::uint64_t buried = 0;          ///< On disk now, with or without a body.
  std::uint64_t buried_bytes = 0;    ///< What they take of their bound.
  std::uint64_t damaged = 0;  ///< Records set aside because their bytes no longer match their checksum.
  std::optional<WallTime> oldest_waiting;
};

/// Keeps every accepted report until the site has it, or we have said why not.
///
/// Promise   At least once. When keep() reports `stored`, the report survives kill -9 and power loss. Nothing leaves except
///           as delivered, expired by its own time to live, superseded, or buried with a reason. Starts on any disk state: a damaged record
///           is set aside and counted.
/// Order     Per device: sequences are kept without gaps (see NewReport::skipped). Per device and lane: leased oldest first, one batch at
///           a time; lanes of a device do not wait for one another. Across: control and state before discovery, then inventory, then
///           files, and within these classes the device and lane that has been due longest. A class can starve those behind it:
///           who wants them served meanwhile leases them by name (`lanes`).
/// Limits    StoreConfig: queue_bytes_max with a reserve for control and state; history per device; a lease's life. The last four
///           incarnations of an agent are remembered. Dead letters take at most an eighth of queue_bytes_max: above it the
///           oldest lose their bodies, and above 100,000 of them the oldest go; their reasons stay in the history.
/// Threads   Any. keep() returns at once and `done` runs on the store's writer thread after the sync: it must be short and
///           must not call the store. lease() waits up to its patience; the settling calls wait for the sync. Never from the net thread.
/// Errors    queue.disk (retry); queue.busy (retry, from keep(): too much waits for the disk); queue.stopping (halt). queue.lease_lost (reject) from pin() and settling when the lease has ended:
///           somebody else has the reports now, do nothing.
/// Source    docs/adr/0003-the-stores-promise-and-sqlite.md
class ReportQueue {
 public:
  virtual ~ReportQueue() = default;

  /// Group-committed with whatever else waits. Within a batch, reports of one agent are judged in order.
  virtual void keep(std::vector<NewReport> batch, KeepDone done) = 0;

  /// The agent's last stored sequence of this incarnation; 0 when there is none. Answers from memory.
  virtual std::uint64_t last_sequence(const AgentId& agent, std::uint64_t incarnation) const = 0;

  /// A report of our own making, such as a resync: incarnation 0 (which no agent can have), any sequence, never judged, no receipt
  /// follows. Waits for the sync. Fails queue.full (retry): no room in its lane.
  virtual Result<ItemId> keep_own(NewReport report) = 0;

  /// The next due device's oldest reports in one of `lanes`, up to both bounds (at least one report). Nothing when `patience` is over or wake_waiters() was called.
  virtual Result<std::optional<Batch>> lease(LaneSet lanes, std::uint32_t reports_max, std::uint64_t bytes_max,
                                             std::chrono::milliseconds patience) = 0;
  /// Makes every waiting lease() return now; for stopping.
  virtual void wake_waiters() = 0;

  /// Before the first attempt: says durably that each pin's reports are one message, described by its note, and moves the device's
  /// counters with it, all or nothing, one sync. A later lease brings the same group with the same note, so a resend is the same message.
  virtual Result<void> pin(LeaseId lease, const std::vector<Pin>& pins, const std::vector<CounterValue>& counters) = 0;
  /// Settles some of a lease's reports for good, and moves the device's baselines with them, all or nothing. When all are settled
  /// or put back the lease is over.
  virtual Result<void> settle(LeaseId lease, const std::vector<Settlement>& settlements,
                              const std::vector<BaselineMove>& baselines = {}) = 0;
  /// Settles by burying: kept apart with the reason, replayable.
  virtual Result<void> bury(LeaseId lease, const std::vector<ItemId>& reports, const Error& reason) = 0;
  /// Puts reports back; that lane of the device is due again after `delay`, or after a restart. The reason is shown to operators.
  virtual Result<void> postpone(LeaseId lease, const std::vector<ItemId>& reports, std::chrono::milliseconds delay,
                                const Error& reason) = 0;
  /// Puts back all that is unsettled, untouched and due at once; the attempt does not count.
  virtual void hand_back(LeaseId lease) = 0;

  /// A held device's reports are kept but not leased. In memory only: after a restart nobody is held.
  virtual void hold(const AgentId& agent) = 0;
  virtual void unhold(const AgentId& agent) = 0;

  /// Called on the store's writer thread, after the sync, with an agent's reports that ended without a worker: their time to live
  /// was over. Our own are left out. Short, and not back into the store. Set before the first lease.
  virtual void on_expired(std::function<void(const std::vector<ReportName>&)> listener) = 0;

  /// Oldest first, by when they were kept.
  virtual Result<std::vector<DeadLetter>> dead_letters(const DeadLetterFilter& filter, std::uint32_t count_max) = 0;
  /// The report as it was kept, with the note of the message it was part of, if any. Fails queue.no_letter (reject): there is none,
  /// it gave up its body, or its bytes are damaged.
  virtual Result<LeasedReport> dead_letter(ItemId id) = 0;
  /// Puts dead letters back in their lanes, behind what waits: a new id and kept_at, the same name, unpinned, no attempts, no time to
  /// live. Those without a body stay, and those for which their lane has no room. Answers how many went back. A long list goes in
  /// several commits: after a failure the first ones are back, and asking again goes on with the rest.
  virtual Result<std::uint32_t> replay(const std::vector<ItemId>& letters) = 0;
  /// Forgets dead letters for good; their reasons stay in the history. Answers how many.
  virtual Result<std::uint32_t> discard(const std::vector<ItemId>& letters) = 0;

  /// The device's newest reports first, waiting and settled.
  virtual Result<std::vector<ReportTrace>> trace(const AgentId& agent, std::uint32_t count_max) = 0;
  virtual QueueStats stats() const = 0;
};

}  // namespace greengate::store
