// Starting, moving and cancelling; the numbers that follow the file.

#include "store/embedded/mailbox.h"

#include "store/embedded/mailbox_row.h"
#include "store/embedded/waited_change.h"

#include <algorithm>

namespace greengate::store {

namespace {


constexpr std::uint32_t kCancelledAtOnce = 5'000;
constexpr std::size_t kCodeBytesMax = 64, kMessageBytesMax = 512;

/// Cut at a character's beginning.
std::string cut(std::string text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text;
}

bool may_move(EntryState from, EntryState to) {
  switch (to) {
    case EntryState::waiting:
    case EntryState::handed: return from == EntryState::waiting || from == EntryState::handed;
    case EntryState::accepted: return from == EntryState::waiting || from == EntryState::handed;
    case EntryState::done:
    case EntryState::failed: return !is_over(from);
    default: return false;
  }
}

}  // namespace

MailboxProbe::MailboxProbe(Metrics& metrics)
    : entries(metrics.gauge("greengate_mailbox_entries", "Entries of all devices, finished ones included.")),
      open(metrics.gauge("greengate_mailbox_open_entries", "Entries that wait for their device or were handed to it.")),
      damaged(metrics.counter("greengate_mailbox_damaged_total", "Entries that were not handed out because their bytes had changed.")),
      became([&metrics] {
        const auto of = [&metrics](int state) {
          return metrics.counter("greengate_mailbox_entries_total", "Entries by what they became.",
                                 {{"state", entry_state_name(static_cast<EntryState>(state))}});
        };
        return std::array<Counter, 8>{of(1), of(2), of(3), of(4), of(5), of(6), of(7), of(8)};
      }()) {}

Result<void> EmbeddedMailbox::load(Database& database) {
  const std::pair<Statement*, const char*> wanted[] = {
      {&insert_action_, "INSERT INTO actions VALUES(?1, ?2, 0, 0, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"},
      {&insert_entry_, "INSERT INTO entries VALUES(?1, ?2, ?3, 1, ?4, ?5, 0, '', '')"},
      {&find_posted_,
       "SELECT e.id, e.action, e.state, e.code, e.taken FROM actions a INDEXED BY actions_by_key CROSS JOIN entries e INDEXED BY entries_of_device "
       "ON e.device = ?3 AND e.action = a.id WHERE a.origin_key = ?1 AND a.origin_key <> '' AND a.origin = ?2 AND a.stage <> 1 LIMIT 1"},
      {&find_action_,
       "SELECT id FROM actions WHERE origin_key = ?1 AND origin_key <> '' AND origin = ?2 AND task = ?3 AND urgent = ?4 AND collapse = ?5 "
       "AND parameters = ?6 AND closed = 0 AND cancelled = 0 AND stage = 3 AND expires_at > ?7 LIMIT 1"},
      {&open_count_, "SELECT count(*) FROM entries INDEXED BY entries_of_device WHERE device = ?1 AND state < 3"},
      {&kind_waiting_,
       "SELECT e.id, e.action, e.state FROM entries e INDEXED BY entries_of_device CROSS JOIN actions a ON a.id = e.action "
       "WHERE e.device = ?1 AND e.state = 1 AND e.id < ?3 AND a.collapse = ?2"},
      {&set_state_,
       "UPDATE entries SET state = ?2, changed_at = ?3, taken = taken OR ?2 IN (3, 4), code = CASE WHEN ?4 = '' THEN code ELSE ?4 END, "
       "message = CASE WHEN ?4 = '' THEN message ELSE ?5 END WHERE id = ?1"},
      {&read_entry_, "SELECT " GREENGATE_ENTRY_COLUMNS ", a.cancelled FROM entries e LEFT JOIN actions a ON a.id = e.action WHERE e.id = ?1"},
      {&raise_ids_, "INSERT INTO meta VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2"},
      {&due_close_, "SELECT id FROM actions WHERE closed = 0 AND expires_at <= ?1 AND stage = 3 LIMIT 1"},
      {&due_forget_, "SELECT id, action, state FROM entries WHERE state > 2 AND changed_at < ?1 ORDER BY changed_at LIMIT ?2"},
      {&entries_in_state_, "SELECT id, action, state FROM entries WHERE action = ?1 AND state = ?2 LIMIT ?3"},
      {&entries_of_, "SELECT id, action, state FROM entries WHERE action = ?1 LIMIT ?2"},
      {&close_action_, "UPDATE actions SET closed = 1 WHERE id = ?1"},
      {&delete_entry_, "DELETE FROM entries WHERE id = ?1"},
      {&drop_action_, "DELETE FROM actions WHERE id = ?1 AND (closed = 1 OR stage = 1) AND NOT EXISTS(SELECT 1 FROM entries WHERE action = ?1)"},
      {&set_stage_, "UPDATE actions SET stage = ?2 WHERE id = ?1"},
      {&stage_entries_, "SELECT id, device FROM entries WHERE action = ?1 AND state = 1 AND id > ?2 ORDER BY id LIMIT ?3"},
      {&read_stage_, "SELECT stage, collapse FROM actions WHERE id = ?1"},
      {&cancel_action_, "UPDATE actions SET cancelled = 1 WHERE id = ?1"},
  };
  for (const auto& [statement, sql] : wanted) {
    auto prepared = database.prepare(sql);
    if (!prepared) return pass(prepared);
    *statement = std::move(*prepared);
  }

  const auto total = database.number("SELECT count(*) FROM entries");
  if (!total) return tl::unexpected(total.error());
  const auto open = database.number("SELECT count(*) FROM entries WHERE state < 3");
  if (!open) return tl::unexpected(open.error());
  total_ = static_cast<std::uint64_t>(*total);
  open_ = static_cast<std::uint64_t>(*open);

  const auto load_ids = [&](Ids& ids, const char* highest, std::uint64_t least) -> Result<void> {
    const auto used = database.number(highest);
    if (!used) return tl::unexpected(used.error());
    const auto ceiling = database.number(("SELECT value FROM meta WHERE key = '" + std::string(ids.key) + "'").c_str(), 1);
    if (!ceiling) return tl::unexpected(ceiling.error());
    ids.ceiling_on_disk = static_cast<std::uint64_t>(*ceiling);
    ids.next = ids.ceiling = std::max({static_cast<std::uint64_t>(*used) + 1, ids.ceiling_on_disk, least});
    return {};
  };
  // Devices remember for a day what they were asked under which id. A store that begins anew must not use those numbers again: entries
  // are numbered from the time on, 1000 a millisecond, which JSON's readers still hold exactly.
  const auto from_time = static_cast<std::uint64_t>(std::max<std::int64_t>(to_millis(clock_.wall()), 1)) * 1'000;
  if (auto loaded = load_ids(entry_ids_, "SELECT coalesce(max(id), 0) FROM entries", from_time); !loaded) return loaded;
  if (auto loaded = load_ids(action_ids_, "SELECT coalesce(max(id), 0) FROM actions", 1); !loaded) return loaded;

  auto unfinished = database.prepare("SELECT id FROM actions WHERE stage <> 3");
  if (!unfinished) return pass(unfinished);
  std::lock_guard lock(mutex_);
  Step step;
  while ((step = unfinished->step()) == Step::row) halves_.push_back({unfinished->number_unsigned(0)});
  if (step == Step::failed) return tl::unexpected(database.error("reading unfinished posts"));
  return {};
}

std::uint64_t EmbeddedMailbox::next_id(Ids& ids) {
  if (ids.next >= ids.ceiling) ids.ceiling = ids.next + ids.reserved_at_once;
  return ids.next++;
}

Result<void> EmbeddedMailbox::before_commit(Database& database) {
  for (Ids* ids : {&entry_ids_, &action_ids_}) {
    if (ids->ceiling <= ids->ceiling_on_disk || ids->next <= ids->ceiling_on_disk) continue;
    raise_ids_.bind_text(1, ids->key);
    raise_ids_.bind_unsigned(2, ids->ceiling);
    if (!raise_ids_.run()) return tl::unexpected(database.error("reserving ids"));
  }
  return {};
}

void EmbeddedMailbox::committed() {
  total_ += static_cast<std::uint64_t>(total_change_);
  open_ += static_cast<std::uint64_t>(open_change_);
  total_change_ = open_change_ = 0;
  for (Ids* ids : {&entry_ids_, &action_ids_}) {
    if (ids->next > ids->ceiling_on_disk) ids->ceiling_on_disk = ids->ceiling;
  }
}

void EmbeddedMailbox::rolled_back() {
  total_change_ = open_change_ = 0;
}

Result<void> EmbeddedMailbox::set_state(Database& database, const Place& entry, EntryState to, std::string_view code, std::string_view message) {
  set_state_.bind_unsigned(1, entry.id);
  set_state_.bind(2, static_cast<int>(to));
  set_state_.bind(3, to_millis(clock_.wall()));
  set_state_.bind_text(4, code);
  set_state_.bind_text(5, message);
  if (!set_state_.run()) return tl::unexpected(database.error("moving an entry"));
  const auto open = [](EntryState state) { return static_cast<int>(state) < 3 ? 1 : 0; };
  open_change_ += open(to) - open(entry.state);
  if (to != entry.state) probe_.became[static_cast<std::size_t>(to) - 1].add();
  return {};
}

class EmbeddedMailbox::MoveChange final : public Change {
 public:
  MoveChange(EmbeddedMailbox& box, std::uint64_t entry, const AgentId& device, EntryState to, std::string code, std::string message,
             std::function<void(Result<Entry>)> done)
      : box_(box), id_(entry), device_(device), to_(to), code_(cut(std::move(code), kCodeBytesMax)),
        message_(cut(std::move(message), kMessageBytesMax)), done_(std::move(done)) {}

