#pragma once

#include "core/result.h"
#include "simulators/common/dice.h"
#include "simulators/common/sim_clock.h"
#include "simulators/wns/settings.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim::wns {

/// How an app is held back (7.8): by a wish of the test, or by counting.
struct AppThrottle {
  bool on = false;
  unsigned status = 406;
  std::int64_t retry_after_s = -1;  ///< Negative: no header, and until it is lifted.
  std::int64_t limit = 0, window_s = 0;  ///< With both: only what is beyond the limit.
  std::int64_t until_ms = 0;        ///< Set by the first push that was refused.
  std::int64_t window_began_ms = 0, in_window = 0;
};

struct App {
  std::string pfn;   ///< Lower case.
  std::string auth;  ///< legacy or entra
  std::string client_id, tenant;
  std::vector<std::string> secrets;  ///< Any of them is taken.
  bool closed = false;   ///< S-3
  bool blocked = false;  ///< 410 Domain Blocked
  bool revoked = false;  ///< A device that registers this PFN gets Status 3.
  AppThrottle throttle;
  std::map<std::string, std::uint64_t> token_requests;  ///< By result: ok or the error's word.
  std::map<std::string, std::uint64_t> pushes;          ///< By "status word".
  std::uint64_t tokens = 0, early_pushes = 0;           ///< early: while it was told to wait
};

struct Token {
  std::string pfn;
  std::int64_t issued_ms = 0, expires_ms = 0;
  bool ended = false;
  std::uint64_t pushes = 0;
};

/// Identities and their tokens.
/// Limits    1 000 apps, 1 000 000 tokens; then the oldest dead tokens are forgotten.
/// Threads   The io_context's one thread.
class Apps {
 public:
  Apps(SimClock& clock, Dice& dice, const Settings& settings) : clock_(clock), dice_(dice), settings_(settings) {}

  /// Makes it when there is none: id and secret are thrown by the dice.
  App& open(std::string_view pfn, const std::string& auth);
  App* find(std::string_view pfn);
  App* by_client(const std::string& auth, std::string_view client_id);
  std::string rotate_secret(App& app, bool keep_old);
  const std::map<std::string, App>& all() const { return apps_; }

  std::string issue_token(App& app);
  /// Null when unknown, ended or expired.
  Token* live_token(std::string_view value);
  std::size_t end_tokens(std::string_view pfn);
  std::string any_live_token(std::string_view pfn) const;
  const std::map<std::string, Token, std::less<>>& tokens() const { return tokens_; }

 private:
  SimClock& clock_;
  Dice& dice_;
  const Settings& settings_;
  std::map<std::string, App> apps_;
  std::map<std::string, Token, std::less<>> tokens_;
};

}  // namespace greengate::sim::wns
