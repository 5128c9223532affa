#pragma once

#include "adapters/wns/settings.h"
#include "adapters/wns/waker.h"
#include "core/clock.h"
#include "core/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// What is known of a device's channel; what a restart must not forget.
struct ChannelRecord {
  enum class State : std::uint8_t { none, active, dead, quarantine, invalid };
  State state = State::none;
  std::string why;         ///< Of dead, quarantine, invalid.
  std::string enrollment;
  std::string pfn;         ///< The app the channel belongs to; empty: none was set by us.
  std::string pfn_asked;   ///< The app set last, until a different URI shows that it took.
  std::string uri;         ///< Secret. Kept when dead, so that the same one does not revive it.
  std::optional<int> push_status;
  WallTime first_seen{}, last_read{}, since{};
  WallTime unsupported_until{};
  std::vector<WallTime> pfn_set;  ///< Of the last day.
  WallTime changes_day{};         ///< When counting of changes began.
  std::uint32_t changes = 0;
  bool ended_since_set = false;   ///< It died after the PFN was set last.

  std::size_t bytes() const;
};

/// The state as rules of age see it.
enum class Standing : std::uint8_t { none, active, renew_due, suspect_old, dead, quarantine, invalid };
constexpr std::size_t standing_count = 7;
const char* standing_name(Standing standing);
Standing standing_of(const ChannelRecord& record, WallTime now, const WnsSettings& settings);
/// A push may go out: active or due for renewal, or one probe of a quarantine that is over.
bool may_push(const ChannelRecord& record, WallTime now, const WnsSettings& settings);

/// What a reading changed.
struct ReadingResult {
  bool changed = false;      ///< Worth keeping.
  bool new_channel = false;  ///< Another, valid URI.
  bool enrolled_anew = false;
  bool refused = false;      ///< Its URI is hostile: `host` is what it names.
  bool flapping = false;     ///< One change too many today; not taken.
  std::string host;
};

/// for one reading of one session. `pfn` is the app new devices get.
ReadingResult apply_reading(ChannelRecord& record, const ChannelReading& reading, std::string_view pfn, WallTime now, const WnsSettings& settings);

/// Ends or quarantines the channel if its URI still is the one that was pushed. False: it has another by now.
bool end_channel(ChannelRecord& record, std::string_view pushed_uri, ChannelRecord::State to, std::string why, WallTime now);

/// Is it time to set the PFN in the open session? Notes the attempt (R-22, R-51, table 10.1).
bool take_pfn_turn(ChannelRecord& record, const std::string& pfn, bool pfn_still_configured, WallTime now, const WnsSettings& settings);

/// One text for the book. Holds the URI: to be sealed.
std::string encode_record(const ChannelRecord& record);
/// Errors    wns.record (reject).
Result<ChannelRecord> decode_record(std::string_view text);

}  // namespace greengate::adapters
