#include "gateway/config.h"

#include "core/config_reader.h"

#include <algorithm>

namespace greengate::gateway {
namespace {

using Complaints = std::vector<ConfigProblem>;

// A word that must be one of a few.
template <class T>
void read_choice(ConfigReader& reader, const std::string& key, T& value,
                 std::initializer_list<std::pair<const char*, T>> choices, Complaints& problems) {
  std::string text, known;
  for (const auto& [name, choice] : choices) {
    if (choice == value) text = name;
    known += (known.empty() ? "\"" : ", \"") + std::string(name) + "\"";
  }
  reader.read(key, text);
  for (const auto& [name, choice] : choices) {
    if (text != name) continue;
    value = choice;
    return;
  }
  problems.push_back({key, key + " is \"" + text + "\"; it can be " + known + "."});
}

void read_gateway(ConfigReader& reader, GatewayConfig& config, Complaints& problems) {
  reader.read("gateway.roles", config.roles);
  reader.read("gateway.log_level", config.log_level);
  reader.read("gateway.admin_socket", config.admin_socket);
  reader.read("gateway.admin_group", config.admin_group);
  reader.read("gateway.observe", config.observe);
  reader.read("gateway.seal_key_file", config.seal_key_file);
  reader.read("gateway.identities_open_max", config.identities_open_max);
  reader.read("gateway.drain_timeout", config.drain_timeout);
  reader.read("gateway.ready_file", config.ready_file);

  if (config.roles.empty()) problems.push_back({"gateway.roles", "gateway.roles is empty; give at least one of \"ingest\", \"deliver\", \"notify\"."});
  for (const std::string& role : config.roles) {
    if (role == "ingest" || role == "deliver" || role == "notify") continue;
    problems.push_back({"gateway.roles", "gateway.roles holds \"" + role + "\"; it can hold \"ingest\", \"deliver\", \"notify\"."});
  }
  if (LogLevel level{}; !parse_log_level(config.log_level, level)) {
    problems.push_back({"gateway.log_level", "gateway.log_level is \"" + config.log_level + "\"; it can be \"debug\", \"info\", \"warn\" or \"error\"."});
  }
  const auto colon = config.observe.rfind(':');
  const std::string host = config.observe.substr(0, colon);
  if (colon == std::string::npos || (host != "127.0.0.1" && host != "[::1]")) {
    problems.push_back({"gateway.observe", "gateway.observe is \"" + config.observe + "\"; it takes a loopback address, such as \"127.0.0.1:9464\": what is shown there has no password."});
  }
  if (config.identities_open_max < 16) {
    problems.push_back({"gateway.identities_open_max", "gateway.identities_open_max is " + std::to_string(config.identities_open_max) + "; it must be at least 16 (4096 if left out)."});
  }
}

void read_store(ConfigReader& reader, store::StoreConfig& config) {
  reader.read("store.kind", config.kind);
  reader.read("store.directory", config.directory);
  reader.read_bytes("store.queue_bytes_max", config.queue_bytes_max);
  reader.read("store.reserve_percent", config.reserve_percent);
  reader.read("store.lease_time", config.lease_time);
  reader.read("store.history_per_device", config.history_per_device);
  reader.read("store.devices_max", config.devices_max);
  reader.read("store.pending_max", config.pending_max);
  reader.read("store.tokens_max", config.tokens_max);
}

void read_size(ConfigReader& reader, const std::string& key, std::size_t& value) {
  auto bytes = static_cast<std::int64_t>(value);
  reader.read_bytes(key, bytes);
  value = static_cast<std::size_t>(bytes);
}

void read_int(ConfigReader& reader, const std::string& key, int& value) {
  std::int64_t wide = value;
  reader.read(key, wide);
  value = static_cast<int>(std::clamp<std::int64_t>(wide, -1'000'000, 1'000'000));
}

void read_site(ConfigReader& reader, SiteConfig& site, adapters::MpSettings& mp, Complaints& problems) {
  reader.read("site.management_points", site.management_points);
  reader.read("site.ca_file", site.ca_file);
  reader.read("site.client_certificate_file", site.client_certificate_file);
  reader.read("site.client_key_file", site.client_key_file);

  using adapters::IdentityMode;
  read_choice(reader, "site.identity_mode", mp.identity_mode,
              {{"per_client_key", IdentityMode::per_client_key}, {"shared_key", IdentityMode::shared_key},
               {"isv_proxy", IdentityMode::isv_proxy}}, problems);
  reader.read("site.shared_identity_file", site.shared_identity_file);
  reader.read("site.proxy_key_file", site.proxy_key_file);
  reader.read("site.proxy_certificate_file", site.proxy_certificate_file);
  reader.read("site.proxy_sms_id", site.proxy_sms_id);
  reader.read("site.proxy_property", mp.proxy_property);
  if (mp.identity_mode == IdentityMode::shared_key && site.shared_identity_file.empty()) {
    problems.push_back({"site.shared_identity_file", "site.shared_identity_file is empty; identity_mode \"shared_key\" keeps the one key there."});
  }
  if (mp.identity_mode == IdentityMode::isv_proxy) {
    if (site.proxy_key_file.empty() || site.proxy_certificate_file.empty()) {
      problems.push_back({"site.proxy_key_file", "site.proxy_key_file or site.proxy_certificate_file is missing; identity_mode \"isv_proxy\" signs with them."});
    }
    if (!adapters::parse_sms_id(site.proxy_sms_id)) {
      problems.push_back({"site.proxy_sms_id", "site.proxy_sms_id is \"" + site.proxy_sms_id + "\"; give what the site shows for the imported certificate, such as \"GUID:5A1B7C3D-0000-4000-8000-00000000A001\"."});
    }
  }

  reader.read("site.site_code", mp.site_code);
  reader.read("site.ad_site", mp.ad_site);
  reader.read("site.request_path", mp.request_path);
  reader.read("site.boundary", mp.boundary);
  reader.read("site.user_agent", mp.user_agent);
  reader.read("site.post_reply_mode", mp.post_reply_mode);
  reader.read("site.reply_compression", mp.reply_compression);
  reader.read("site.timeout", mp.timeout);
  reader.read("site.reply_endpoint", mp.reply_endpoint);
  reader.read("site.offer_registration_reset", mp.offer_registration_reset);
  reader.read("site.compress", mp.compress);
  read_int(reader, "site.compression_level", mp.compression_level);
  reader.read("site.trailing_crlf", mp.trailing_crlf);
  read_choice(reader, "site.hash", mp.hash,
              {{"sha256", adapters::SignatureHash::sha256}, {"sha1", adapters::SignatureHash::sha1}}, problems);
  reader.read("site.send_public_key", mp.send_public_key);
  reader.read("site.send_client_id_signature", mp.send_client_id_signature);
  reader.read("site.client_capabilities", mp.client_capabilities);
  reader.read("site.encrypt", mp.encrypt);
  reader.read("site.verify_reply", mp.verify_reply);
  reader.read("site.certificate_common_name", mp.certificate.common_name);
  reader.read("site.certificate_days", mp.certificate.days);
  reader.read("site.certificate_back_dated_days", mp.certificate.back_dated_days);
  reader.read("site.agent_identity", mp.agent_identity);
  read_int(reader, "site.agent_type", mp.agent_type);
  read_int(reader, "site.key_type", mp.key_type);
  read_choice(reader, "site.registration_hint", mp.registration_hint,
              {{"ca", adapters::HintUse::ca}, {"always", adapters::HintUse::always}, {"never", adapters::HintUse::never}}, problems);
  read_int(reader, "site.internet_flag", mp.internet_flag);
  std::vector<std::string> extra;
  reader.read("site.reg_extra_properties", extra);
  for (const std::string& pair : extra) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      problems.push_back({"site.reg_extra_properties", "site.reg_extra_properties holds \"" + pair + "\"; each takes the form \"NAME=VALUE\"."});
    } else {
      mp.reg_extra_properties[pair.substr(0, equals)] = pair.substr(equals + 1);
    }
  }
  reader.read("site.client_version", mp.client_version);
  reader.read("site.code_page", mp.code_page);
  reader.read("site.lcid", mp.lcid);
  read_choice(reader, "site.inventory_layout", mp.inventory_layout,
              {{"inline", adapters::InventoryLayout::inline_body}, {"attach", adapters::InventoryLayout::attach},
               {"captured", adapters::InventoryLayout::captured}}, problems);
  read_choice(reader, "site.relay_filetype_form", mp.relay_filetype_form,
              {{"element", adapters::FileTypeForm::element}, {"hookprop", adapters::FileTypeForm::hookprop}}, problems);
  read_choice(reader, "site.file_attachment_name", mp.file_attachment_name,
              {{"file_name", adapters::FileAttachmentName::file_name}, {"path", adapters::FileAttachmentName::path}}, problems);
  read_choice(reader, "site.metering_history", mp.metering_history,
              {{"empty", adapters::MeteringHistory::empty}, {"attributes", adapters::MeteringHistory::attributes}}, problems);
  read_int(reader, "site.idmif_action", mp.idmif_action);
  reader.read("site.platform_id", mp.platform_id);
  read_int(reader, "site.state_priority", mp.state_priority);
  reader.read("site.policy_request_type", mp.policy_request_type);
  reader.read("site.policy_validation", mp.policy_validation);
  reader.read("site.forest", mp.forest);
  reader.read("site.domain", mp.domain);
  reader.read("site.update_source_id", mp.update_source_id);
  reader.read("site.update_source_version", mp.update_source_version);
  read_size(reader, "site.policy_body_bytes_max", mp.policy_body_bytes_max);
  read_size(reader, "site.message_bytes_warn", mp.message_bytes_warn);
  read_size(reader, "site.message_bytes_max", mp.message_bytes_max);
  read_size(reader, "site.reply_bytes_max", mp.reply_bytes_max);
  reader.read("site.exchange_timeout", mp.exchange_timeout);
  reader.read("site.retry_after_max", mp.retry_after_max);
  reader.read("site.configuration_retry", mp.configuration_retry);
}