  Result<void> apply(Database& database) override {
    moved_.reset();
    Statement& row = box_.read_entry_;
    bool cancelled = false;
    {
      const ResetAtEnd reset(row);
      row.bind_unsigned(1, id_);
      const Step step = row.step();
      if (step == Step::failed) return tl::unexpected(database.error("reading an entry"));
      if (step == Step::done) return {};
      moved_ = read_entry(row);
      cancelled = row.number(kEntryColumns) != 0;
    }
    if (!moved_) return {};
    if (moved_->device != device_ || !may_move(moved_->state, to_)) {
      moved_.reset();
      return {};
    }
    const Place place{moved_->id, moved_->action, moved_->state};
    moved_->state = to_ == EntryState::waiting && cancelled ? EntryState::cancelled : to_;
    if (!code_.empty()) {
      const bool later = !moved_->code.empty() && moved_->code != code_;
      moved_->message = later ? cut(code_ + ": " + message_, kMessageBytesMax) : message_;
      if (!later) moved_->code = code_;
    }
    moved_->changed_at = box_.clock_.wall();
    return box_.set_state(database, place, moved_->state, moved_->code, moved_->message);
  }

  void finish(const Error* failure) override {
    --box_.changes_in_flight_;
    if (failure) return done_(tl::unexpected(mailbox_error(*failure)));
    if (!moved_) return done_(tl::unexpected(mailbox_unknown("This device has no such entry that could still be moved.")));
    done_(std::move(*moved_));
  }

