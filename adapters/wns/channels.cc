#include "adapters/wns/channels.h"

#include "adapters/wns/channel_uri.h"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>

namespace greengate::adapters {
namespace {

namespace json = boost::json;
using std::chrono::hours;
using State = ChannelRecord::State;

constexpr std::array<const char*, 5> state_words{"none", "active", "dead", "quarantine", "invalid"};
constexpr hours day(24);

// A clock that went backwards makes nothing older than it is.
bool passed(WallTime since, WallTime now, std::chrono::milliseconds age) { return now >= since && now - since >= age; }

void become(ChannelRecord& record, State state, std::string why, WallTime now) {
  record.state = state;
  record.why = std::move(why);
  record.since = now;
}

// Table 10.1: statuses in which the device has, or will have, a channel without our doing.
bool status_is_fine(const std::optional<int>& status) { return !status || *status == 0 || *status == 6 || *status == 7; }

}  // namespace

std::size_t ChannelRecord::bytes() const {
  const auto heap = [](const std::string& text) { return text.capacity() > 15 ? text.capacity() + 1 : 0; };
  return sizeof(*this) + heap(why) + heap(enrollment) + heap(pfn) + heap(pfn_asked) + heap(uri) + pfn_set.capacity() * sizeof(WallTime);
}

const char* standing_name(Standing standing) {
  constexpr std::array<const char*, standing_count> names{"none", "active", "renew_due", "suspect_old", "dead", "quarantine", "invalid"};
  return names[static_cast<std::size_t>(standing)];
}

Standing standing_of(const ChannelRecord& record, WallTime now, const WnsSettings& settings) {
  switch (record.state) {
    case State::none: return Standing::none;
    case State::dead: return Standing::dead;
    case State::quarantine: return Standing::quarantine;
    case State::invalid: return Standing::invalid;
    case State::active: break;
  }
  if (passed(record.first_seen, now, settings.channel_life)) return Standing::suspect_old;
  return passed(record.first_seen, now, settings.channel_renew_due) ? Standing::renew_due : Standing::active;
}

bool may_push(const ChannelRecord& record, WallTime now, const WnsSettings& settings) {
  const Standing standing = standing_of(record, now, settings);
  if (standing == Standing::quarantine)
    return passed(record.since, now, settings.quarantine) && !passed(record.first_seen, now, settings.channel_life);
  return standing == Standing::active || standing == Standing::renew_due;
}

ReadingResult apply_reading(ChannelRecord& record, const ChannelReading& reading, std::string_view pfn, WallTime now,
                            const WnsSettings& settings) {
  ReadingResult result;
  if (record.enrollment != reading.enrollment) {
    result.enrolled_anew = !record.enrollment.empty();
    ChannelRecord fresh;
    fresh.enrollment = reading.enrollment.substr(0, 128);
    // The PFN may have been set in this very session, before its first reading.
    if (record.enrollment.empty()) {
      fresh.pfn_asked = record.pfn_asked;
      fresh.pfn_set = record.pfn_set;
    }
    record = std::move(fresh);
    result.changed = true;
  }
  record.last_read = now;
  if (record.push_status != reading.push_status && reading.push_status) {
    record.push_status = reading.push_status;
    result.changed = true;
    if (*reading.push_status == 8) record.unsupported_until = now + settings.push_unsupported;
  }

  if (!reading.uri || reading.uri->empty()) {
    if (record.state == State::dead || record.state == State::none) return result;
    record.uri.clear();
    become(record, State::none, {}, now);
    result.changed = true;
    return result;
  }
  if (record.uri == *reading.uri) return result;  // does not revive a dead one, nor make it younger

  if (!passed(record.changes_day, now, day)) {
    if (record.changes >= settings.uri_changes_per_day) {
      result.flapping = true;
      return result;
    }
  } else {
    record.changes_day = now;
    record.changes = 0;
  }
  ++record.changes;
  result.changed = true;
  if (!parse_channel_uri(*reading.uri)) {
    result.refused = true;
    result.host = claimed_host(*reading.uri);
    record.uri.clear();
    become(record, State::invalid, "the device reported an address that is not one of WNS", now);
    return result;
  }
  record.uri = *reading.uri;
  record.first_seen = now;
  if (!record.pfn_asked.empty()) record.pfn = std::exchange(record.pfn_asked, {});
  if (record.pfn.empty()) record.pfn = pfn;
  become(record, State::active, {}, now);
  result.new_channel = true;
  return result;
}

bool end_channel(ChannelRecord& record, std::string_view pushed_uri, State to, std::string why, WallTime now) {
  if (record.uri != pushed_uri || record.state == State::none || record.state == State::invalid) return false;
  become(record, to, std::move(why), now);
  record.ended_since_set = to == State::dead;
  return true;
}

bool take_pfn_turn(ChannelRecord& record, const std::string& pfn, bool pfn_still_configured, WallTime now, const WnsSettings& settings) {
  if (now < record.unsupported_until) return false;
  std::erase_if(record.pfn_set, [&](WallTime at) { return passed(at, now, day); });
  const bool healthy = record.state == State::active && !passed(record.first_seen, now, settings.channel_replace_age) &&
                       status_is_fine(record.push_status) && pfn_still_configured;
  // A 403 is for the app's operator to mend; another PFN than the device's would only be one more.
  if (healthy || (record.state == State::quarantine && pfn_still_configured)) return false;
  // Once a day; at once when it was never set, when the channel ended since, when the device says it expired, and when it has
  // another app's.
  const bool at_once = record.pfn_set.empty() || record.ended_since_set ||
                       record.push_status == 5 || (!pfn_still_configured && record.pfn_asked != pfn);
  if (record.pfn_set.size() >= settings.pfn_attempts_per_day) return false;
  if (!at_once && !passed(record.pfn_set.back(), now, settings.pfn_spacing)) return false;
  record.pfn_set.push_back(now);
  record.ended_since_set = false;
  record.pfn_asked = pfn;
  return true;
}

std::string encode_record(const ChannelRecord& record) {
  json::array pfn_set;
  for (const WallTime at : record.pfn_set) pfn_set.push_back(to_millis(at));
  json::object object{{"v", 1},
                      {"state", state_words[static_cast<std::size_t>(record.state)]},
                      {"why", record.why},
                      {"enrollment", record.enrollment},
                      {"pfn", record.pfn},
                      {"pfn_asked", record.pfn_asked},
                      {"uri", record.uri},
                      {"first_seen", to_millis(record.first_seen)},
                      {"last_read", to_millis(record.last_read)},
                      {"since", to_millis(record.since)},
                      {"unsupported_until", to_millis(record.unsupported_until)},
                      {"pfn_set", std::move(pfn_set)},
                      {"changes_day", to_millis(record.changes_day)},
                      {"changes", record.changes},
                      {"ended_since_set", record.ended_since_set}};
  if (record.push_status) object["push_status"] = *record.push_status;
  return json::serialize(object);
}

Result<ChannelRecord> decode_record(std::string_view text) {
  const auto broken = [] { return fail(Remedy::reject, "wns.record", "A channel's record in the store cannot be read."); };
  json::error_code error;
  const json::value document = json::parse(json::string_view(text.data(), text.size()), error);
  const auto* object = error ? nullptr : document.if_object();
  if (!object) return broken();
  bool sound = true;
  const auto text_of = [&](const char* key) {
    const auto* value = object->if_contains(key);
    if (!value || !value->is_string()) return sound = false, std::string();
    return std::string(value->get_string().data(), value->get_string().size());
  };
  const auto number_of = [&](const char* key) -> std::int64_t {
    const auto* value = object->if_contains(key);
    if (!value || !value->is_int64()) return sound = false, 0;
    return value->get_int64();
  };
  ChannelRecord record;
  const std::string state = text_of("state");
  const auto found = std::find(state_words.begin(), state_words.end(), state);
  if (number_of("v") != 1 || found == state_words.end()) return broken();
  record.state = static_cast<State>(found - state_words.begin());
  record.why = text_of("why");
  record.enrollment = text_of("enrollment");
  record.pfn = text_of("pfn");
  record.pfn_asked = text_of("pfn_asked");
  record.uri = text_of("uri");
  record.first_seen = from_millis(number_of("first_seen"));
  record.last_read = from_millis(number_of("last_read"));
  record.since = from_millis(number_of("since"));
  record.unsupported_until = from_millis(number_of("unsupported_until"));
  record.changes_day = from_millis(number_of("changes_day"));
  record.changes = static_cast<std::uint32_t>(number_of("changes"));
  const auto* ended = object->if_contains("ended_since_set");
  if (!ended || !ended->is_bool()) return broken();
  record.ended_since_set = ended->get_bool();
  if (const auto* status = object->if_contains("push_status")) {
    if (!status->is_int64()) return broken();
    record.push_status = static_cast<int>(status->get_int64());
  }
  const auto* times = object->if_contains("pfn_set");
  if (!times || !times->is_array() || times->get_array().size() > 64) return broken();
  for (const json::value& at : times->get_array()) {
    if (!at.is_int64()) return broken();
    record.pfn_set.push_back(from_millis(at.get_int64()));
  }
  if (!sound) return broken();
  return record;
}

}  // namespace greengate::adapters