void read_delivery(ConfigReader& reader, workers::PoolConfig& pool, workers::CourierConfig& courier) {
  reader.read("delivery.workers", pool.workers);
  reader.read("delivery.batch_reports_max", pool.batch_reports_max);
  reader.read_bytes("delivery.batch_bytes_max", pool.batch_bytes_max);
  reader.read("delivery.settle_messages_max", pool.settle_messages_max);
  reader.read("delivery.retry_base", pool.retry_base);
  reader.read("delivery.retry_cap", pool.retry_cap);
  reader.read("delivery.state_reports_per_message_max", pool.coalescer.state_reports_max);
  reader.read_bytes("delivery.state_bytes_per_message_max", pool.coalescer.state_bytes_max);
  reader.read("delivery.file_wait_max", pool.file_wait_max);
  reader.read("delivery.in_flight_max_per_mp", courier.in_flight_max_per_mp);
  reader.read("delivery.rest_base", courier.rest.base);
  reader.read("delivery.rest_cap", courier.rest.cap);
  reader.read("delivery.failures_to_rest", courier.failures_to_rest);
  reader.read("delivery.slow_factor", courier.slow_factor);
  reader.read("delivery.slow_floor", courier.slow_floor);
}

void read_pacing(ConfigReader& reader, workers::PacingConfig& pacing) {
  for (const adapters::MessageType type : adapters::all_message_types) {
    reader.read("pacing." + std::string(adapters::name_of(type)), pacing.of(type));
  }
  reader.read("pacing.burst", pacing.burst);
}

