#include "adapters/wns/settings.h"

#include <algorithm>
#include <cctype>

namespace greengate::adapters {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t apps_max = 16;

// name_publisherhash: the family name, without version, architecture and resource (wns-mdm-push 2.3).
bool is_family_name(const std::string& pfn) {
  const auto underscore = pfn.find('_');
  return pfn.size() <= 200 && underscore != std::string::npos && underscore > 0 && underscore + 1 < pfn.size() &&
         pfn.find('_', underscore + 1) == std::string::npos &&
         std::all_of(pfn.begin(), pfn.end(), [](unsigned char c) { return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_'; });
}

}  // namespace

void WnsSettings::read(ConfigReader& reader) {
  reader.read("wns.enabled", enabled);
  reader.read("wns.ca_file", ca_file);
  reader.read("wns.connect_override", connect_override);
  reader.read("wns.public_addresses_only", public_addresses_only);
  reader.read("wns.fingerprint_key_file", fingerprint_key_file);
  reader.read("wns.entra_scope", entra_scope);
  reader.read("wns.connect_timeout", connect_timeout);
  reader.read("wns.tls_timeout", tls_timeout);
  reader.read("wns.push_timeout", push_timeout);
  reader.read("wns.token_timeout", token_timeout);
  reader.read_bytes("wns.reply_header_bytes_max", reply_header_bytes_max);
  reader.read_bytes("wns.reply_body_bytes_max", reply_body_bytes_max);
  reader.read_bytes("wns.token_body_bytes_max", token_body_bytes_max);
  reader.read("wns.ttl_min", ttl_min);
  reader.read("wns.ttl_max", ttl_max);
  reader.read("wns.poll_interval", poll_interval);
  reader.read("wns.confirm_after", confirm_after);
  reader.read("wns.attributed_within", attributed_within);
  reader.read("wns.push_spacing", push_spacing);
  reader.read("wns.pushes_per_wake_max", pushes_per_wake_max);
  reader.read("wns.retry_cap", retry_cap);
  reader.read("wns.batch_devices_max", batch_devices_max);
  reader.read("wns.session_life_max", session_life_max);
  reader.read("wns.in_flight_max_per_app", in_flight_max_per_app);
  reader.read("wns.pushes_per_second", pushes_per_second);
  reader.read("wns.pushes_burst", pushes_burst);
  reader.read("wns.sessions_per_second", sessions_per_second);
  reader.read("wns.connections_per_host_max", connections_per_host_max);
  reader.read("wns.connection_idle", connection_idle);
  reader.read("wns.breaker_failures", breaker_failures);
  reader.read("wns.breaker_base", breaker_base);
  reader.read("wns.breaker_cap", breaker_cap);
  reader.read("wns.channel_throttle", channel_throttle);
  reader.read("wns.app_throttle", app_throttle);
  reader.read("wns.retry_after_max", retry_after_max);
  reader.read("wns.ramp_start_percent", ramp_start_percent);
  reader.read("wns.ramp_step", ramp_step);
  reader.read("wns.token_life_max", token_life_max);
  reader.read("wns.token_margin_max", token_margin_max);
  reader.read("wns.token_backoff_base", token_backoff_base);
  reader.read("wns.token_backoff_cap", token_backoff_cap);
  reader.read("wns.credentials_refused_retry", credentials_refused_retry);
  reader.read("wns.credentials_suspect_window", credentials_suspect_window);
  reader.read("wns.credentials_suspect_probe", credentials_suspect_probe);
  reader.read("wns.secrets_check", secrets_check);
  reader.read("wns.channel_renew_due", channel_renew_due);
  reader.read("wns.channel_replace_age", channel_replace_age);
  reader.read("wns.channel_life", channel_life);
  reader.read("wns.pfn_spacing", pfn_spacing);
  reader.read("wns.pfn_attempts_per_day", pfn_attempts_per_day);
  reader.read("wns.push_unsupported", push_unsupported);
  reader.read("wns.quarantine", quarantine);
  reader.read("wns.uri_changes_per_day", uri_changes_per_day);
  reader.read("wns.channels_in_memory_max", channels_in_memory_max);

  apps.assign(std::min(reader.table_count("wns.app"), apps_max + 1), {});
  for (std::size_t i = 0; i < apps.size(); ++i) {
    const std::string table = "wns.app[" + std::to_string(i) + "].";
    WnsApp& app = apps[i];
    reader.read(table + "pfn", app.pfn);
    reader.read(table + "auth", app.auth);
    reader.read(table + "client_id", app.client_id);
    reader.read(table + "secret_files", app.secret_files);
    reader.read(table + "tenant", app.tenant);
    std::transform(app.pfn.begin(), app.pfn.end(), app.pfn.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  }
}

std::vector<ConfigProblem> WnsSettings::problems() const {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const std::string& key, const std::string& message) {
    found.push_back({"wns." + key, "wns." + key + " " + message});
  };
  const auto between = [&](const char* key, milliseconds value, milliseconds low, milliseconds high) {
    if (value < low || value > high)
      complain(key, "is " + duration_text(value) + "; it can be " + duration_text(low) + " to " + duration_text(high) + ".");
  };
  const auto count = [&](const char* key, std::int64_t value, std::int64_t low, std::int64_t high) {
    if (value < low || value > high)
      complain(key, "is " + std::to_string(value) + "; it can be " + std::to_string(low) + " to " + std::to_string(high) + ".");
  };
  constexpr milliseconds second(1'000), minute(60'000), hour(3'600'000), day(86'400'000);

  if (apps.empty()) complain("app", "is missing; give at least one [[wns.app]] with pfn, client_id and secret_files.");
  if (apps.size() > apps_max) complain("app", "is there more than 16 times.");
  for (std::size_t i = 0; i < apps.size(); ++i) {
    const WnsApp& app = apps[i];
    const std::string table = "app[" + std::to_string(i) + "].";
    if (!is_family_name(app.pfn))
      complain(table + "pfn", "is \"" + app.pfn + "\"; give the package family name, such as \"fabrikam.mdm_8wekyb3d8bbwe\", without version and architecture.");
    if (app.auth != "legacy" && app.auth != "entra") complain(table + "auth", "is \"" + app.auth + "\"; it can be \"legacy\" or \"entra\".");
    if (app.client_id.empty() || app.client_id.size() > 300) complain(table + "client_id", "is missing; give the app's id.");
    if (app.auth == "legacy" && !app.client_id.starts_with("ms-app://S-1-15-2-") && !app.client_id.starts_with("S-1-15-2-"))
      complain(table + "client_id", "is not a package SID; it has the form \"ms-app://S-1-15-2-...\".");
    if (app.secret_files.empty() || app.secret_files.size() > 2) complain(table + "secret_files", "takes one or two files, the newest first.");
    const bool sound_tenant = std::all_of(app.tenant.begin(), app.tenant.end(),
                                          [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '.'; });
    if (app.auth == "entra" && (app.tenant.empty() || app.tenant.size() > 100 || !sound_tenant))
      complain(table + "tenant", "is \"" + app.tenant + "\"; give the directory's id or domain.");
    for (std::size_t other = 0; other < i; ++other)
      if (apps[other].pfn == app.pfn) complain(table + "pfn", "is there twice.");
  }

  between("connect_timeout", connect_timeout, milliseconds(100), minute);
  between("tls_timeout", tls_timeout, milliseconds(100), minute);
  between("push_timeout", push_timeout, second, 5 * minute);
  between("token_timeout", token_timeout, second, 5 * minute);
  count("reply_header_bytes_max", reply_header_bytes_max, 16 * 1024, 1 << 20);
  count("reply_body_bytes_max", reply_body_bytes_max, 1'024, 1 << 20);
  count("token_body_bytes_max", token_body_bytes_max, 1'024, 1 << 20);
  // WNS answers 400 to a cached push without time to live.
  between("ttl_min", ttl_min, second, day);
  between("ttl_max", ttl_max, ttl_min, 30 * day);
  between("poll_interval", poll_interval, minute, 30 * day);
  if (confirm_after.size() > 6) complain("confirm_after", "takes at most six times.");
  milliseconds before(0);
  for (const std::string& text : confirm_after) {
    const auto time = parse_duration(text);
    if (!time || *time <= before) {
      complain("confirm_after", "takes rising times, such as [\"6min\", \"15min\", \"1h\"].");
      break;
    }
    before = *time;
  }
  between("attributed_within", attributed_within, second, day);
  between("push_spacing", push_spacing, second, day);
  count("pushes_per_wake_max", pushes_per_wake_max, 1, 100);
  between("retry_cap", retry_cap, second, day);
  count("batch_devices_max", batch_devices_max, 1, 1'000'000);
  between("session_life_max", session_life_max, minute, day);
  count("in_flight_max_per_app", in_flight_max_per_app, 1, 1'000);
  count("pushes_per_second", pushes_per_second, 1, 10'000);
  count("pushes_burst", pushes_burst, 1, 10'000);
  count("sessions_per_second", sessions_per_second, 1, 100'000);
  count("connections_per_host_max", connections_per_host_max, 1, 1'000);
  between("connection_idle", connection_idle, second, hour);
  count("breaker_failures", breaker_failures, 1, 1'000);
  between("breaker_base", breaker_base, milliseconds(100), hour);
  between("breaker_cap", breaker_cap, breaker_base, day);
  between("channel_throttle", channel_throttle, second, day);
  between("app_throttle", app_throttle, second, day);
  between("retry_after_max", retry_after_max, second, day);
  count("ramp_start_percent", ramp_start_percent, 1, 100);
  between("ramp_step", ramp_step, second, hour);
  between("token_life_max", token_life_max, second, 30 * day);
  between("token_margin_max", token_margin_max, milliseconds(0), hour);
  between("token_backoff_base", token_backoff_base, milliseconds(100), hour);
  between("token_backoff_cap", token_backoff_cap, token_backoff_base, day);
  between("credentials_refused_retry", credentials_refused_retry, minute, 7 * day);
  between("credentials_suspect_window", credentials_suspect_window, second, day);
  between("credentials_suspect_probe", credentials_suspect_probe, second, day);
  between("secrets_check", secrets_check, second, day);
  between("channel_renew_due", channel_renew_due, hour, 365 * day);
  between("channel_replace_age", channel_replace_age, hour, 365 * day);
  between("channel_life", channel_life, channel_replace_age, 365 * day);
  between("pfn_spacing", pfn_spacing, minute, 365 * day);
  count("pfn_attempts_per_day", pfn_attempts_per_day, 1, 64);
  between("push_unsupported", push_unsupported, minute, 365 * day);
  between("quarantine", quarantine, minute, 365 * day);
  count("uri_changes_per_day", uri_changes_per_day, 1, 10'000);
  count("channels_in_memory_max", channels_in_memory_max, 1'000, 10'000'000);
  return found;
}

}  // namespace greengate::adapters
