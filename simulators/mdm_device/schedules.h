#pragma once

#include "core/result.h"
#include "simulators/common/dice.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace greengate::sim::mdm {

/// When a device asks for its next channel (section 7, vectors/renewal-schedule.json). `attempt_made`: false when a 1607 or later build
/// skipped it for want of any network.
struct RenewalDelay {
  std::int64_t min_s = 0, max_s = 0;
};
RenewalDelay renewal_delay(std::string_view build, std::int64_t expiry_in_s, bool network, bool attempt_made);
/// 1511 tries without looking; later builds look for any network first.
bool renewal_is_tried(std::string_view build, bool network);

/// The poll schedule of DMClient/Provider/…/Poll (10.3): three sets of interval and number; number 0 is for ever.
class PollSchedule {
 public:
  struct Set {
    std::int64_t minutes = 0, number = 0;
  };
  /// "15x5,60x10,1440x0". Errors: poll.syntax.
  static Result<PollSchedule> parse(std::string_view text);
  PollSchedule() = default;
  explicit PollSchedule(std::array<Set, 3> sets) : sets_(sets) {}

  /// At most one set for ever, and not everything 0.
  bool valid() const;
  /// Seconds to the next poll; the schedule moves on. No set for ever, or an invalid one: 24 hours in the end.
  std::int64_t next_s();
  void restart() { set_ = 0, done_ = 0; }
  std::array<Set, 3>& sets() { return sets_; }

 private:
  std::array<Set, 3> sets_{{{15, 5}, {60, 10}, {1440, 0}}};
  std::size_t set_ = 0;
  std::int64_t done_ = 0;
};

}  // namespace greengate::sim::mdm