void read_registration(ConfigReader& reader, workers::SiteErrandsConfig& config, Complaints& problems) {
  reader.read("registration.workers", config.workers);
  reader.read("registration.keys_ready_max", config.keys_ready_max);
  reader.read("registration.confirm_first", config.confirm_first);
  reader.read("registration.confirm_cap", config.confirm_cap);
  reader.read("registration.rejected_retry", config.rejected_retry);
  reader.read("registration.failure_base", config.failure_base);
  reader.read("registration.failure_cap", config.failure_cap);
  reader.read("registration.refused_base", config.refused_base);
  reader.read("registration.refused_cap", config.refused_cap);
  reader.read("registration.refusals_max", config.refusals_max);
  reader.read("registration.refusal_spacing", config.refusal_spacing);
  reader.read("registration.renew_before", config.renew_before);
  read_choice(reader, "registration.renew_key", config.renew_with_new_key, {{"same", false}, {"new", true}}, problems);
  reader.read("registration.renew_retry", config.renew_retry);
  reader.read("registration.certificate_check", config.certificate_check);
}

void read_site_map(ConfigReader& reader, workers::SiteMapConfig& config) {
  reader.read("site.mp_list_interval", config.mp_list_interval);
  reader.read("site.follow_mp_list", config.follow_mp_list);
  reader.read("site.mp_list_domains", config.mp_list_domains);
  reader.read("site.mp_list_learned_max", config.learned_max);
  reader.read("site.site_signing_certificate_file", config.signing_certificate_file);
}

