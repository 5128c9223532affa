#pragma once

#include "simulators/common/evidence.h"
#include "simulators/common/https_listener.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace greengate::sim::wns {

/// What is open in the public facts is a setting; S-n and 9.3 are the rules of wns-mdm-push.
struct Settings {
  HttpsListener::Settings listener;
  std::filesystem::path dir;
  EvidenceLevel evidence = EvidenceLevel::full;

  // Tokens.
  bool omit_expires_in = false;           ///< S-4: the older shape of the legacy answer.
  bool single_active = false;             ///< S-5: a new token ends the older ones.
  std::int64_t legacy_token_s = 86'400, entra_token_s = 86'399;

  // Pushes.
  std::int64_t chunked_status = 400;      ///< 9.3 step 2; the other choice is 411.
  std::string status_headers = "both";    ///< both, legacy (X-WNS-NotificationStatus only), new (X-WNS-Status only)
  std::int64_t cache_life_s = 72 * 3600;  ///< S-10, Q-2

  // Channels.
  std::vector<std::string> hosts{"wns2-sim1p", "wns2-sim2p"};  ///< Below notify.windows.com; devices take turns.
  std::int64_t channel_life_s = 30 * 86'400;
  bool same_uri_while_fresh = true;       ///< S-11: asked while more than 15 days are left.
};

inline constexpr std::int64_t renew_window_s = 15 * 86'400;
inline constexpr const char* legacy_host = "login.live.com";
inline constexpr const char* entra_host = "login.microsoftonline.com";
inline constexpr const char* push_domain = "notify.windows.com";

}  // namespace greengate::sim::wns
