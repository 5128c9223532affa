// The inside of WnsCore, as its own files share it: wns_core.cc takes orders and sends, core_answers.cc takes answers in.
#pragma once

#include "adapters/wns/channel_uri.h"
#include "adapters/wns/dice.h"
#include "adapters/wns/probe.h"
#include "adapters/wns/wns_core.h"
#include "core/log.h"

#include <list>

namespace greengate::adapters {

inline const Log& wns_log() {
  static const Log log("wns");
  return log;
}

// Why a channel of that standing cannot be pushed to.
inline const char* why_not(Standing standing) {
  switch (standing) {
    case Standing::suspect_old: return "wake.channel_old";
    case Standing::dead: return "wake.channel_dead";
    case Standing::quarantine: return "wake.quarantine";
    case Standing::invalid: return "wake.invalid_channel";
    case Standing::none:
    case Standing::active:
    case Standing::renew_due: break;
  }
  return "wake.no_channel";
}

// What waits for one host on behalf of one app.
struct WnsCore::Lane {
  Lane(App* of, std::string to) : app(of), host(std::move(to)) {}
  App* app;
  std::string host;
  std::list<Channel*> urgent, normal;
};

struct WnsCore::Channel {
  const AgentId* id = nullptr;  // the map's own key
  ChannelRecord record;
  std::unique_ptr<Wake> wake;
  std::optional<SteadyTime> timer_at;
  std::optional<SteadyTime> last_push;
  SteadyTime throttled_until{};
  SteadyTime session_since{};
  WallTime last_push_wall{};
  const char* last_outcome = "";
  Lane* lane = nullptr;
  std::list<Channel*>::iterator place;
  WakeState last_wake = WakeState::queued;
  bool had_wake = false;
  bool in_urgent = false;
  bool session_open = false;
  bool busy = false;  // a push is on its way
};

struct WnsCore::App {
  App(const WnsSettings& settings, const WnsApp& app, std::size_t number, std::uint64_t seed)
      : config(app), index(number), tokens(settings, 0, seed), pace(settings) {}
  const WnsApp& config;
  const std::size_t index;
  TokenCache tokens;
  AppPace pace;
  std::map<std::string, Lane> lanes;
  std::string cursor;
  std::size_t waiting = 0;  // in all lanes
  bool blocked = false;
  bool suspect_probe_out = false;
};

struct WnsCore::InFlight {
  AgentId device;
  std::uint64_t wake = 0;
  App* app = nullptr;
  std::string host, uri;
  TokenInUse token;
  SteadyTime sent_at{};
  std::optional<SteadyTime> last_push_before;
  std::chrono::seconds ttl{};
  bool app_probe = false, host_probe = false, suspect_probe = false;
};

}  // namespace greengate::adapters