void read_policy(ConfigReader& reader, workers::PolicyConfig& config, EnquiriesConfig& enquiries) {
  reader.read("policy.enabled", config.enabled);
  reader.read("policy.workers", config.workers);
  reader.read("policy.interval", config.interval);
  reader.read("policy.first_window", config.first_window);
  reader.read("policy.idle_after", config.idle_after);
  reader.read("policy.failure_base", config.failure_base);
  reader.read("policy.failure_cap", config.failure_cap);
  reader.read("policy.bad_body_retry", config.bad_body_retry);
  reader.read_bytes("policy.bodies_bytes_max", config.bodies_bytes_max);
  reader.read_bytes("policy.assignments_bytes_max", config.assignments_bytes_max);
  reader.read("policy.apply_schedules", config.apply_schedules);
  reader.read("policy.apply_classes", config.apply_classes);
  reader.read("policy.asks_per_minute", enquiries.asks_per_minute);
  reader.read("policy.location_ttl", enquiries.location_ttl);
}

void read_inventory(ConfigReader& reader, workers::InventoryConfig& config) {
  reader.read("inventory.full_interval", config.full_interval);
  reader.read("inventory.deltas_max", config.deltas_max);
  reader.read("inventory.churning", config.churning);
}

void read_notifications(ConfigReader& reader, adapters::BgbConfig& bgb, FanOutConfig& fan_out) {
  reader.read("bgb.enabled", bgb.enabled);
  reader.read("bgb.servers", bgb.servers);
  reader.read("bgb.servers_from", bgb.servers_from);
  reader.read("bgb.port", bgb.port);
  reader.read("bgb.servers_max", bgb.servers_max);
  reader.read("bgb.servers_idle", bgb.servers_idle);
  reader.read("bgb.profile", bgb.profile);
  reader.read("bgb.server_profiles", bgb.server_profiles);
  reader.read("bgb.server_check", bgb.server_check);
  reader.read("bgb.certificate_file", bgb.certificate_file);
  reader.read("bgb.source_addresses", bgb.source_addresses);
  reader.read("bgb.client_version", bgb.client_version);
  reader.read("bgb.http", bgb.http);
  reader.read("bgb.http_urls", bgb.http_urls);
  reader.read("bgb.http_proxy", bgb.http_proxy);
  reader.read("bgb.confirm_required", bgb.confirm_required);
  reader.read("bgb.sessions", bgb.sessions);
  fan_out.sessions_always = bgb.sessions == "always";
  reader.read("bgb.keepalive", bgb.keepalive);
  reader.read("bgb.keepalive_profile", bgb.keepalive_profile);
  reader.read("bgb.connect_timeout", bgb.connect_timeout);
  reader.read("bgb.tls_timeout", bgb.tls_timeout);
  reader.read("bgb.sign_in_timeout", bgb.sign_in_timeout);
  reader.read("bgb.answer_timeout", bgb.answer_timeout);
  reader.read("bgb.backoff_base", bgb.backoff_base);
  reader.read("bgb.backoff_cap", bgb.backoff_cap);
  reader.read("bgb.stable_after", bgb.stable_after);
  reader.read("bgb.start_window", bgb.start_window);
  reader.read("bgb.push_memory", bgb.push_memory);
  reader.read("bgb.frame_timeout", bgb.frame_timeout);
  reader.read("bgb.identity_check", bgb.identity_check);
  reader.read("bgb.tcp_retry", bgb.tcp_retry);
  reader.read("bgb.http_broken", bgb.http_broken);
  reader.read("bgb.tick", bgb.tick);
  reader.read("bgb.handshakes_per_second", bgb.handshakes_per_second);
  reader.read("bgb.handshakes_per_second_all", bgb.handshakes_per_second_all);
  reader.read("bgb.handshakes_in_flight_max", bgb.handshakes_in_flight_max);
  reader.read("bgb.sessions_max", bgb.sessions_max);
  reader.read("bgb.pending_pushes_max", bgb.pending_pushes_max);
  reader.read("bgb.pushes_remembered_max", bgb.pushes_remembered_max);
  reader.read("bgb.header_bytes_max", bgb.header_bytes_max);
  reader.read("bgb.payload_bytes_max", bgb.payload_bytes_max);
  reader.read("notifications.tasks_file", fan_out.tasks_file);
  reader.read("notifications.answer_within", fan_out.answer_within);
  reader.read("notifications.wave_window_per_1000", fan_out.wave.window_per_1000);
  reader.read("notifications.wave_window_max", fan_out.wave.window_max);
  reader.read("notifications.waiting_max", fan_out.waiting_max);
}

