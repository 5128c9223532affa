// Every setting by its name: read from JSON, checked, changed while the server runs, shown.
#include "simulators/notification_server/admin_words.h"
#include "simulators/notification_server/engine.h"

#include <algorithm>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace json = boost::json;

namespace {

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
      {"tls_max", &C::tls_max, {"1.2", "1.3"}, false},
      {"refuse_as", &C::refuse_as, {"close", "disconnect-frame", "silence", "tls-alert"}},
      {"duplicate_signin", &C::duplicate_signin, {"replace", "reject", "both"}},
      {"offline_rule", &C::offline_rule, {"socket", "silence"}},
      {"client_disconnect", &C::client_disconnect, {"refuse", "accept"}},
      {"evidence", &C::evidence, {"all", "violations"}},
      {"http", &C::http, {"off", "http", "https"}, false},
      {"http_cookie", &C::http_cookie, {}},
      {"http_reply_header", &C::http_reply_header, {"none", "xml"}},
      {"hook_signs", &C::hook_signs, {"payload", "client_id", "nothing"}},
      {"hook_text", &C::hook_text, {"base64", "hex"}},
      {"hook_byte_order", &C::hook_byte_order, {"little", "big", "either"}},
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
      {"hang_ms", &C::hang_ms, 1, day_ms},
      {"http_gone_ms", &C::http_gone_ms, 1, day_ms},
      {"http_refuse_status", &C::http_refuse_status, 400, 599},
      {"http_lost_status", &C::http_lost_status, 400, 599},
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
      {"check_hook", &C::check_hook},
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
  if (config.tls_max < config.tls_min) return "tls_max is below tls_min.";
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
    if (name == "port" || name == "http_port") {
      const auto* number = given.if_int64();
      if (number == nullptr || *number < 0 || *number > 65'535) return kind("a port");
      (name == "port" ? base.port : base.http_port) = static_cast<std::uint16_t>(*number);
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
  if (changed->http_port != config_.http_port) fixed = "http_port";
  if (!fixed.empty())
    return error(409, "notify.settings_fixed", fixed + " cannot be changed while the server runs.");
  config_ = std::move(*changed);
  json::object all{{"port", port_}, {"http_port", http_port_}};
  for (const auto& s : text_settings()) all[s.name] = config_.*s.member;
  for (const auto& s : number_settings()) all[s.name] = config_.*s.member;
  for (const auto& s : switch_settings()) all[s.name] = config_.*s.member;
  for (const auto& s : path_settings()) all[s.name] = (config_.*s.member).string();
  return ok(all);
}

}  // namespace greengate::sim
