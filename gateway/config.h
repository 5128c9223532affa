#pragma once

#include "adapters/bgb/session_pool.h"
#include "adapters/mp/settings.h"
#include "adapters/wns/settings.h"
#include "core/log.h"
#include "gateway/agents_config.h"
#include "gateway/enquiries.h"
#include "gateway/fan_out.h"
#include "gateway/task_parameters.h"
#include "gateway/windows_devices.h"
#include "store/open_store.h"
#include "workers/courier.h"
#include "workers/inventory_planner.h"
#include "workers/policy_watch.h"
#include "workers/pool.h"
#include "workers/site_errands.h"
#include "workers/site_map.h"

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::gateway {

/// [site], beside what adapters/mp reads: where the management points are and how they are trusted.
struct SiteConfig {
  std::vector<std::string> management_points;  ///< "http://mp01.example.test" or "https://…", in order of preference.
  std::string ca_file;                         ///< PEM; for https. Empty: the system's store.
  std::string client_certificate_file;         ///< PEM; for https that asks for one.
  std::string client_key_file;
  // identity_mode = "shared_key"
  std::string shared_identity_file = "/var/lib/greengate/shared.identity";  ///< Made at first start, sealed.
  // identity_mode = "isv_proxy"
  std::string proxy_key_file;          ///< PEM, mode 0600.
  std::string proxy_certificate_file;  ///< PEM; what the administrator imported.
  std::string proxy_sms_id;            ///< What the site gave for it.
};

/// [gateway]
struct GatewayConfig {
  std::vector<std::string> roles{"ingest", "deliver", "notify"};
  std::string log_level = "info";
  std::string admin_socket = "/run/greengate/admin.sock";
  std::string admin_group;                                    ///< Group that may use the socket; empty: the process's own.
  std::string observe = "127.0.0.1:9464";                     ///< /metrics, /health, /ready; loopback only. Port 0 takes a free one.
  std::string seal_key_file = "/var/lib/greengate/seal.key";  ///< Seals identities at rest; made at first start.
  std::uint32_t identities_open_max = 4'096;                  ///< Unsealed identities in memory.
  std::chrono::milliseconds drain_timeout{20'000};
  /// A file that gets one JSON line with the addresses in use once everything is ready; for scripts. Empty: none.
  std::string ready_file;
};

/// Everything the house is built from.
struct Config {
  GatewayConfig gateway;
  store::StoreConfig store;
  AgentsConfig agents;
  SiteConfig site;
  adapters::MpSettings mp;
  workers::PoolConfig delivery;
  workers::CourierConfig courier;
  std::uint32_t replay_per_second = 10;  ///< Dead letters put back, unless an order says otherwise.
  workers::SiteErrandsConfig registration;
  workers::PolicyConfig policy;
  workers::SiteMapConfig site_map;  ///< `configured` and `pin_file` are filled when the house is built.
  EnquiriesConfig enquiries;
  workers::InventoryConfig inventory;
  adapters::BgbConfig bgb;
  FanOutConfig notifications;
  TaskParametersConfig task_parameters;
  WindowsConfig windows;
  adapters::WnsSettings wns;

  bool has_role(std::string_view role) const;
};

struct LoadedConfig {
  Config config;
  std::vector<std::string> problems;  ///< Every mistake at once; empty: usable.
};

/// Reads `path`; deploy/greengate.toml documents every key, and a test holds the two together.
LoadedConfig load_config(const std::string& path);
LoadedConfig load_config_text(const std::string& text, const std::string& name_in_messages);
/// Every key that is read, such as "store.directory"; held against the shipped file by a test.
std::set<std::string> config_keys();

}  // namespace greengate::gateway
