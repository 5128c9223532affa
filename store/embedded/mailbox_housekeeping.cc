// Housekeeping on the writer's thread: expiry, history, posts that were cut off.

#include "store/embedded/mailbox.h"


#include <algorithm>
#include <set>

namespace greengate::store {

namespace {


constexpr std::uint32_t kBudget = 5'000;  // rows of one transaction, so that others' changes pass between two
constexpr std::chrono::hours kHistoryLeast{24};

}  // namespace

class EmbeddedMailbox::KeepingChange final : public Change {
 public:
  explicit KeepingChange(EmbeddedMailbox& box) : box_(box) {}

  Result<void> apply(Database& database) override {
    std::uint32_t budget = kBudget;
    {
      std::lock_guard lock(box_.mutex_);
      halves_ = box_.halves_;
    }
    for (Half& half : halves_) {
      if (budget == 0) return {};
      if (auto mended = box_.mend(database, half, budget); !mended) return mended;
    }
    if (auto expired = box_.expire(database, budget); !expired) return expired;
    return box_.forget(database, budget);
  }

  void finish(const Error* failure) override {
    box_.keeping_ = false;
    if (failure) return;
    {
      std::lock_guard lock(box_.mutex_);
      for (const Half& half : halves_) {
        for (Half& known : box_.halves_) {
          if (known.action == half.action) known = half;
        }
      }
      std::erase_if(box_.halves_, [](const Half& half) { return half.mended; });
    }
    box_.housekeeping();
  }
  std::size_t records() const override { return 0; }

 private:
  EmbeddedMailbox& box_;
  std::vector<Half> halves_;
};

void EmbeddedMailbox::housekeeping() {
  probe_.entries.set(static_cast<double>(total_));
  probe_.open.set(static_cast<double>(open_));
  if (keeping_ || !anything_due()) return;
  keeping_ = true;
  writer_->submit(std::make_unique<KeepingChange>(*this));
}

bool EmbeddedMailbox::anything_due() {
  {
    std::lock_guard lock(mutex_);
    if (!halves_.empty()) return true;
  }
  const ResetAtEnd reset_close(due_close_), reset_forget(due_forget_);
  due_close_.bind(1, to_millis(clock_.wall()));
  if (due_close_.step() == Step::row) return true;
  due_forget_.bind(1, forget_before());
  due_forget_.bind(2, 1);
  return due_forget_.step() == Step::row;
}

/// Finished entries from before that moment go. When room runs short all that need not stay does.
std::int64_t EmbeddedMailbox::forget_before() const {
  const bool short_of_room = total_ >= config_.entries_max - config_.entries_max / 20;
  const auto kept = short_of_room ? std::min<std::chrono::milliseconds>(kHistoryLeast, config_.history_time) : config_.history_time;
  return to_millis(clock_.wall() - kept);
}

Result<void> EmbeddedMailbox::mend(Database& database, Half& half, std::uint32_t& budget) {
  std::int64_t stage = 0;
  {
    const ResetAtEnd reset(read_stage_);
    read_stage_.bind_unsigned(1, half.action);
    const Step step = read_stage_.step();
    if (step == Step::failed) return tl::unexpected(database.error("reading an unfinished post"));
    if (step == Step::row) stage = read_stage_.number(0);
  }
  if (stage == 2) {
    auto collapsed = apply_collapse(database, half.action, half.after);
    if (!collapsed) return pass(collapsed);
    budget -= std::min(budget, *collapsed + 1);
    half.mended = half.after == 0;
    return {};
  }
  half.mended = stage != 1;
  if (half.mended) return {};
  std::vector<Place> entries;
  {
    const ResetAtEnd reset(entries_of_);
    entries_of_.bind_unsigned(1, half.action);
    entries_of_.bind(2, budget);
    Step step;
    while ((step = entries_of_.step()) == Step::row)
      entries.push_back({entries_of_.number_unsigned(0), half.action, static_cast<EntryState>(entries_of_.number(2))});
    if (step == Step::failed) return tl::unexpected(database.error("reading an unfinished post"));
  }
  for (const Place& entry : entries) {
    delete_entry_.bind_unsigned(1, entry.id);
    if (!delete_entry_.run()) return tl::unexpected(database.error("taking back an entry"));
    --total_change_;
    if (static_cast<int>(entry.state) < 3) --open_change_;
  }
  half.mended = entries.size() < budget;
  budget -= static_cast<std::uint32_t>(entries.size());
  return half.mended ? drop_action(database, half.action) : Result<void>();
}

Result<void> EmbeddedMailbox::expire(Database& database, std::uint32_t& budget) {
  while (budget > 0) {
    std::uint64_t action = 0;
    {
      const ResetAtEnd reset(due_close_);
      due_close_.bind(1, to_millis(clock_.wall()));
      const Step step = due_close_.step();
      if (step == Step::failed) return tl::unexpected(database.error("looking for expired actions"));
      if (step == Step::done) return {};
      action = due_close_.number_unsigned(0);
    }
    for (const EntryState state : {EntryState::waiting, EntryState::handed}) {
      std::vector<Place> entries;
      {
        const ResetAtEnd reset(entries_in_state_);
        entries_in_state_.bind_unsigned(1, action);
        entries_in_state_.bind(2, static_cast<int>(state));
        entries_in_state_.bind(3, budget);
        Step step;
        while ((step = entries_in_state_.step()) == Step::row) entries.push_back({entries_in_state_.number_unsigned(0), action, state});
        if (step == Step::failed) return tl::unexpected(database.error("reading an expired action"));
      }
      for (const Place& entry : entries) {
        if (auto set = set_state(database, entry, EntryState::expired, {}, {}); !set) return set;
      }
      budget -= static_cast<std::uint32_t>(entries.size());
      if (budget == 0) return {};
    }
    close_action_.bind_unsigned(1, action);
    if (!close_action_.run()) return tl::unexpected(database.error("closing an action"));
    if (auto dropped = drop_action(database, action); !dropped) return dropped;
    --budget;
  }
  return {};
}

Result<void> EmbeddedMailbox::forget(Database& database, std::uint32_t& budget) {
  if (budget == 0) return {};
  std::vector<Place> entries;
  {
    const ResetAtEnd reset(due_forget_);
    due_forget_.bind(1, forget_before());
    due_forget_.bind(2, budget);
    Step step;
    while ((step = due_forget_.step()) == Step::row) entries.push_back({due_forget_.number_unsigned(0), due_forget_.number_unsigned(1), EntryState::done});
    if (step == Step::failed) return tl::unexpected(database.error("looking for old entries"));
  }
  std::set<std::uint64_t> actions;
  for (const Place& entry : entries) {
    delete_entry_.bind_unsigned(1, entry.id);
    if (!delete_entry_.run()) return tl::unexpected(database.error("forgetting an entry"));
    --total_change_;
    actions.insert(entry.action);
  }
  for (const std::uint64_t action : actions) {
    if (auto dropped = drop_action(database, action); !dropped) return dropped;
  }
  budget -= static_cast<std::uint32_t>(entries.size());
  return {};
}

/// One that is closed (or was never whole) and has no entries left.
Result<void> EmbeddedMailbox::drop_action(Database& database, std::uint64_t action) {
  drop_action_.bind_unsigned(1, action);
  if (!drop_action_.run()) return tl::unexpected(database.error("forgetting an action"));
  return {};
}

}  // namespace greengate::store
