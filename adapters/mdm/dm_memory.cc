#include "adapters/mdm/dm_memory.h"

#include <boost/json.hpp>

namespace greengate::adapters {
namespace {

namespace json = boost::json;

constexpr std::size_t kept_max = 64;

template <class T>
void keep_newest(std::vector<T>& list) {
  if (list.size() > kept_max) list.erase(list.begin(), list.end() - static_cast<std::ptrdiff_t>(kept_max));
}

std::string text_in(const json::object& from, const char* key) {
  const json::value* value = from.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}
std::int64_t number_in(const json::object& from, const char* key) {
  const json::value* value = from.if_contains(key);
  if (!value) return 0;
  if (value->is_int64()) return value->get_int64();
  return value->is_uint64() ? static_cast<std::int64_t>(value->get_uint64()) : 0;
}
bool flag_in(const json::object& from, const char* key) {
  const json::value* value = from.if_contains(key);
  return value && value->is_bool() && value->get_bool();
}
WallTime time_in(const json::object& from, const char* key) { return from_millis(number_in(from, key)); }

}  // namespace

std::string write_memory(const DmMemory& memory) {
  json::array once, watches;
  for (const std::uint64_t id : memory.sent_once) once.push_back(static_cast<std::int64_t>(id));
  for (const DmWatch& watch : memory.watches) {
    watches.push_back(json::object{{"notification", static_cast<std::int64_t>(watch.notification)}, {"node", watch.node},
                                   {"before", watch.before}, {"since_ms", to_millis(watch.since)}});
  }
  const PfnRecord& pfn = memory.pfn;
  return json::serialize(json::object{
      {"pfn", json::object{{"name", pfn.pfn}, {"day_ms", to_millis(pfn.day_began)}, {"writes", pfn.writes}, {"failed", pfn.failed_sessions},
                           {"unsupported_until_ms", to_millis(pfn.unsupported_until)}, {"again", pfn.again}, {"outcome", pfn.outcome},
                           {"outcome_ms", to_millis(pfn.outcome_at)}}},
      {"once", std::move(once)},
      {"watches", std::move(watches)},
      {"manufacturer", memory.manufacturer},
      {"model", memory.model},
      {"version", memory.version},
      {"last_session_ms", to_millis(memory.last_session)},
      {"last_messages", memory.last_messages},
      {"last_tasks", memory.last_tasks},
      {"last_end", memory.last_end},
      {"unenrolled", memory.unenrolled}});
}

DmMemory read_memory(const std::string& text, bool& whole) {
  DmMemory memory;
  whole = text.empty();
  if (whole) return memory;
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return memory;
  whole = true;
  const json::object& from = value.get_object();
  if (const json::value* pfn = from.if_contains("pfn"); pfn && pfn->is_object()) {
    const json::object& record = pfn->get_object();
    memory.pfn.pfn = text_in(record, "name");
    memory.pfn.day_began = time_in(record, "day_ms");
    memory.pfn.writes = static_cast<std::uint32_t>(number_in(record, "writes"));
    memory.pfn.failed_sessions = static_cast<std::uint32_t>(number_in(record, "failed"));
    memory.pfn.unsupported_until = time_in(record, "unsupported_until_ms");
    memory.pfn.again = flag_in(record, "again");
    memory.pfn.outcome = text_in(record, "outcome");
    memory.pfn.outcome_at = time_in(record, "outcome_ms");
  }
  if (const json::value* once = from.if_contains("once"); once && once->is_array()) {
    for (const json::value& id : once->get_array()) {
      if (id.is_int64()) memory.sent_once.push_back(static_cast<std::uint64_t>(id.get_int64()));
    }
    keep_newest(memory.sent_once);
  }
  if (const json::value* watches = from.if_contains("watches"); watches && watches->is_array()) {
    for (const json::value& each : watches->get_array()) {
      if (!each.is_object()) continue;
      const json::object& watch = each.get_object();
      memory.watches.push_back({static_cast<std::uint64_t>(number_in(watch, "notification")), text_in(watch, "node"), text_in(watch, "before"),
                                time_in(watch, "since_ms")});
    }
    keep_newest(memory.watches);
  }
  memory.manufacturer = text_in(from, "manufacturer");
  memory.model = text_in(from, "model");
  memory.version = text_in(from, "version");
  memory.last_session = time_in(from, "last_session_ms");
  memory.last_messages = static_cast<std::uint32_t>(number_in(from, "last_messages"));
  memory.last_tasks = static_cast<std::uint32_t>(number_in(from, "last_tasks"));
  memory.last_end = text_in(from, "last_end");
  memory.unenrolled = flag_in(from, "unenrolled");
  return memory;
}

}  // namespace greengate::adapters