 private:
  EmbeddedMailbox& box_;
  const std::uint64_t id_;
  const AgentId device_;
  const EntryState to_;
  const std::string code_, message_;
  const std::function<void(Result<Entry>)> done_;
  std::optional<Entry> moved_;
};

void EmbeddedMailbox::move(std::uint64_t entry, const AgentId& device, EntryState to, std::string code, std::string message,
                           std::function<void(Result<Entry>)> done) {
  if (++changes_in_flight_ > kInFlightMax) {
    --changes_in_flight_;
    return done(fail(Remedy::retry, "mailbox.busy", "Too many changes wait for the disk."));
  }
  writer_->submit(std::make_unique<MoveChange>(*this, entry, device, to, std::move(code), std::move(message), std::move(done)));
}

Result<std::uint64_t> EmbeddedMailbox::cancel(std::uint64_t action) {
  std::uint64_t cancelled = 0;
  for (;;) {
    bool known = true;
    std::vector<Place> found;
    auto done = wait_for([&](Database& database) -> Result<void> {
      known = true;
      found.clear();
      cancel_action_.bind_unsigned(1, action);
      if (!cancel_action_.run()) return tl::unexpected(database.error("cancelling an action"));
      known = database.changes() > 0;
      const ResetAtEnd reset(entries_in_state_);
      entries_in_state_.bind_unsigned(1, action);
      entries_in_state_.bind(2, static_cast<int>(EntryState::waiting));
      entries_in_state_.bind_unsigned(3, kCancelledAtOnce);
      Step step;
      while ((step = entries_in_state_.step()) == Step::row) found.push_back({entries_in_state_.number_unsigned(0), action, EntryState::waiting});
      if (step == Step::failed) return tl::unexpected(database.error("reading an action's entries"));
      for (const Place& entry : found) {
        if (auto set = set_state(database, entry, EntryState::cancelled, {}, {}); !set) return set;
      }
      return {};
    });
    if (!done) return pass(done);
    if (!known) return tl::unexpected(mailbox_unknown("There is no action " + std::to_string(action) + "."));
    cancelled += found.size();
    if (found.size() < kCancelledAtOnce) return cancelled;
  }
}

Result<void> EmbeddedMailbox::wait_for(const std::function<Result<void>(Database&)>& apply) {
  auto done = WaitedChange::run(*writer_, apply, [] {});
  if (!done) return tl::unexpected(mailbox_error(done.error()));
  return {};
}

}  // namespace greengate::store
