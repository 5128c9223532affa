#pragma once

#include "core/clock.h"
#include "core/config_reader.h"
#include "core/ids.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace greengate::store {

/// [mailbox], the part that concerns keeping.
struct MailboxConfig {
  std::uint32_t entries_max = 2'000'000;       ///< Of all devices, finished ones included.
  std::uint32_t entries_per_device_max = 100;  ///< Waiting or handed over.
  /// Finished entries are kept so long: for operators, and so that the site's repeats are known. Entries that nobody finished go then too.
  std::chrono::milliseconds history_time{std::chrono::hours(24 * 7)};

  std::vector<ConfigProblem> problems() const;
};

/// Something to be done on devices. Kept once, however many devices it is for.
struct Action {
  std::uint64_t id = 0;     ///< Given by the mailbox, rising.
  std::uint32_t task = 0;   ///< greengate.v1.Task; the store does not look at it.
  std::string parameters;   ///< A serialized Notification with the parameters alone; empty for most.
  std::string collapse;     ///< Of one device's waiting entries with the same text only the newest stays; empty collapses with nothing.
  std::string origin;       ///< "site", or who pressed the button.
  std::string origin_key;   ///< For one device an origin_key is taken once (the site's PushID/TaskID); empty: always new.
  WallTime created_at;
  WallTime expires_at;      ///< An entry nobody took by then has expired.
  bool urgent = false;
};

/// How far an action came with one device.
enum class EntryState : std::uint8_t {
  waiting = 1,    ///< Not sent, or sent and lost.
  handed = 2,     ///< Sent; no word yet. After a restart it is sent again under the same id.
  accepted = 3,   ///< The device's scheduler took it.
  done = 4,
  failed = 5,     ///< Refused, or begun and not brought to its end.
  expired = 6,
  cancelled = 7,
  collapsed = 8,  ///< A newer one of its kind took its place.
};
const char* entry_state_name(EntryState state);
inline bool is_over(EntryState state) { return state >= EntryState::done; }

/// One device's copy of an action. Its id is the Notification's.
struct Entry {
  std::uint64_t id = 0;
  AgentId device;
  std::uint64_t action = 0;
  EntryState state = EntryState::waiting;
  std::string code, message;  ///< Of a failure.
  WallTime changed_at;
};

/// What became of one post.
struct Posted {
  std::uint64_t action = 0;
  std::uint64_t entry = 0;                  ///< Of the first device.
  bool fresh = true;                        ///< False: this device had this origin_key already; `state` is how far that came.
  EntryState state = EntryState::waiting;
  std::string code;                         ///< Of that entry, when not fresh.
  bool taken = false;                       ///< That entry was accepted once, whatever became of it.
  std::uint32_t devices = 0, collapsed = 0; ///< Entries made; older entries that gave way.
};

struct ActionView {
  Action action;
  std::vector<std::pair<EntryState, std::uint64_t>> counts;  ///< Only states that occur.
};

/// What waits for devices that are away, and the receipts of what was done: durable, and nothing of it in memory while a device is away.
///
/// Promise   What post() or `done` reported is on disk, synced. An entry ends once; a state never goes back, except handed to waiting.
/// Limits    MailboxConfig: entries in all, open entries of one device, parameters 256 KiB; finished entries are kept for their history
///           time, and at least a day: when there are too many, those older than that go first.
/// Threads   Any. `done` runs on the store's writer thread: short, and of the store it may use only what does not wait,
///           post() for one device and move().
/// Errors    mailbox.full, mailbox.device_full, mailbox.too_large, mailbox.unknown (reject); mailbox.disk, mailbox.busy (retry);
///           mailbox.stopping (halt).
/// Source    design.md 8, docs/reference/mailbox.md
class Mailbox {
 public:
  virtual ~Mailbox() = default;

  /// For one device, without waiting.
  virtual void post(Action action, const AgentId& device, std::function<void(Result<Posted>)> done) = 0;
  /// For many; waits for the sync. All or none; devices that had this origin_key already are passed over. Large fleets are written in
  /// parts, so that others' changes pass between them, and become visible together.
  virtual Result<Posted> post(Action action, std::span<const AgentId> devices) = 0;

  /// What waits for the device or was handed to it and never answered, oldest first, urgent before others. Reads the disk.
  virtual Result<std::vector<std::pair<Entry, Action>>> open_entries(const AgentId& device, std::uint32_t count_max) = 0;
  /// Does anything wait for it? From the disk too, but cheap.
  virtual Result<bool> has_open(const AgentId& device) = 0;

  /// Moves an entry of this device. Moves that are not allowed (over already, another device's) are told by `done` as mailbox.unknown.
  /// To the state it has while it is open: only notes the code and message. The first code that
  /// is noted stays; a later one goes in front of its message.
  virtual void move(std::uint64_t entry, const AgentId& device, EntryState to, std::string code, std::string message,
                    std::function<void(Result<Entry>)> done) = 0;
  /// What waits is cancelled; what was handed over already runs its course. Answers how many.
  virtual Result<std::uint64_t> cancel(std::uint64_t action) = 0;

  /// Newest first. `before` 0: from the newest.
  virtual Result<std::vector<ActionView>> actions(std::uint64_t before, std::uint32_t count_max) = 0;
  virtual Result<std::optional<ActionView>> action(std::uint64_t id) = 0;
  /// Entries of one action with an id above `after`.
  virtual Result<std::vector<Entry>> entries(std::uint64_t action, std::uint64_t after, std::uint32_t count_max) = 0;
  /// Newest first, for explain.
  virtual Result<std::vector<std::pair<Entry, Action>>> history(const AgentId& device, std::uint32_t count_max) = 0;
};

}  // namespace greengate::store