void read_task_parameters(ConfigReader& reader, TaskParametersConfig& config) {
  reader.read("notifications.scripts", config.scripts);
  reader.read("notifications.live_queries", config.live_queries);
  reader.read("notifications.scripts_parameter_hash", config.scripts_parameter_hash);
}

void read_mailbox(ConfigReader& reader, store::MailboxConfig& mailbox, FanOutConfig& fan_out) {
  reader.read("mailbox.entries_max", mailbox.entries_max);
  reader.read("mailbox.entries_per_device_max", mailbox.entries_per_device_max);
  reader.read("mailbox.history_time", mailbox.history_time);
  reader.read("mailbox.time_to_live", fan_out.time_to_live);
  reader.read("mailbox.script_time_to_live", fan_out.script_time_to_live);
  reader.read("mailbox.release_per_second", fan_out.release_per_second);
}

void read_mdm(ConfigReader& reader, WindowsConfig& windows) {
  adapters::DmVisitRules& visit = windows.endpoint.visit;
  reader.read("mdm.enabled", windows.enabled);
  reader.read("mdm.listen", windows.server.listen);
  reader.read("mdm.path", windows.server.path);
  reader.read("mdm.certificate_file", windows.server.certificate_file);
  reader.read("mdm.key_file", windows.server.key_file);
  reader.read("mdm.client_ca_file", windows.server.client_ca_file);
  reader.read("mdm.enrolments", windows.enrolments);
  reader.read("mdm.enrolments_check", windows.enrolments_check);
  reader.read("mdm.provider_id", visit.provider);
  reader.read("mdm.server_uri", visit.session.server_uri);
  reader.read("mdm.register_at_site", windows.register_at_site);
  reader.read("mdm.allow_wipe", visit.tasks.allow_wipe);
  reader.read("mdm.scan_watch", visit.watch_for);
  reader.read("mdm.same_work_window", visit.same_work_window);
  reader.read("mdm.tasks_per_session_max", visit.tasks_max);
  reader.read("mdm.session_timeout", visit.session.timeout);
  reader.read("mdm.sessions_max", windows.endpoint.sessions_max);
  reader.read("mdm.sessions_per_second", windows.endpoint.sessions_per_second);
  reader.read("mdm.device_sessions_per_minute", windows.endpoint.device_sessions_per_minute);
  reader.read("mdm.retry_after", windows.endpoint.retry_after);
  reader.read("mdm.threads", windows.server.threads);
  reader.read("mdm.connections_max", windows.server.connections_max);
  read_size(reader, "mdm.header_bytes_max", windows.server.header_bytes_max);
  read_size(reader, "mdm.message_bytes_max", windows.server.message_bytes_max);
  windows.endpoint.limits.bytes_max = windows.server.message_bytes_max;
  read_size(reader, "mdm.reply_bytes_max", visit.session.reply_bytes_max);
  reader.read("mdm.handshake_timeout", windows.server.handshake_timeout);
  reader.read("mdm.request_timeout", windows.server.request_timeout);
  reader.read("mdm.idle_timeout", windows.server.idle_timeout);
}

