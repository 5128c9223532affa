// Looking: everything here reads the last commit and holds nothing up.

#include "store/embedded/mailbox.h"

#include "core/log.h"
#include "store/embedded/mailbox_row.h"

#include <algorithm>
#include <limits>

namespace greengate::store {

namespace {

const Log log("store");

constexpr std::uint32_t kCountMax = 10'000;

tl::unexpected<Error> unread(const Database& database, const char* doing) { return tl::unexpected(mailbox_error(database.error(doing))); }

}  // namespace

Result<std::vector<std::pair<Entry, Action>>> EmbeddedMailbox::open_entries(const AgentId& device, std::uint32_t count_max) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(mailbox_error(reader.error()));
  Statement& row = (*reader)->mail_open;
  const ResetAtEnd reset(row);
  row.bind_text(1, device.raw());
  row.bind(2, to_millis(clock_.wall()));
  row.bind(3, std::min(count_max, kCountMax));
  std::vector<std::pair<Entry, Action>> found;
  Step step;
  while ((step = row.step()) == Step::row) {
    auto entry = read_entry(row);
    auto action = read_action(row, kEntryColumns);
    if (entry && action && entry->device == device) {
      found.emplace_back(std::move(*entry), std::move(*action));
    } else {
      entry_damaged(row.number_unsigned(0));
    }
  }
  if (step == Step::failed) return unread((*reader)->database, "reading a device's entries");
  return found;
}

Result<bool> EmbeddedMailbox::has_open(const AgentId& device) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(mailbox_error(reader.error()));
  Statement& row = (*reader)->mail_waits;
  const ResetAtEnd reset(row);
  row.bind_text(1, device.raw());
  row.bind(2, to_millis(clock_.wall()));
  const Step step = row.step();
  if (step == Step::failed) return unread((*reader)->database, "looking whether anything waits");
  return step == Step::row;
}

Result<ActionView> EmbeddedMailbox::view_of(Database& database, Action action) {
  ActionView view;
  auto counts = database.prepare("SELECT state, count(*) FROM entries WHERE action = ?1 GROUP BY state ORDER BY state");
  if (!counts) return tl::unexpected(mailbox_error(counts.error()));
  counts->bind_unsigned(1, action.id);
  Step step;
  while ((step = counts->step()) == Step::row)
    view.counts.emplace_back(static_cast<EntryState>(std::clamp<std::int64_t>(counts->number(0), 1, 8)), counts->number_unsigned(1));
  if (step == Step::failed) return unread(database, "counting an action's entries");
  view.action = std::move(action);
  return view;
}

Result<std::vector<ActionView>> EmbeddedMailbox::actions(std::uint64_t before, std::uint32_t count_max) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(mailbox_error(reader.error()));
  Database& database = (*reader)->database;
  auto rows = database.prepare("SELECT " GREENGATE_ACTION_COLUMNS " FROM actions a WHERE a.id < ?1 AND a.stage <> 1 ORDER BY a.id DESC LIMIT ?2");
  if (!rows) return tl::unexpected(mailbox_error(rows.error()));
  rows->bind(1, before == 0 ? std::numeric_limits<std::int64_t>::max() : static_cast<std::int64_t>(before));
  rows->bind(2, std::min(count_max, kCountMax));
  std::vector<ActionView> all;
  Step step;
  while ((step = rows->step()) == Step::row) {
    auto action = read_action(*rows);
    if (!action) continue;  // its entries fail as they are met
    auto view = view_of(database, std::move(*action));
    if (!view) return pass(view);
    all.push_back(std::move(*view));
  }
  if (step == Step::failed) return unread(database, "reading the actions");
  return all;
}

Result<std::optional<ActionView>> EmbeddedMailbox::action(std::uint64_t id) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(mailbox_error(reader.error()));
  Database& database = (*reader)->database;
  auto row = database.prepare("SELECT " GREENGATE_ACTION_COLUMNS " FROM actions a WHERE a.id = ?1 AND a.stage <> 1");
  if (!row) return tl::unexpected(mailbox_error(row.error()));
  row->bind_unsigned(1, id);
  const Step step = row->step();
  if (step == Step::failed) return unread(database, "reading an action");
  if (step == Step::done) return std::optional<ActionView>();
  auto found = read_action(*row);
  if (!found) return std::optional<ActionView>();
  auto view = view_of(database, std::move(*found));
  if (!view) return pass(view);
  return std::optional(std::move(*view));
}

