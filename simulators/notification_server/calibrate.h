#pragma once

#include "core/result.h"
#include "simulators/notification_server/notification_server.h"

#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

namespace greengate::sim {

struct CalibrateOptions {
  bool on = false;
  std::vector<std::filesystem::path> captures;  ///< Read one after the other as one stream; empty: a client is waited for.
  std::filesystem::path profile_file = "captured-profile.json";
  std::string name = "captured";
  int wait_s = 1200;  ///< A client pings every 15 minutes.
};

/// `greengate-sim notify --calibrate`: solves a layout from a file, or from the first client that comes (8.3), and writes the profile
/// and, beside it, `<profile>.frames.json` with the frames under another SMSID. Says on `out` what it found and what stays open: one
/// JSON object, after `{"ready": true, "notify_port": …}` when it waits for a client.
///
/// With a client on the line it answers the SignIn in the solved layout, so that a KeepAlive follows; without one in time it writes
/// what the SignIn alone tells.
/// Errors    calibrate.*, notify.certificate, notify.bind.
Result<void> run_calibration(const CalibrateOptions& options, const NotifyConfig& config, std::ostream& out);

}  // namespace greengate::sim
