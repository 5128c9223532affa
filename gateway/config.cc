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
  reader.read("delivery.in_flight_max_per_mp", courier.in_flight_max_per_mp);
  reader.read("delivery.rest_base", courier.rest.base);
  reader.read("delivery.rest_cap", courier.rest.cap);
}

void read_registration(ConfigReader& reader, workers::SiteErrandsConfig& config) {
  reader.read("registration.workers", config.workers);
  reader.read("registration.keys_ready_max", config.keys_ready_max);
  reader.read("registration.confirm_first", config.confirm_first);
  reader.read("registration.confirm_cap", config.confirm_cap);
  reader.read("registration.rejected_retry", config.rejected_retry);
  reader.read("registration.failure_base", config.failure_base);
  reader.read("registration.failure_cap", config.failure_cap);
}

void read_notifications(ConfigReader& reader, adapters::BgbConfig& bgb, FanOutConfig& fan_out) {
  reader.read("bgb.enabled", bgb.enabled);
  reader.read("bgb.servers", bgb.servers);
  reader.read("bgb.profile", bgb.profile);
  reader.read("bgb.server_profiles", bgb.server_profiles);
  reader.read("bgb.server_check", bgb.server_check);
  reader.read("bgb.certificate_file", bgb.certificate_file);
  reader.read("bgb.source_addresses", bgb.source_addresses);
  reader.read("bgb.client_version", bgb.client_version);
  reader.read("bgb.confirm_required", bgb.confirm_required);
  reader.read("bgb.keepalive", bgb.keepalive);
  reader.read("bgb.connect_timeout", bgb.connect_timeout);
  reader.read("bgb.tls_timeout", bgb.tls_timeout);
  reader.read("bgb.sign_in_timeout", bgb.sign_in_timeout);
  reader.read("bgb.answer_timeout", bgb.answer_timeout);
  reader.read("bgb.backoff_base", bgb.backoff_base);
  reader.read("bgb.backoff_cap", bgb.backoff_cap);
  reader.read("bgb.stable_after", bgb.stable_after);
  reader.read("bgb.start_window", bgb.start_window);
  reader.read("bgb.push_memory", bgb.push_memory);
  reader.read("bgb.tick", bgb.tick);
  reader.read("bgb.handshakes_per_second", bgb.handshakes_per_second);
  reader.read("bgb.handshakes_in_flight_max", bgb.handshakes_in_flight_max);
  reader.read("bgb.sessions_max", bgb.sessions_max);
  reader.read("bgb.pending_pushes_max", bgb.pending_pushes_max);
  reader.read("bgb.pushes_remembered_max", bgb.pushes_remembered_max);
  reader.read("bgb.header_bytes_max", bgb.header_bytes_max);
  reader.read("bgb.payload_bytes_max", bgb.payload_bytes_max);
  reader.read("notifications.machine_policy_types", fan_out.machine_policy_types);
  reader.read("notifications.discovery_types", fan_out.discovery_types);
  reader.read("notifications.hardware_inventory_types", fan_out.hardware_inventory_types);
  reader.read("notifications.answer_within", fan_out.answer_within);
  reader.read("notifications.policy_window", fan_out.policy_window);
  reader.read("notifications.waiting_max", fan_out.waiting_max);
}

// Reads every key; the one list of them.
void read_all(ConfigReader& reader, Config& config, Complaints& problems) {
  read_gateway(reader, config.gateway, problems);
  read_store(reader, config.store);
  config.agents.read(reader);
  read_site(reader, config.site, config.mp, problems);
  read_delivery(reader, config.delivery, config.courier);
  reader.read("delivery.replay_per_second", config.replay_per_second);
  read_registration(reader, config.registration);
  read_notifications(reader, config.bgb, config.notifications);
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
    if (config.store.lease_time < 2 * config.mp.exchange_timeout) {
      reader.add({{"store.lease_time", "store.lease_time is " + duration_text(config.store.lease_time) +
                                           "; it must be at least twice site.exchange_timeout (" +
                                           duration_text(config.mp.exchange_timeout) +
                                           "), or a second worker would take up a report the first is still sending."}});
    }
  }
  if (config.has_role("notify") && config.bgb.enabled) {
    reader.add(config.bgb.problems());
    reader.add(config.notifications.problems());
  }
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
