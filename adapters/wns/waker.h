#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/lifecycle.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// Where a device's wake stands (wns-mdm-push 8.1).
enum class WakeState : std::uint8_t {
  queued, waiting_app, waiting_channel, waiting_token, pushed, confirmed, unconfirmed, expired, no_channel, failed
};
const char* wake_state_name(WakeState state);

/// A reason to wake devices.
struct WakeOrder {
  std::string reason;      ///< A word for the audit: the task's name.
  WallTime deadline;       ///< After it the poll will do.
  bool urgent = false;     ///< Scans, restarts, wipes: X-WNS-PRIORITY 1 (R-18).
};

/// What wake() made of one device.
struct WakeAnswer {
  WakeState state = WakeState::queued;
  bool joined = false;     ///< A wake was under way already (R-31).
  std::string code;        ///< wake.unknown_device, wake.no_channel, wake.session_open …; empty when it is on its way.
};

/// What a device's management session told of its push registration.
struct ChannelReading {
  std::string enrollment;                ///< Serial of the certificate it enrolled with; a new one starts clean.
  std::optional<std::string> uri;        ///< Absent: the node is not there, or null.
  std::optional<int> push_status;        ///< DMClient Push/Status (10.1).
};

/// A device's channel as an operator sees it. Never the URI.
struct ChannelView {
  std::string state;       ///< none, active, renew_due, suspect_old, dead, quarantine, invalid
  std::string fingerprint; ///< R-14
  std::string why;         ///< Why dead or in quarantine.
  std::optional<WallTime> first_seen, last_read, last_push;
  std::string last_outcome;
  std::optional<int> push_status;
  std::optional<WakeState> wake;
};

/// Wakes Windows devices through WNS so that they come and fetch what waits for them.
///
/// Promise   A wake never fails the work it is for, which stays in the mailbox for the poll. Total requests per wake at most 8.
///           No channel URI, token or secret in any log, metric or error.
/// Threads   Any.
/// Source    wns-mdm-push 2 to 8
class Waker : public Component {
 public:
  /// At most 10 000 devices a call; an unknown one is an error of that one only. Does not wait.
  virtual std::map<AgentId, WakeAnswer> wake(std::span<const AgentId> devices, const WakeOrder& order) = 0;

  /// Package 1 of an authenticated session arrived: confirms a wake.
  virtual void session_opened(const AgentId& device) = 0;
  virtual void session_closed(const AgentId& device) = 0;
  /// Every session; follow.
  virtual void channel_read(const AgentId& device, const ChannelReading& reading) = 0;
  /// Is it time to set the PFN in the session that is open now? Says which; empty: no.
  virtual std::string pfn_to_set(const AgentId& device) = 0;
  virtual void forget(const AgentId& device) = 0;

  virtual std::optional<ChannelView> view(const AgentId& device) const = 0;
};

/// Where channels survive a restart: one sealed text a device. Given by the composition root.
class ChannelBook {
 public:
  virtual ~ChannelBook() = default;
  virtual Result<std::optional<std::string>> find(const AgentId& device) = 0;
  /// Waits for the sync. Empty forgets.
  virtual Result<void> keep(const AgentId& device, const std::string& record) = 0;
};

}  // namespace greengate::adapters
