#pragma once

#include "core/config_reader.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate::adapters {

/// One WNS identity, a [[wns.app]] of the settings. A device keeps the app its channel belongs to.
struct WnsApp {
  std::string pfn;                        ///< Package family name; kept in lower case (wns-mdm-push 2.3).
  std::string auth = "legacy";            ///< "legacy": login.live.com; "entra": login.microsoftonline.com.
  std::string client_id;                  ///< Legacy: ms-app://S-1-15-2-…; Entra: the application's id.
  std::vector<std::string> secret_files;  ///< One or two, newest first; mode 0600.
  std::string tenant;                     ///< Entra alone.
};

/// [wns]: how Windows devices are woken. Numbers are those of wns-mdm-push 8.5 unless another place is named.
struct WnsSettings {
  bool enabled = false;
  std::vector<WnsApp> apps;  ///< The first is the one new devices get.

  std::string ca_file;                        ///< PEM; empty: the system's roots.
  std::vector<std::string> connect_override;  ///< "host suffix=address:port": for tests and labs. Names and certificates are checked as ever.
  bool public_addresses_only = true;          ///< A name that leads to this machine or a private network is not called; an override is.
  std::string fingerprint_key_file = "/var/lib/greengate/wns-fingerprint.key";  ///< Made at first start. Empty: a new one each start.
  std::string entra_scope = "https://wns.windows.com/.default";                 ///< 3.2: documents disagree about a slash at the end.

  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds tls_timeout{5'000};
  std::chrono::milliseconds push_timeout{30'000};
  std::chrono::milliseconds token_timeout{15'000};  ///< R-6
  std::int64_t reply_header_bytes_max = 16 * 1024;
  std::int64_t reply_body_bytes_max = 4 * 1024;   ///< More is cut off, and the connection closed.
  std::int64_t token_body_bytes_max = 64 * 1024;  ///< R-6; more is an error.

  std::chrono::milliseconds ttl_min{300'000};        ///< R-33
  std::chrono::milliseconds ttl_max{86'400'000};     ///< R-33
  std::chrono::milliseconds poll_interval{28'800'000};
  std::vector<std::string> confirm_after{"6min", "15min", "1h"};  ///< R-34: re-pushes, counted from the first push that was accepted.
  std::chrono::milliseconds attributed_within{360'000};           ///< R-52
  std::chrono::milliseconds push_spacing{60'000};                 ///< R-31: between pushes to one channel.
  std::uint32_t pushes_per_wake_max = 8;                          ///< R-45
  std::chrono::milliseconds retry_cap{300'000};                   ///< A wake's own back-off after 5xx and transport failures.
  std::uint32_t batch_devices_max = 10'000;                       ///< R-30
  std::chrono::milliseconds session_life_max{1'800'000};          ///< A session nobody closed is over by then.

  std::uint32_t in_flight_max_per_app = 64;         ///< R-40
  std::uint32_t pushes_per_second = 200;            ///< R-40
  std::uint32_t pushes_burst = 200;                 ///< R-40
  std::uint32_t sessions_per_second = 200;          ///< R-44: what the management server can take; bounds all apps together.
  std::uint32_t connections_per_host_max = 16;      ///< R-41
  std::chrono::milliseconds connection_idle{60'000};  ///< R-41
  std::uint32_t breaker_failures = 5;               ///< R-41
  std::chrono::milliseconds breaker_base{1'000};    ///< R-41
  std::chrono::milliseconds breaker_cap{300'000};   ///< R-41
  std::chrono::milliseconds channel_throttle{600'000};
  std::chrono::milliseconds app_throttle{60'000};
  std::chrono::milliseconds retry_after_max{3'600'000};
  std::uint32_t ramp_start_percent = 10;            ///< R-42
  std::chrono::milliseconds ramp_step{10'000};      ///< R-42: doubles each time.

  std::chrono::milliseconds token_life_max{86'400'000};         ///< R-4
  std::chrono::milliseconds token_margin_max{300'000};          ///< R-4
  std::chrono::milliseconds token_backoff_base{1'000};          ///< R-7
  std::chrono::milliseconds token_backoff_cap{300'000};         ///< R-7
  std::chrono::milliseconds credentials_refused_retry{3'600'000};  ///< R-7
  std::chrono::milliseconds credentials_suspect_window{300'000};   ///< R-8
  std::chrono::milliseconds credentials_suspect_probe{300'000};    ///< R-8
  std::chrono::milliseconds secrets_check{30'000};              ///< How soon a replaced secret file is noticed.

  std::chrono::milliseconds channel_renew_due{15 * 86'400'000LL};   ///< R-22
  std::chrono::milliseconds channel_replace_age{25 * 86'400'000LL}; ///< R-22
  std::chrono::milliseconds channel_life{30 * 86'400'000LL};        ///< R-23
  std::chrono::milliseconds pfn_spacing{86'400'000};                ///< R-22
  std::uint32_t pfn_attempts_per_day = 4;                           ///< R-51
  std::chrono::milliseconds push_unsupported{7 * 86'400'000LL};     ///< 10.1, status 8
  std::chrono::milliseconds quarantine{86'400'000};                 ///< R-25
  std::uint32_t uri_changes_per_day = 10;                           ///< 16.2; more are not taken that day.
  std::uint32_t channels_in_memory_max = 250'000;                   ///< Others are read from the store when needed.

  /// Every key of [wns] and its apps.
  void read(ConfigReader& reader);
  std::vector<ConfigProblem> problems() const;
};

}  // namespace greengate::adapters
