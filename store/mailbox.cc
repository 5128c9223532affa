#include "store/mailbox.h"

namespace greengate::store {

const char* entry_state_name(EntryState state) {
  switch (state) {
    case EntryState::waiting: return "waiting";
    case EntryState::handed: return "handed";
    case EntryState::accepted: return "accepted";
    case EntryState::done: return "done";
    case EntryState::failed: return "failed";
    case EntryState::expired: return "expired";
    case EntryState::cancelled: return "cancelled";
    case EntryState::collapsed: return "collapsed";
  }
  return "damaged";
}

std::vector<ConfigProblem> MailboxConfig::problems() const {
  std::vector<ConfigProblem> found;
  const auto outside = [&found](const char* key, std::uint32_t value, std::uint32_t least, std::uint32_t most) {
    if (value >= least && value <= most) return;
    found.push_back({key, std::string(key) + " is " + std::to_string(value) + "; it can be " + std::to_string(least) + " to " +
                              std::to_string(most) + "."});
  };
  outside("mailbox.entries_max", entries_max, 1'000, 100'000'000);
  outside("mailbox.entries_per_device_max", entries_per_device_max, 1, 10'000);
  if (history_time < std::chrono::hours(24) || history_time > std::chrono::hours(24 * 366)) {
    found.push_back({"mailbox.history_time", "mailbox.history_time is " + duration_text(history_time) +
                                                 "; it can be 1d to 366d: the site may repeat a push for a day."});
  }
  return found;
}

}  // namespace greengate::store
