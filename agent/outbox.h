#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace greengate::agent {

struct OutboxConfig {
  std::string path;
  /// Of report bodies; what happens at the bound is in the class comment.
  std::int64_t bytes_max = 64 << 20;
  std::uint32_t history_max = 500;      ///< Settled reports remembered for `status`.
  std::uint32_t reports_max = 100'000;  ///< However small they are.
};

/// What became of a report, for people.
struct HistoryEntry {
  std::uint64_t sequence = 0;
  v1::Kind kind = v1::KIND_UNSPECIFIED;
  std::int64_t bytes = 0;
  std::int64_t collected_at_ms = 0;
  std::int64_t sent_at_ms = 0;     ///< 0: never
  std::int64_t stored_at_ms = 0;   ///< 0: not (or the gateway never said so)
  std::int64_t settled_at_ms = 0;  ///< 0: stored, nothing further known
  /// "waiting", "stored", "delivered", "rejected", "superseded", "expired", "dropped"
  std::string status;
  std::string code;
  std::string message;
};

/// What waits, in one glance.
struct OutboxCount {
  std::int64_t reports = 0;
  std::int64_t bytes = 0;
  std::int64_t oldest_collected_at_ms = 0;
};

/// A report not yet kept.
struct Draft {
  v1::Lane lane;
  v1::Kind kind;
  std::string body;
};

/// Something another part of the agent remembers beside the reports. An empty value forgets it.
struct OutboxNote {
  std::string name, value;
};

/// What became of a report's copy here.
enum class Fate {
  waiting,
  kept,      ///< The gateway has it, or has done with it.
  rejected,  ///< Will never be delivered.
  lost,      ///< Dropped or expired before the gateway had it, or too long ago to know.
};

/// A small key-value place beside the reports: what the agent must remember over a restart.
enum class Fact {
  agent_id,           ///< As the gateway named us; empty: not enrolled.
  fqdn,               ///< As the last discovery found it.
  installed_at_ms,    ///< When this outbox was made.
  last_discovery_ms,  ///< When each was last collected, whole and put in the outbox.
  last_inventory_ms,
  last_software_ms,
  last_files_ms,
  started_version,  ///< The version whose start the site has been told of.
  link_state,       ///< For `status`: "connected", "waiting", "pending", "revoked", …
  link_since_ms,
  link_error,
  dropped_total,  ///< Reports lost to the bound, ever.
};

/// Where reports wait until the gateway has them on disk.
///
/// Promise   What put() accepted survives kill -9 and power loss, and leaves only when the gateway
///           says stored or rejected, when its own time to live ends, or when the bound forces it
///           out; then it is counted, told in history, and skipped on the wire.
/// Order     Sequences rise by one from 1 within an incarnation, never used twice; a new outbox is
///           a new incarnation.
/// Limits    bytes_max, reports_max. When full, what goes first: inventories a newer one
///           (hardware or software) superseded, then superseded discoveries, then the oldest of the bulk lanes (files,
///           inventory, discovery), then the oldest state. The newest report always enters, unless
///           it alone is larger than the bound: outbox.too_large.
/// Threads   One; several processes may have it open (send-state puts while the agent runs).
/// Errors    outbox.too_large (reject); outbox.disk (retry). A damaged file is set aside with its
///           name changed, not fatal.
class Outbox {
 public:
  static Result<std::unique_ptr<Outbox>> open(OutboxConfig config, const Clock& clock);
  /// For `status`: looks, never writes. outbox.absent (reject) when there is none yet.
  static Result<std::unique_ptr<Outbox>> open_to_read(OutboxConfig config, const Clock& clock);
  ~Outbox();

  std::uint64_t incarnation() const { return incarnation_; }
  /// The highest sequence ever given; 0 before the first.
  std::uint64_t last_sequence();
  /// A damaged file was found and set aside when opening; its new name, else empty.
  const std::string& set_aside() const { return set_aside_; }

  /// Makes the note that goes with a report of this sequence.
  using NoteMaker = std::function<OutboxNote(std::uint64_t sequence)>;
  /// Keeps a report; its sequence. The note, if any, changes in the same moment or not at all.
  Result<std::uint64_t> put(v1::Lane lane, v1::Kind kind, const std::string& body,
                            std::int64_t collected_at_ms, std::uint32_t ttl_s,
                            const NoteMaker& together = {});

  /// Keeps reports, and notes of whoever made them, all together or not at all; the last sequence given.
  Result<std::uint64_t> put_together(const std::vector<Draft>& reports, std::int64_t collected_at_ms,
                                     const std::vector<OutboxNote>& notes);

  /// Reports above `after`, oldest first, at most `count_max` and, from the second on, `bytes_max`.
  /// `skipped` is left to the sender. Those whose time to live is over are settled as expired on
  /// the way.
  Result<std::vector<v1::Report>> next(std::uint64_t after, std::size_t count_max,
                                       std::size_t bytes_max);
  bool has_waiting(v1::Kind kind);
  /// The sequence of the report that would come next after `after`, if any.
  std::optional<std::uint64_t> first_after(std::uint64_t after);

  /// Remembered in memory and written with the report's settlement.
  void note_sent(std::uint64_t sequence, std::int64_t at_ms);
  /// The gateway has first…last on disk: forget the copies.
  Result<void> stored(std::uint64_t first, std::uint64_t last, std::int64_t at_ms);
  /// Nothing further will happen to first…last; copies still here go.
  Result<void> settled(std::uint64_t first, std::uint64_t last, const std::string& status,
                       const std::string& code, const std::string& message, std::int64_t at_ms);
  /// The gateway knows more of this incarnation than we do (the file went back in time): waiting
  /// reports are numbered anew from 1.
  Result<void> begin_new_incarnation();

  /// Of a report of this incarnation; told by history, which forgets after history_max others.
  Fate fate(std::uint64_t sequence);
  std::string note(const std::string& name);
  Result<void> keep_note(const OutboxNote& note);

  OutboxCount count(std::optional<v1::Lane> lane = std::nullopt);
  /// Newest first, waiting ones included.
  std::vector<HistoryEntry> history(std::size_t count_max);

  std::string fact(Fact which);
  std::int64_t number(Fact which);
  Result<void> remember(Fact which, const std::string& value);

 private:
  class Statement;
  class Transaction;
  Outbox(OutboxConfig config, const Clock& clock);
  Result<void> open_file(bool to_read);
  Result<void> prepare_file();
  Result<void> execute(const char* sql);
  tl::unexpected<Error> disk_error(const char* doing);
  Result<void> insert(v1::Lane lane, v1::Kind kind, const std::string& body, std::int64_t collected_at_ms, std::uint32_t ttl_s);
  Result<void> make_room();
  Result<void> move_to_history(std::uint64_t first, std::uint64_t last, const std::string& status,
                               const std::string& code, const std::string& message,
                               std::int64_t stored_at_ms, std::int64_t settled_at_ms);
  Result<void> trim_history();
  Result<void> expire();
  std::string meta(const std::string& key);
  Result<void> set_meta(const std::string& key, const std::string& value);

  OutboxConfig config_;
  const Clock& clock_;
  sqlite3* db_ = nullptr;
  std::uint64_t incarnation_ = 0;
  std::string set_aside_;
  bool damaged_ = false;
  std::map<std::uint64_t, std::int64_t>
      sent_at_ms_;  // bounded by in_flight_max: entries leave with the settlement
};

}  // namespace greengate::agent
