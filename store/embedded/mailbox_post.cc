// Posting: for one device within a shared commit, for a fleet in parts.

#include "store/embedded/mailbox.h"
#include "store/embedded/mailbox_row.h"

#include <algorithm>
#include <limits>
#include <set>

namespace greengate::store {

namespace {

constexpr std::size_t kParametersBytesMax = 256u << 10;
constexpr std::size_t kTextBytesMax = 256;
constexpr std::size_t kPartDevices = 2'000;
constexpr std::uint32_t kInFlightMax = 200'000;
constexpr auto kAnyId = std::numeric_limits<std::int64_t>::max();

std::optional<Error> too_large(const Action& action) {
  for (const auto& [name, text] : {std::pair{"collapse", &action.collapse}, {"origin", &action.origin}, {"origin_key", &action.origin_key}}) {
    if (text->size() > kTextBytesMax)
      return Error{Remedy::reject, "mailbox.too_large", std::string("The action's ") + name + " is longer than 256 bytes.", {}};
  }
  if (action.parameters.size() > kParametersBytesMax)
    return Error{Remedy::reject, "mailbox.too_large", "The action's parameters are larger than 256 KiB.", {}};
  return std::nullopt;
}

Error unfit(const AgentId& device) {
  return mailbox_unknown(device.raw().empty() ? "A device has no id." : "A device's id is longer than any that was given: " + device.raw().substr(0, 40));
}
bool is_unfit(const AgentId& device) { return device.raw().empty() || device.raw().size() > 64; }

}  // namespace

class EmbeddedMailbox::PostChange final : public Change {
 public:
  PostChange(EmbeddedMailbox& box, Action action, const AgentId& device, std::function<void(Result<Posted>)> done)
      : box_(box), action_(std::move(action)), device_(device), done_(std::move(done)) {}

  Result<void> apply(Database& database) override {
    posted_ = {};
    refused_.reset();
    return box_.apply_post(database, action_, device_, posted_, refused_);
  }
  void finish(const Error* failure) override {
    --box_.changes_in_flight_;
    if (failure) return done_(tl::unexpected(mailbox_error(*failure)));
    if (refused_) return done_(tl::unexpected(std::move(*refused_)));
    done_(std::move(posted_));
  }
  std::size_t bytes() const override { return action_.parameters.size() + 256; }

