#include "simulators/notification_server/engine.h"

#include <algorithm>
#include <charconv>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace json = boost::json;
using std::chrono::milliseconds;

namespace {

using Answer = std::pair<unsigned, std::string>;

constexpr std::size_t page_max = 10'000;
constexpr std::size_t push_clients_max = 200'000;
constexpr std::size_t task_param_bytes_max = 256 * 1024;

Answer ok(const json::value& value) {
  return {200, json::serialize(value)};
}

Answer error(unsigned status, std::string_view code, std::string_view message) {
  return {status, json::serialize(json::value{{"error", {{"code", code}, {"message", message}}}})};
}

Answer error(unsigned status, const Error& why) {
  return error(status, why.code, why.message);
}

json::value time_value(WallTime time) {
  return time == WallTime{} ? json::value() : json::value(to_millis(time));
}

std::size_t query_number(std::string_view query, std::string_view name, std::size_t otherwise) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    std::string_view one = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (!one.starts_with(name) || one.size() <= name.size() || one[name.size()] != '=') continue;
    one.remove_prefix(name.size() + 1);
    std::size_t value = 0;
    const auto read = std::from_chars(one.data(), one.data() + one.size(), value);
    if (read.ec == std::errc() && read.ptr == one.data() + one.size()) return value;
  }
  return otherwise;
}

bool is_guid(std::string_view text) {
  return is_sms_id("GUID:" + std::string(text));
}

bool is_base64(std::string_view text) {
  return text.size() % 4 == 0 && std::ranges::all_of(text, [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '+' || c == '/' || c == '=';
         });
}

// ---- settings by name ---------------------------------------------------------------------------

struct TextSetting {
  const char* name;
  std::string NotifyConfig::*member;
  std::vector<std::string_view> values;  // empty: any text of at most 255 characters
  bool while_running = true;
};
struct NumberSetting {
  const char* name;
  std::int64_t NotifyConfig::*member;
  std::int64_t least, most;
  bool while_running = true;
};
struct SwitchSetting {
  const char* name;
  bool NotifyConfig::*member;
};
struct PathSetting {
  const char* name;
  std::filesystem::path NotifyConfig::*member;
};

using C = NotifyConfig;
constexpr std::int64_t u32_max = 0xffff'ffff;
constexpr std::int64_t day_ms = 86'400'000;

const std::vector<TextSetting>& text_settings() {
  static const std::vector<TextSetting> all{
      {"bind_address", &C::bind_address, {}, false},
      {"profile", &C::profile, {"A", "B", "C", "A8", "A16"}, false},
      {"byte_order", &C::byte_order, {"little", "big"}, false},
      {"header_size_means", &C::header_size_means, {"fixed", "xml"}, false},
      {"payload_size_means", &C::payload_size_means, {"payload", "frame"}, false},
      {"channel_means", &C::channel_means, {"type", "constant"}, false},
      {"text",
       &C::text,
       {"utf-16le", "utf-8", "utf-16le+bom", "utf-16le+nul", "utf-8+bom", "utf-8+nul"},
       false},
      {"compression", &C::compression, {"none", "zlib"}, false},
      {"message_version", &C::message_version, {}},
      {"client_type", &C::client_type, {}},
      {"server_name", &C::server_name, {}, false},
      {"certificate_state", &C::certificate_state, {"valid", "expired", "not-yet"}, false},
      {"tls_min", &C::tls_min, {"1.2", "1.3"}, false},
      {"refuse_as", &C::refuse_as, {"close", "disconnect-frame", "silence", "tls-alert"}},
      {"duplicate_signin", &C::duplicate_signin, {"replace", "reject", "both"}},
      {"offline_rule", &C::offline_rule, {"socket", "silence"}},
      {"client_disconnect", &C::client_disconnect, {"refuse", "accept"}},
      {"evidence", &C::evidence, {"all", "violations"}},
  };
  return all;
}

