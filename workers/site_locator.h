#pragma once

#include "adapters/mp/location.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/metrics.h"
#include "core/result.h"
#include "workers/courier.h"
#include "workers/identities.h"

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace greengate::workers {

/// An answer of the location manager, and when it was given.
struct Located {
  std::vector<adapters::Location> places;
  WallTime at;
};

/// Asks where things of the site are, for agents, and remembers the answers a while.
///
/// Limits    1,024 answers are remembered, `ttl` each. All but the facts of the site depend on where a client is, so those answers are shared
///           by the clients of one subnet only; of those a /24, or a /64, is taken for one, as no agent's real mask is known here (I).
/// Threads   Any; locate() may wait for the site.
/// Errors    What the courier and parse_location_reply() say; mp.refused (retry): the site answered with nothing.
/// Source    mp-protocol 5.4
class SiteLocator {
 public:
  SiteLocator(std::chrono::milliseconds ttl, const adapters::MpSettings& settings, Identities& identities, Courier& courier,
              const Clock& clock, Metrics& metrics);

  /// `address`: the agent's, as seen here. `refresh` asks even if the answer is known.
  Result<Located> locate(const AgentId& agent, adapters::LocationQuestion question, const std::string& address, bool refresh);

 private:
  const std::chrono::milliseconds ttl_;
  const adapters::MpSettings& settings_;
  Identities& identities_;
  Courier& courier_;
  const Clock& clock_;
  const Counter asked_, remembered_, failed_;
  std::mutex mutex_;  // guards everything below
  std::map<std::string, std::pair<SteadyTime, Located>> known_;
};

/// "192.0.2.10" gives "192.0.2.0", "2001:db8::1" gives "2001:db8::"; empty for what is no address.
std::string presumed_subnet(const std::string& address);

}  // namespace greengate::workers