 private:
  EmbeddedMailbox& box_;
  Action action_;
  const AgentId device_;
  const std::function<void(Result<Posted>)> done_;
  Posted posted_;
  Refusal refused_;
};

void EmbeddedMailbox::post(Action action, const AgentId& device, std::function<void(Result<Posted>)> done) {
  if (auto large = too_large(action)) return done(tl::unexpected(std::move(*large)));
  if (is_unfit(device)) return done(tl::unexpected(unfit(device)));
  if (++changes_in_flight_ > kInFlightMax) {
    --changes_in_flight_;
    return done(fail(Remedy::retry, "mailbox.busy", "Too many changes wait for the disk."));
  }
  writer_->submit(std::make_unique<PostChange>(*this, std::move(action), device, std::move(done)));
}

Result<void> EmbeddedMailbox::apply_post(Database& database, Action& action, const AgentId& device, Posted& posted, Refusal& refused) {
  auto known = find_posted(database, action, device, posted);
  if (!known) return pass(known);
  if (*known) return {};
  auto judged = judge_device(database, device, action.collapse);
  if (!judged) return pass(judged);
  if (*judged) {
    refused = std::move(*judged);
    return {};
  }
  if (total_ + static_cast<std::uint64_t>(total_change_) >= config_.entries_max) {
    refused = Error{Remedy::reject, "mailbox.full", "The mailbox holds mailbox.entries_max entries.", {}};
    return {};
  }

  std::uint64_t shared = 0;
  if (!action.origin_key.empty()) {
    const ResetAtEnd reset(find_action_);
    find_action_.bind_text(1, action.origin_key);
    find_action_.bind_text(2, action.origin);
    find_action_.bind(3, action.task);
    find_action_.bind(4, action.urgent);
    find_action_.bind_text(5, action.collapse);
    find_action_.bind_blob(6, action.parameters);
    find_action_.bind(7, to_millis(clock_.wall()));
    const Step step = find_action_.step();
    if (step == Step::failed) return tl::unexpected(database.error("looking for an action"));
    if (step == Step::row) shared = find_action_.number_unsigned(0);
  }
  if (shared == 0) {
    if (auto inserted = insert_action(database, action, 3); !inserted) return inserted;
    shared = action.id;
  }
  auto entry = insert_entry(database, shared, device);
  if (!entry) return pass(entry);
  auto collapsed = collapse_older(database, device, action.collapse, *entry);
  if (!collapsed) return pass(collapsed);
  posted = {shared, *entry, true, EntryState::waiting, {}, false, 1, *collapsed};
  return {};
}

/// Fills `posted` when this device had this origin_key.
Result<bool> EmbeddedMailbox::find_posted(Database& database, const Action& action, const AgentId& device, Posted& posted) {
  if (action.origin_key.empty()) return false;
  const ResetAtEnd reset(find_posted_);
  find_posted_.bind_text(1, action.origin_key);
  find_posted_.bind_text(2, action.origin);
  find_posted_.bind_text(3, device.raw());
  const Step step = find_posted_.step();
  if (step == Step::failed) return tl::unexpected(database.error("looking for a repeat"));
  if (step != Step::row) return false;
  posted.entry = find_posted_.number_unsigned(0);
  posted.action = find_posted_.number_unsigned(1);
  posted.fresh = false;
  posted.state = static_cast<EntryState>(std::clamp<std::int64_t>(find_posted_.number(2), 1, 8));
  posted.code = find_posted_.text(3);
  posted.taken = find_posted_.number(4) != 0;
  return true;
}

/// May the device get one more?
Result<EmbeddedMailbox::Refusal> EmbeddedMailbox::judge_device(Database& database, const AgentId& device, const std::string& collapse) {
  std::int64_t open = 0;
  {
    const ResetAtEnd reset(open_count_);
    open_count_.bind_text(1, device.raw());
    if (open_count_.step() != Step::row) return tl::unexpected(database.error("counting a device's entries"));
    open = open_count_.number(0);
  }
  if (open < config_.entries_per_device_max) return Refusal();
  if (!collapse.empty()) {
    const ResetAtEnd reset(kind_waiting_);
    kind_waiting_.bind_text(1, device.raw());
    kind_waiting_.bind_text(2, collapse);
    kind_waiting_.bind(3, kAnyId);
    const Step step = kind_waiting_.step();
    if (step == Step::failed) return tl::unexpected(database.error("looking for entries of a kind"));
    if (step == Step::row) return Refusal();  // it takes that one's place
  }
  return Refusal(Error{Remedy::reject, "mailbox.device_full",
                       "As many entries wait for device " + device.raw() + " as mailbox.entries_per_device_max allows.", {}});
}

Result<void> EmbeddedMailbox::insert_action(Database& database, Action& action, int stage) {
  action.id = next_id(action_ids_);
  // Times are kept in milliseconds; the checksum is over what is kept.
  action.created_at = from_millis(to_millis(action.created_at));
  action.expires_at = from_millis(to_millis(action.expires_at));
  insert_action_.bind_unsigned(1, action.id);
  insert_action_.bind(2, stage);
  insert_action_.bind(3, action.task);
  insert_action_.bind(4, action.urgent);
  insert_action_.bind(5, to_millis(action.created_at));
  insert_action_.bind(6, to_millis(action.expires_at));
  insert_action_.bind(7, action_checksum(action));
  insert_action_.bind_text(8, action.collapse);
  insert_action_.bind_text(9, action.origin);
  insert_action_.bind_text(10, action.origin_key);
  insert_action_.bind_blob(11, action.parameters);
  if (!insert_action_.run()) return tl::unexpected(database.error("keeping an action"));
  return {};
}

Result<std::uint64_t> EmbeddedMailbox::insert_entry(Database& database, std::uint64_t action, const AgentId& device) {
  const std::uint64_t id = next_id(entry_ids_);
  insert_entry_.bind_unsigned(1, id);
  insert_entry_.bind_text(2, device.raw());
  insert_entry_.bind_unsigned(3, action);
  insert_entry_.bind(4, to_millis(clock_.wall()));
  insert_entry_.bind(5, entry_checksum(id, device.raw(), action));
  if (!insert_entry_.run()) return tl::unexpected(database.error("keeping an entry"));
  ++total_change_;
  ++open_change_;
  probe_.became[0].add();
  return id;
}

Result<std::uint32_t> EmbeddedMailbox::collapse_older(Database& database, const AgentId& device, const std::string& collapse, std::uint64_t entry) {
  if (collapse.empty()) return 0u;
  std::vector<Place> older;
  {
    const ResetAtEnd reset(kind_waiting_);
    kind_waiting_.bind_text(1, device.raw());
    kind_waiting_.bind_text(2, collapse);
    kind_waiting_.bind_unsigned(3, entry);
    Step step;
    while ((step = kind_waiting_.step()) == Step::row) older.push_back({kind_waiting_.number_unsigned(0), kind_waiting_.number_unsigned(1), EntryState::waiting});
    if (step == Step::failed) return tl::unexpected(database.error("looking for entries of a kind"));
  }
  for (const Place& place : older) {
    if (auto set = set_state(database, place, EntryState::collapsed, {}, {}); !set) return pass(set);
  }
  return static_cast<std::uint32_t>(older.size());
}

/// `action` gets its id in the first part. Judged as a whole before anything is written.
Result<void> EmbeddedMailbox::apply_part(Database& database, Action& action, bool first, std::span<const AgentId> devices, Posted& posted,
                                         Refusal& refused) {
  std::vector<const AgentId*> takers;
  for (const AgentId& device : devices) {
    Posted before;
    auto known = find_posted(database, action, device, before);
    if (!known) return pass(known);
    if (*known) {
      if (posted.entry == 0) {
        posted.entry = before.entry;
        posted.state = before.state;
        posted.code = before.code;
        posted.taken = before.taken;
      }
      if (posted.action == 0) posted.action = before.action;
      continue;
    }
    auto judged = judge_device(database, device, action.collapse);
    if (!judged) return pass(judged);
    if (*judged) {
      refused = std::move(*judged);
      return {};
    }
    takers.push_back(&device);
  }
  if (total_ + static_cast<std::uint64_t>(total_change_) + takers.size() > config_.entries_max) {
    refused = Error{Remedy::reject, "mailbox.full", "The mailbox holds no room for so many entries (mailbox.entries_max).", {}};
    return {};
  }
  if (first) {
    if (auto inserted = insert_action(database, action, 1); !inserted) return inserted;
  }
  for (const AgentId* device : takers) {
    auto entry = insert_entry(database, action.id, *device);
    if (!entry) return pass(entry);
    if (posted.devices++ == 0) posted.entry = *entry;
  }
  return {};
}

Result<void> EmbeddedMailbox::apply_stage(Database& database, std::uint64_t action, int stage) {
  set_stage_.bind_unsigned(1, action);
  set_stage_.bind(2, stage);
  if (!set_stage_.run()) return tl::unexpected(database.error("completing a post"));
  return {};
}

Result<std::uint32_t> EmbeddedMailbox::apply_collapse(Database& database, std::uint64_t action, std::uint64_t& after) {
  std::string collapse;
  {
    const ResetAtEnd reset(read_stage_);
    read_stage_.bind_unsigned(1, action);
    if (read_stage_.step() == Step::row) collapse = read_stage_.text(1);
  }
  std::vector<std::pair<std::uint64_t, AgentId>> entries;
  {
    const ResetAtEnd reset(stage_entries_);
    stage_entries_.bind_unsigned(1, action);
    stage_entries_.bind_unsigned(2, after);
    stage_entries_.bind(3, kPartDevices);
    Step step;
    while ((step = stage_entries_.step()) == Step::row) entries.emplace_back(stage_entries_.number_unsigned(0), stage_entries_.text(1));
    if (step == Step::failed) return tl::unexpected(database.error("reading an action's entries"));
  }
  std::uint32_t collapsed = 0;
  for (const auto& [id, device] : entries) {
    auto older = collapse_older(database, device, collapse, id);
    if (!older) return older;
    collapsed += *older;
  }
  after = entries.size() < kPartDevices ? 0 : entries.back().first;
  if (after == 0) {
    if (auto whole = apply_stage(database, action, 3); !whole) return pass(whole);
  }
  return collapsed;
}

Result<Posted> EmbeddedMailbox::post(Action action, std::span<const AgentId> devices) {
  if (auto large = too_large(action)) return tl::unexpected(std::move(*large));
  std::set<AgentId> named;
  std::vector<AgentId> each;
  for (const AgentId& device : devices) {
    if (is_unfit(device)) return tl::unexpected(unfit(device));
    if (named.insert(device).second) each.push_back(device);
  }
  named.clear();
  if (each.empty()) return tl::unexpected(mailbox_unknown("No device was named."));
  return post_in_parts(std::move(action), each);
}

// Stage 1 is seen by nobody; the change to stage 2 or 3 is the moment at which all of it is posted. What is left half done, for whatever
// reason, is the housekeeping's.
Result<Posted> EmbeddedMailbox::post_in_parts(Action action, std::span<const AgentId> devices) {
  const auto leave_half = [&](std::uint64_t after) {
    std::lock_guard lock(mutex_);
    halves_.push_back({action.id, after});
  };
  const int posted_stage = action.collapse.empty() ? 3 : 2;
  const bool one_part = devices.size() <= kPartDevices;
  Posted posted;
  for (std::size_t at = 0; at < devices.size(); at += kPartDevices) {
    const auto part = devices.subspan(at, std::min(kPartDevices, devices.size() - at));
    const Posted before = posted;
    Refusal refused;
    auto written = wait_for([&](Database& database) -> Result<void> {
      posted = before;
      refused.reset();
      auto applied = apply_part(database, action, at == 0, part, posted, refused);
      if (!applied || refused || !one_part || posted.devices == 0) return applied;
      return apply_stage(database, action.id, posted_stage);
    });
    if (written && !refused) continue;
    if (action.id != 0) leave_half(0);
    if (!written) return pass(written);
    return tl::unexpected(std::move(*refused));
  }
  if (posted.devices == 0) {  // every device had this origin_key
    leave_half(0);
    posted.fresh = false;
    return posted;
  }
  posted.action = action.id;
  if (!one_part) {
    auto visible = wait_for([&](Database& database) { return apply_stage(database, action.id, posted_stage); });
    if (!visible) {
      leave_half(0);
      return pass(visible);
    }
  }
  for (std::uint64_t after = 0; posted_stage == 2;) {
    const std::uint64_t from = after;
    std::uint32_t collapsed = 0;
    const auto done = wait_for([&](Database& database) -> Result<void> {
      after = from;
      auto part = apply_collapse(database, action.id, after);
      if (!part) return pass(part);
      collapsed = *part;
      return {};
    });
    if (!done) {  // posted it is; the older ones give way as soon as the disk allows
      leave_half(from);
      break;
    }
    posted.collapsed += collapsed;
    if (after == 0) break;
  }
  return posted;
}

}  // namespace greengate::store