const std::vector<NumberSetting>& number_settings() {
  static const std::vector<NumberSetting> all{
      {"channel_constant", &C::channel_constant, 0, u32_max, false},
      {"type_numbers_from", &C::type_numbers_from, 0, 1, false},
      {"major", &C::major, 0, 255, false},
      {"minor", &C::minor, 0, 255, false},
      {"payload_bytes_max", &C::payload_bytes_max, 1024, 16 << 20, false},
      {"handshake_timeout_ms", &C::handshake_timeout_ms, 1, day_ms},
      {"signin_timeout_ms", &C::signin_timeout_ms, 1, day_ms},
      {"frame_timeout_ms", &C::frame_timeout_ms, 1, day_ms},
      {"response_limit_ms", &C::response_limit_ms, 1, day_ms},
      {"pending_push_delay_max_ms", &C::pending_push_delay_max_ms, 0, day_ms},
      {"negotiation_open_ms", &C::negotiation_open_ms, 0, day_ms},
      {"client_close_limit_ms", &C::client_close_limit_ms, 1, day_ms},
      {"grace_ms", &C::grace_ms, 0, day_ms},
      {"silence_ms", &C::silence_ms, 1, day_ms},
      {"accounting_ms", &C::accounting_ms, 10, day_ms},
      {"task_report_ms", &C::task_report_ms, 0, day_ms},
      {"script_task_life_ms", &C::script_task_life_ms, 1, 30 * day_ms},
      {"task_life_ms", &C::task_life_ms, 1, 30 * day_ms},
      {"timestamp_skew_warn_ms", &C::timestamp_skew_warn_ms, 0, 30 * day_ms},
      {"timestamp_offset_ms", &C::timestamp_offset_ms, -30 * day_ms, 30 * day_ms},
      {"black_hole_ms", &C::black_hole_ms, 1, day_ms},
      {"throttle_sends", &C::throttle_sends, 0, 1'000'000},
      {"throttle_slice_ms", &C::throttle_slice_ms, 1, 60'000},
      {"sessions_max", &C::sessions_max, 1, 1'000'000},
      {"clients_max", &C::clients_max, 1, 1'000'000},
      {"out_bytes_max", &C::out_bytes_max, 4096, 64 << 20},
      {"pushes_max", &C::pushes_max, 1, 1'000'000},
      {"deliveries_max", &C::deliveries_max, 1, 100'000'000},
      {"violations_kept", &C::violations_kept, 1, 1'000'000},
      {"faults_max", &C::faults_max, 1, 10'000},
      {"evidence_bytes_max", &C::evidence_bytes_max, 4096, 1LL << 40, false},
  };
  return all;
}

const std::vector<SwitchSetting>& switch_settings() {
  static const std::vector<SwitchSetting> all{
      {"check_certificate", &C::check_certificate},
      {"check_key", &C::check_key},
      {"check_smsid_form", &C::check_smsid_form},
      {"check_blocked", &C::check_blocked},
      {"check_approved", &C::check_approved},
      {"allow_unknown_members", &C::allow_unknown_members},
      {"close_on_schema_violation", &C::close_on_schema_violation},
  };
  return all;
}

const std::vector<PathSetting>& path_settings() {
  static const std::vector<PathSetting> all{
      {"dir", &C::dir}, {"certificate_file", &C::certificate_file}, {"key_file", &C::key_file}};
  return all;
}

std::string complaint(const NotifyConfig& config) {
  for (const auto& s : text_settings()) {
    const std::string& value = config.*s.member;
    if (value.size() > 255) return std::string(s.name) + " is too long.";
    if (!s.values.empty() && std::ranges::find(s.values, value) == s.values.end()) {
      std::string may;
      for (const auto one : s.values) may += (may.empty() ? "" : ", ") + std::string(one);
      return std::string(s.name) + " is \"" + value + "\"; it can be " + may + ".";
    }
  }
  for (const auto& s : number_settings()) {
    const std::int64_t value = config.*s.member;
    if (value < s.least || value > s.most)
      return std::string(s.name) + " is " + std::to_string(value) + "; it can be " +
             std::to_string(s.least) + " to " + std::to_string(s.most) + ".";
  }
  if (config.certificate_file.empty() != config.key_file.empty())
    return "certificate_file and key_file go together.";
  return "";
}

template <class Settings>
auto named(const Settings& settings, std::string_view name) {
  return std::ranges::find_if(settings, [&](const auto& s) { return name == s.name; });
}

}  // namespace

Result<NotifyConfig> notify_config_from_json(std::string_view text, NotifyConfig base) {
  const auto wrong = [](std::string why) {
    return fail(Remedy::reject, "notify.settings", std::move(why));
  };
  boost::system::error_code bad;
  const json::value value = json::parse(json::string_view(text.data(), text.size()), bad);
  if (bad || !value.is_object()) return wrong("Settings are a JSON object.");
  for (const auto& [key, given] : value.get_object()) {
    const std::string name(key);
    const auto kind = [&](const char* what) { return wrong(name + " is not " + what + "."); };
    if (name == "port") {
      const auto* number = given.if_int64();
      if (number == nullptr || *number < 0 || *number > 65'535) return kind("a port");
      base.port = static_cast<std::uint16_t>(*number);
    } else if (const auto s = named(text_settings(), name); s != text_settings().end()) {
      if (!given.is_string()) return kind("text");
      base.*s->member = given.get_string();
    } else if (const auto n = named(number_settings(), name); n != number_settings().end()) {
      if (!given.is_int64()) return kind("a whole number");
      base.*n->member = given.get_int64();
    } else if (const auto b = named(switch_settings(), name); b != switch_settings().end()) {
      if (!given.is_bool()) return kind("true or false");
      base.*b->member = given.get_bool();
    } else if (const auto p = named(path_settings(), name); p != path_settings().end()) {
      if (!given.is_string()) return kind("a path");
      base.*p->member = std::string(given.get_string());
    } else {
      return wrong("There is no setting \"" + name + "\".");
    }
  }
  if (std::string why = complaint(base); !why.empty()) return wrong(std::move(why));
  return base;
}

std::pair<unsigned, std::string> NotifyEngine::admin(const std::string& method, std::string path,
                                                     const std::string& body) {
  if (!running_) return error(503, "notify.stopped", "The server is not running.");
  run_due();
  session_lines_.flush();
  message_lines_.flush();
  report_lines_.flush();

  std::string query;
  if (const std::size_t mark = path.find('?'); mark != std::string::npos) {
    query = path.substr(mark + 1);
    path.resize(mark);
  }
  if (path.starts_with("/notify")) path.erase(0, 7);
  while (path.starts_with('/')) path.erase(0, 1);
  const std::size_t offset = query_number(query, "offset", 0);
  const std::size_t limit = std::min(query_number(query, "limit", 1000), page_max);
  const bool get = method == "GET", post = method == "POST";

  if (get && path == "sessions") return show_sessions(offset, limit);
  if (get && path.starts_with("clients/")) return show_client(path.substr(8));
  if (get && path == "pushes") return show_pushes();
  if (get && path.starts_with("pushes/")) {
    std::uint64_t id = 0;
    const char* end = path.data() + path.size();
    const auto read = std::from_chars(path.data() + 7, end, id);
    if (read.ec != std::errc() || read.ptr != end)
      return error(404, "notify.no_push", "A push is named by its number.");
    return show_push(id, offset, limit);
  }
  if (get && path == "stats") return show_stats();
  if (get && path == "violations") return show_violations(offset, limit);
  if (get && path == "faults") return show_faults();
  if (get && path == "settings") return change_settings("{}");
  if (method == "DELETE" && path == "faults") {
    const std::size_t count = faults_.size();
    faults_.clear();
    return ok({{"removed", count}});
  }
  static constexpr std::array<std::string_view, 6> takers{"push",     "disconnect", "faults",
                                                          "settings", "report",     "resync"};
  if (post && std::ranges::find(takers, path) != takers.end()) {
    boost::system::error_code bad;
    json::value value = body.empty() ? json::value(json::object()) : json::parse(body, bad);
    if (bad) return error(400, "notify.json", "The body is not JSON.");
    if (path == "faults") return add_faults(value);
    if (!value.is_object()) return error(400, "notify.json", "The body is not a JSON object.");
    if (path == "push") return push_now(value.get_object());
    if (path == "disconnect") return disconnect_now(value.get_object());
    if (path == "settings") return change_settings(json::serialize(value));
    if (path == "resync") online_full_due_ = true;
    if (path == "report") account(online_full_due_);
    report_lines_.flush();
    return ok({{"version", online_version_}});
  }
  if (!get && !post && method != "DELETE")
    return error(405, "notify.method", "GET, POST or DELETE.");
  return error(404, "notify.no_path",
               "There is nothing at /notify/" + path + " for " + method + ".");
}

Answer NotifyEngine::show_sessions(std::size_t offset, std::size_t limit) const {
  static constexpr std::array<const char*, 7> phases{
      "handshaking", "signing_in", "unconfirmed", "online", "refused", "black_hole", "closed"};
  std::vector<SessionId> ids;
  ids.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) ids.push_back(id);
  std::ranges::sort(ids);
  json::array list;
  for (std::size_t i = offset; i < ids.size() && i - offset < limit; ++i) {
    const Session& s = *sessions_.at(ids[i]);
    list.push_back({{"session", s.id},
                    {"sms_id", sms_id_of(s)},
                    {"state", phases[static_cast<std::size_t>(s.phase)]},
                    {"leaving", s.leaving},
                    {"since", time_value(s.since)},
                    {"frames_in", s.frames_in},
                    {"frames_out", s.frames_out}});
  }
  return ok({{"total", ids.size()}, {"sessions", std::move(list)}});
}

Answer NotifyEngine::show_client(const std::string& sms_id) const {
  const auto found = client_numbers_.find(sms_id);
  if (found == client_numbers_.end())
    return error(404, "notify.no_client", "No client of that SMSID has been here.");
  const Client& client = clients_[found->second];
  json::array sessions, waiting;
  for (const SessionId id : client.sessions) sessions.emplace_back(id);
  for (const std::uint64_t id : client.waiting) waiting.emplace_back(id);
  return ok({{"sms_id", client.sms_id},
             {"client_version", client.version},
             {"online", is_online(client)},
             {"connected", !client.sessions.empty()},
             {"sessions", std::move(sessions)},
             {"waiting_pushes", std::move(waiting)},
             {"last_message_at", time_value(client.last_seen)},
             {"sign_ins", client.sign_ins},
             {"keep_alives", client.keep_alives},
             {"responses", client.responses},
             {"violations", client.violations}});
}

Answer NotifyEngine::show_pushes() const {
  json::array list;
  for (const auto& [id, push] : pushes_)
    list.push_back({{"push_id", id},
                    {"task_id", push.task_id},
                    {"task_guid", push.task_guid},
                    {"task_type", push.task_type},
                    {"made_at", time_value(push.made)},
                    {"clients", push.deliveries.size()},
                    {"answered", push.answered},
                    {"failed", push.failed},
                    {"expired", push.expired}});
  return ok({{"pushes", std::move(list)}});
}

Answer NotifyEngine::show_push(std::uint64_t id, std::size_t offset, std::size_t limit) const {
  static constexpr std::array<const char*, 4> states{"pending", "sent", "answered", "expired"};
  const auto found = pushes_.find(id);
  if (found == pushes_.end()) return error(404, "notify.no_push", "There is no such push.");
  const Push& push = found->second;
  std::vector<ClientNumber> numbers;
  for (const auto& [number, delivery] : push.deliveries) numbers.push_back(number);
  std::ranges::sort(numbers);
  json::array list;
  for (std::size_t i = offset; i < numbers.size() && i - offset < limit; ++i) {
    const Delivery& d = push.deliveries.at(numbers[i]);
    json::object one{{"sms_id", clients_[numbers[i]].sms_id},
                     {"state", states[static_cast<std::size_t>(d.state)]},
                     {"sends", d.sends},
                     {"sent_at", time_value(d.sent_at)},
                     {"answered_at", time_value(d.answered_at)},
                     {"late", d.late}};
    one["round_trip_ms"] = d.ever_answered ? json::value(d.round_trip_ms) : json::value();
    one["return_code"] = d.ever_answered ? json::value(d.return_code) : json::value();
    if (d.fault != nullptr) one["fault"] = d.fault;
    list.push_back(std::move(one));
  }
  return ok({{"push_id", push.id},
             {"task_id", push.task_id},
             {"task_guid", push.task_guid},
             {"task_type", push.task_type},
             {"task_param", push.task_param},
             {"made_at", time_value(push.made)},
             {"expired", push.expired},
             {"total", numbers.size()},
             {"answered", push.answered},
             {"failed", push.failed},
             {"clients", std::move(list)}});
}

Answer NotifyEngine::show_stats() const {
  std::size_t online = 0, connected = 0;
  for (const Client& client : clients_) {
    online += is_online(client) ? 1 : 0;
    connected += client.sessions.empty() ? 0 : 1;
  }
  json::object counts;
  for (const auto& [name, count] : counts_) counts[name] = count;
  return ok(
      {{"sessions", sessions_.size()},
       {"connected", connected},
       {"online", online},
       {"clients", clients_.size()},
       {"send_queue", send_queue_.size()},
       {"deliveries", deliveries_},
       {"violations", violation_total_},
       {"online_version", online_version_},
       {"evidence_lost", session_lines_.lost() + message_lines_.lost() + report_lines_.lost()},
       {"counts", std::move(counts)}});
}

Answer NotifyEngine::show_violations(std::size_t offset, std::size_t limit) const {
  json::object by_code;
  for (const auto& [code, count] : violation_counts_) by_code[code] = count;
  json::array list;
  for (std::size_t i = offset; i < violations_.size() && i - offset < limit; ++i) {
    const Violation& v = violations_[i];
    list.push_back({{"at", time_value(v.at)},
                    {"session", v.session},
                    {"sms_id", v.sms_id},
                    {"code", v.finding.code},
                    {"section", v.finding.section},
                    {"severity", severity_name(v.finding.severity)},
                    {"detail", v.finding.detail}});
  }
  return ok({{"total", violation_total_},
             {"by_code", std::move(by_code)},
             {"kept", violations_.size()},
             {"violations", std::move(list)}});
}

Answer NotifyEngine::show_faults() const {
  json::array list;
  for (const FaultRule& rule : faults_) list.push_back(describe_fault(rule));
  return ok({{"faults", std::move(list)}});
}

Answer NotifyEngine::add_faults(const json::value& body) {
  std::vector<FaultRule> added;
  const auto add = [&](const json::value& one) -> Result<void> {
    auto rule = read_fault(one, now());
    if (!rule) return pass(rule);
    added.push_back(std::move(*rule));
    return {};
  };
  if (body.is_array()) {
    for (const json::value& one : body.get_array())
      if (auto done = add(one); !done) return error(400, done.error());
  } else if (auto done = add(body); !done) {
    return error(400, done.error());
  }
  // Rules that are used up make room for new ones; until then they show how often they applied.
  if (static_cast<std::int64_t>(faults_.size() + added.size()) > config_.faults_max)
    std::erase_if(faults_, [](const FaultRule& rule) { return rule.count == 0; });
  if (static_cast<std::int64_t>(faults_.size() + added.size()) > config_.faults_max)
    return error(507, "notify.faults_full", "Too many fault rules; DELETE /notify/faults first.");
  json::array list;
  for (FaultRule& rule : added) {
    rule.id = next_fault_++;
    list.push_back(describe_fault(rule));
    faults_.push_back(std::move(rule));
  }
  return ok({{"faults", std::move(list)}});
}

Result<std::vector<NotifyEngine::ClientNumber>> NotifyEngine::named_clients(
    const json::object& body) {
  const auto wrong = [](std::string why) {
    return fail(Remedy::reject, "notify.clients", std::move(why));
  };
  std::vector<ClientNumber> numbers;
  const json::value* given = body.if_contains("clients");
  if (given != nullptr && given->is_string() && given->get_string() == "all") {
    for (ClientNumber n = 0; n < clients_.size(); ++n) numbers.push_back(n);
    return numbers;
  }
  if (given == nullptr || !given->is_array() || given->get_array().size() > push_clients_max)
    return wrong("\"clients\" is \"all\" or a list of SMSIDs.");
  for (const json::value& one : given->get_array())
    if (!one.is_string() || !is_sms_id(std::string_view(one.get_string())))
      return wrong("An SMSID is GUID: and an upper-case GUID.");
  for (const json::value& one : given->get_array()) {
    const ClientNumber number = number_of(std::string(one.get_string()), true);
    if (number == nobody) return wrong("Too many clients.");
    numbers.push_back(number);
  }
  return numbers;
}

Answer NotifyEngine::push_now(const json::object& body) {
  std::uint32_t type = 1;
  std::string param, guid;
  for (const auto& [key, value] : body) {
    if (key == "clients") continue;
    if (key == "task_type" && value.is_int64() && value.get_int64() >= 0 &&
        value.get_int64() <= u32_max) {
      type = static_cast<std::uint32_t>(value.get_int64());
    } else if (key == "task_param" && value.is_string() &&
               value.get_string().size() <= task_param_bytes_max &&
               is_base64(std::string_view(value.get_string()))) {
      param = value.get_string();
    } else if (key == "task_guid" && value.is_null()) {
      continue;
    } else if (key == "task_guid" && value.is_string() &&
               is_guid(std::string_view(value.get_string()))) {
      guid = value.get_string();
    } else {
      return error(400, "notify.push",
                   "\"" + std::string(key) + "\" is unknown or has a value that cannot be used.");
    }
  }
  auto numbers = named_clients(body);
  if (!numbers) return error(400, numbers.error());
  if (deliveries_ + static_cast<std::int64_t>(numbers->size()) > config_.deliveries_max)
    return error(507, "notify.deliveries_full", "Too many deliveries are kept already.");
  auto made = make_push(type, std::move(param), std::move(guid));
  if (!made) return error(507, made.error());
  Push& push = **made;
  for (const ClientNumber number : *numbers) owe(push, number);
  std::size_t sent = 0;
  for (const auto& [number, delivery] : push.deliveries) {
    if (clients_[number].sessions.empty()) continue;
    const SessionPtr session = find_session(clients_[number].sessions.back());
    if (!session || session->phase != Phase::online || session->leaving) continue;
    ++sent;
  }
  for (const ClientNumber number : *numbers)
    if (!clients_[number].sessions.empty()) enqueue(push, number);
  const json::object answer{{"push_id", push.id},
                            {"task_id", push.task_id},
                            {"task_guid", push.task_guid},
                            {"sent", sent},
                            {"pending", push.deliveries.size() - sent}};
  pump();
  return ok(answer);
}

Answer NotifyEngine::disconnect_now(const json::object& body) {
  std::string how = "frame";
  std::int64_t spread_ms = 0;
  bool all = false;
  for (const auto& [key, value] : body) {
    if (key == "clients") continue;
    if (key == "all" && value.is_bool()) {
      all = value.get_bool();
    } else if (key == "how" && value.is_string() &&
               (value.get_string() == "frame" || value.get_string() == "close")) {
      how = value.get_string();
    } else if (key == "spread_ms" && value.is_int64() && value.get_int64() >= 0 &&
               value.get_int64() <= day_ms) {
      spread_ms = value.get_int64();
    } else {
      return error(400, "notify.disconnect",
                   "\"" + std::string(key) + "\" is unknown or has a value that cannot be used.");
    }
  }
  std::vector<SessionId> ids;
  if (all) {
    for (const auto& [id, session] : sessions_)
      if (session->phase == Phase::online || session->phase == Phase::unconfirmed)
        ids.push_back(id);
  } else {
    auto numbers = named_clients(body);
    if (!numbers) return error(400, numbers.error());
    for (const ClientNumber number : *numbers)
      ids.insert(ids.end(), clients_[number].sessions.begin(), clients_[number].sessions.end());
  }
  const Due due = how == "frame" ? Due::disconnect_frame : Due::close_session;
  for (const SessionId id : ids) {
    const auto after = spread_ms == 0 ? 0 : dice_() % static_cast<std::uint64_t>(spread_ms);
    agenda_.push({now() + milliseconds(after), due, id});
  }
  run_due();
  return ok({{"sessions", ids.size()}, {"how", how}});
}

Answer NotifyEngine::change_settings(const std::string& body) {
  auto changed = notify_config_from_json(body, config_);
  if (!changed) return error(400, changed.error());
  std::string fixed;
  for (const auto& s : text_settings())
    if (!s.while_running && config_.*s.member != (*changed).*s.member) fixed = s.name;
  for (const auto& s : number_settings())
    if (!s.while_running && config_.*s.member != (*changed).*s.member) fixed = s.name;
  for (const auto& s : path_settings())
    if (config_.*s.member != (*changed).*s.member) fixed = s.name;
  if (changed->port != config_.port) fixed = "port";
  if (!fixed.empty())
    return error(409, "notify.settings_fixed", fixed + " cannot be changed while the server runs.");
  config_ = std::move(*changed);
  json::object all{{"port", port_}};
  for (const auto& s : text_settings()) all[s.name] = config_.*s.member;
  for (const auto& s : number_settings()) all[s.name] = config_.*s.member;
  for (const auto& s : switch_settings()) all[s.name] = config_.*s.member;
  for (const auto& s : path_settings()) all[s.name] = (config_.*s.member).string();
  return ok(all);
}

}  // namespace greengate::sim