// Reads every key; the one list of them.
void read_all(ConfigReader& reader, Config& config, Complaints& problems) {
  read_gateway(reader, config.gateway, problems);
  read_store(reader, config.store);
  config.agents.read(reader);
  read_site(reader, config.site, config.mp, problems);
  read_delivery(reader, config.delivery, config.courier);
  reader.read("delivery.replay_per_second", config.replay_per_second);
  read_pacing(reader, config.courier.pacing);
  read_registration(reader, config.registration, problems);
  read_site_map(reader, config.site_map);
  read_policy(reader, config.policy, config.enquiries);
  read_inventory(reader, config.inventory);
  read_notifications(reader, config.bgb, config.notifications);
  read_task_parameters(reader, config.task_parameters);
  read_mailbox(reader, config.store.mailbox, config.notifications);
  read_mdm(reader, config.windows);
  config.wns.read(reader);
}

LoadedConfig load(ConfigReader reader) {
  LoadedConfig loaded;
  Config& config = loaded.config;
  Complaints problems;
  read_all(reader, config, problems);
  config.delivery.message_time_max = config.mp.exchange_timeout;
  reader.add(std::move(problems));
  reader.add(config.store.problems());
  if (config.has_role("ingest")) reader.add(config.agents.problems());
  if (config.has_role("deliver")) {
    if (config.site.management_points.empty()) {
      reader.add({{"site.management_points", "site.management_points is missing; give at least one address, such as [\"http://mp01.example.test\"]."}});
    }
    reader.add(config.mp.problems("site"));
    reader.add(config.delivery.problems());
    reader.add(config.courier.problems());
    if (config.replay_per_second < 1 || config.replay_per_second > 10'000) {
      reader.add({{"delivery.replay_per_second", "delivery.replay_per_second is " + std::to_string(config.replay_per_second) +
                                                     "; it can be 1 to 10000 (10 if left out)."}});
    }
    reader.add(config.registration.problems());
    const std::int64_t valid_days = std::int64_t{config.mp.certificate.days} - config.mp.certificate.back_dated_days;
    if (config.registration.renew_before * 2 > std::chrono::hours(24) * valid_days && config.registration.renew_before.count() > 0) {
      reader.add({{"registration.renew_before", "registration.renew_before is " + duration_text(config.registration.renew_before) +
                                                    "; it can be at most half of the " + std::to_string(valid_days) +
                                                    " days a certificate is good for (site.certificate_days less certificate_back_dated_days)."}});
    }
    reader.add(config.site_map.problems());
    reader.add(config.policy.problems());
    reader.add(config.enquiries.problems());
    reader.add(config.inventory.problems());
    if (config.store.lease_time < 2 * config.mp.exchange_timeout) {
      reader.add({{"store.lease_time", "store.lease_time is " + duration_text(config.store.lease_time) +
                                           "; it must be at least twice site.exchange_timeout (" +
                                           duration_text(config.mp.exchange_timeout) +
                                           "), or a second worker would take up a report the first is still sending."}});
    }
  }
  if (const auto tasks = TaskTable::read(config.notifications.tasks_file); !tasks) reader.add({{"notifications.tasks_file", tasks.error().message}});
  reader.add(config.notifications.problems());
  reader.add(config.task_parameters.problems());
  if (config.has_role("notify") && config.bgb.enabled) {
    reader.add(config.bgb.problems());
    if (config.bgb.servers_from == "location" && !config.has_role("deliver"))
      reader.add({{"bgb.servers_from", "bgb.servers_from is \"location\", which asks the site; gateway.roles needs \"deliver\" for it."}});
  }
  if (config.windows.enabled) reader.add(config.windows.problems());
  if (config.windows.enabled && config.wns.enabled) reader.add(config.wns.problems());
  loaded.problems = reader.problems();
  return loaded;
}

}  // namespace

bool Config::has_role(std::string_view role) const {
  return std::find(gateway.roles.begin(), gateway.roles.end(), role) != gateway.roles.end();
}

LoadedConfig load_config(const std::string& path) { return load(ConfigReader::from_file(path)); }

LoadedConfig load_config_text(const std::string& text, const std::string& name_in_messages) {
  return load(ConfigReader::from_text(text, name_in_messages));
}

std::set<std::string> config_keys() {
  ConfigReader reader = ConfigReader::from_text("", "");
  Config config;
  Complaints problems;
  read_all(reader, config, problems);
  return reader.known_keys();
}

}  // namespace greengate::gateway
