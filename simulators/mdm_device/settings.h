#pragma once

#include "simulators/common/evidence.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace greengate::sim::mdm {

/// Of all devices; what differs between them is in the device (device.h). S-n are the rules of wns-mdm-push 9.4.
struct Settings {
  std::filesystem::path dir;
  EvidenceLevel evidence = EvidenceLevel::full;

  std::string dm_url;            ///< https://name[:port]/path; empty: devices have nobody to talk to.
  std::string dm_connect;        ///< host:port really connected to; empty: what the URL says.
  std::string dm_ca_file;        ///< PEM of the authority of the DM server's certificate; empty: any certificate is taken.
  std::string provider_id = "FABRIKAM";
  std::string user, password;    ///< Account for syncml:auth-md5; empty user: none.

  std::int64_t push_delay_ms = 1'000;      ///< S-23
  std::int64_t queue_delay_ms = 300'000;   ///< S-23, in queue mode
  std::int64_t channel_delay_ms = 2'000;   ///< S-20: 0 to this, before the answer to the command that asked.
  std::int64_t reboot_ms = 90'000, wipe_ms = 600'000;  ///< S-26: off line for so long.
  std::int64_t quick_scan_ms = 120'000, full_scan_ms = 3'600'000, signature_ms = 30'000;
  std::int64_t http_timeout_ms = 30'000;   ///< Real time.
  std::int64_t retries = 3, retry_base_ms = 16'000, retry_cap_ms = 86'400'000;  ///< S-25
  std::int64_t messages_max = 100;         ///< In one session.
  std::string poll = "15x5,60x10,1440x0";  ///< minutes x number for the three sets; number 0: for ever (10.3)
};

}  // namespace greengate::sim::mdm
