#include "simulators/mdm_device/schedules.h"

#include "simulators/common/text.h"

#include <algorithm>

namespace greengate::sim::mdm {
namespace {

constexpr std::int64_t hour_s = 3600, day_s = 86'400, window_s = 15 * day_s;

}  // namespace

RenewalDelay renewal_delay(std::string_view build, std::int64_t expiry_in_s, bool network, bool attempt_made) {
  const RenewalDelay soon{3 * hour_s, 5 * hour_s};
  // A skipped attempt, or none at all for want of network on a build that looks: again in 4 h ± 1 h, whatever the expiry.
  if (!attempt_made || (build != "1511" && !network)) return soon;
  // Exactly 15 days left is taken as within the window.
  if (expiry_in_s > window_s) return {expiry_in_s - window_s, expiry_in_s - window_s};
  if (expiry_in_s >= 0) return soon;
  return {20 * hour_s, 28 * hour_s};
}

bool renewal_is_tried(std::string_view build, bool network) {
  return build == "1511" || network;
}

Result<PollSchedule> PollSchedule::parse(std::string_view text) {
  PollSchedule schedule({Set{}, Set{}, Set{}});
  const std::string all(text);
  std::size_t set = 0;
  for (std::string_view rest = text; !rest.empty(); ++set) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, end);
    const std::size_t by = part.find('x');
    const auto minutes = by == std::string_view::npos ? std::nullopt : parse_number(part.substr(0, by));
    const auto number = by == std::string_view::npos ? std::nullopt : parse_number(part.substr(by + 1));
    if (set > 2 || !minutes || !number || *minutes > 1'000'000 || *number > 1'000'000)
      return fail(Remedy::reject, "poll.syntax", "The poll schedule is \"" + all + "\"; write minutes x number for up to three sets, as in 15x5,60x10,1440x0.");
    schedule.sets_[set] = {static_cast<std::int64_t>(*minutes), static_cast<std::int64_t>(*number)};
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return schedule;
}

bool PollSchedule::valid() const {
  const auto endless = std::count_if(sets_.begin(), sets_.end(), [](const Set& s) { return s.minutes > 0 && s.number == 0; });
  const bool nothing = std::all_of(sets_.begin(), sets_.end(), [](const Set& s) { return s.minutes == 0 && s.number == 0; });
  return endless <= 1 && !nothing;
}

std::int64_t PollSchedule::next_s() {
  if (!valid()) return day_s;
  while (set_ < sets_.size()) {
    const Set& set = sets_[set_];
    if (set.minutes > 0 && (set.number == 0 || done_ < set.number)) {
      ++done_;
      return set.minutes * 60;
    }
    ++set_;
    done_ = 0;
  }
  return day_s;
}

}  // namespace greengate::sim::mdm