Result<std::vector<Entry>> EmbeddedMailbox::entries(std::uint64_t action, std::uint64_t after, std::uint32_t count_max) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(mailbox_error(reader.error()));
  Database& database = (*reader)->database;
  auto rows = database.prepare("SELECT " GREENGATE_ENTRY_COLUMNS
                               " FROM entries e WHERE e.action = ?1 AND e.state = ?2 AND e.id > ?3 ORDER BY e.id LIMIT ?4");
  if (!rows) return tl::unexpected(mailbox_error(rows.error()));
  // State by state, as the index has them: one page costs the same wherever it is.
  std::vector<Entry> found;
  const std::uint32_t wanted = std::min(count_max, kCountMax);
  for (int state = 1; state <= static_cast<int>(EntryState::collapsed); ++state) {
    const ResetAtEnd reset(*rows);
    rows->bind_unsigned(1, action);
    rows->bind(2, state);
    rows->bind_unsigned(3, after);
    rows->bind(4, wanted);
    Step step;
    while ((step = rows->step()) == Step::row) {
      if (auto entry = read_entry(*rows)) found.push_back(std::move(*entry));
    }
    if (step == Step::failed) return unread(database, "reading an action's entries");
  }
  std::sort(found.begin(), found.end(), [](const Entry& a, const Entry& b) { return a.id < b.id; });
  if (found.size() > wanted) found.resize(wanted);
  return found;
}

Result<std::vector<std::pair<Entry, Action>>> EmbeddedMailbox::history(const AgentId& device, std::uint32_t count_max) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(mailbox_error(reader.error()));
  Database& database = (*reader)->database;
  auto rows = database.prepare("SELECT " GREENGATE_ENTRY_COLUMNS ", " GREENGATE_ACTION_COLUMNS
                               " FROM entries e JOIN actions a ON a.id = e.action WHERE e.device = ?1 AND a.stage <> 1"
                               " ORDER BY e.id DESC LIMIT ?2");
  if (!rows) return tl::unexpected(mailbox_error(rows.error()));
  rows->bind_text(1, device.raw());
  rows->bind(2, std::min(count_max, kCountMax));
  std::vector<std::pair<Entry, Action>> found;
  Step step;
  while ((step = rows->step()) == Step::row) {
    auto entry = read_entry(*rows);
    auto action = read_action(*rows, kEntryColumns);
    if (entry && action) found.emplace_back(std::move(*entry), std::move(*action));
  }
  if (step == Step::failed) return unread(database, "reading a device's history");
  return found;
}

/// Ends an entry whose bytes, or whose action's, are not what was written.
class EmbeddedMailbox::DamagedChange final : public Change {
 public:
  DamagedChange(EmbeddedMailbox& box, std::uint64_t entry) : box_(box), entry_(entry) {}
  Result<void> apply(Database& database) override {
    const auto state = database.number(("SELECT state FROM entries WHERE id = " + std::to_string(static_cast<std::int64_t>(entry_))).c_str());
    if (!state) return tl::unexpected(state.error());
    if (*state == 0 || *state == static_cast<int>(EntryState::failed)) return {};
    return box_.set_state(database, {entry_, 0, static_cast<EntryState>(*state)}, EntryState::failed, "mailbox.damaged",
                          "The record's bytes no longer match its checksum.");
  }
  void finish(const Error*) override {}  // met again at the device's next look

 private:
  EmbeddedMailbox& box_;
  const std::uint64_t entry_;
};

void EmbeddedMailbox::entry_damaged(std::uint64_t entry) {
  probe_.damaged.add();
  log.error("mailbox entry damaged", kv("notification", entry));
  writer_->submit(std::make_unique<DamagedChange>(*this, entry));
}

}  // namespace greengate::store
