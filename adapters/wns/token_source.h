#pragma once

#include "adapters/http/url.h"
#include "adapters/wns/secret.h"
#include "adapters/wns/settings.h"
#include "core/clock.h"
#include "core/result.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// A token as its service gave it.
struct TokenGrant {
  Secret token;
  std::chrono::seconds life{};  ///< Between 1 s and the longest that is believed.
};

/// Refreshed this long before its end, at the latest: min(margin_max, a tenth of its life rounded up).
std::chrono::seconds token_margin(std::chrono::seconds life, std::chrono::seconds margin_max);

/// One token service's ways: what is asked of it and what its answers mean. Which one an app uses is a setting (R-2a); no state of its own.
///
/// Promise   No secret or token in any Error. What the service says is not repeated beyond its error word.
/// Limits    Tokens up to 8 KiB of visible ASCII; bodies as the HTTP client bounds them.
/// Threads   Any.
/// Errors    From read(): reject: wns.token_client (this id or secret is refused; another secret may do), wns.token_request (the request is),
///           wns.token_closed (the legacy service takes no new clients: 3.4). retry: wns.token_busy (429, 5xx), wns.token_reply (an answer
///           that cannot be used).
/// Source    wns-mdm-push 3.1, 3.2, 3.5
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  virtual std::string_view name() const = 0;
  virtual const Url& server() const = 0;
  virtual const std::string& target() const = 0;
  /// The body to post. The caller wipes it.
  virtual std::string form(const Secret& client_secret) const = 0;

  Result<TokenGrant> read(unsigned status, std::string_view retry_after, std::string_view body, WallTime now) const;

 protected:
  explicit TokenSource(const WnsSettings& settings)
      : life_max_(std::chrono::duration_cast<std::chrono::seconds>(settings.token_life_max)), retry_after_max_(settings.retry_after_max) {}
  virtual bool closed_to_new_clients(std::string_view error_word) const { return static_cast<void>(error_word), false; }

 private:
  std::chrono::seconds life_max_;
  std::chrono::milliseconds retry_after_max_;
};

/// login.live.com: what documents of device management name.
class LegacyTokens final : public TokenSource {
 public:
  /// Puts ms-app:// in front of a bare SID.
  LegacyTokens(const WnsApp& app, const WnsSettings& settings);
  std::string_view name() const override { return "legacy"; }
  const Url& server() const override { return server_; }
  const std::string& target() const override { return target_; }
  std::string form(const Secret& client_secret) const override;

 private:
  bool closed_to_new_clients(std::string_view error_word) const override { return error_word == "invalid_request"; }
  Url server_;
  std::string target_, client_id_;
};

/// login.microsoftonline.com, the tenant's v2.0 endpoint. Whether its tokens open channels of device management is not known.
class EntraTokens final : public TokenSource {
 public:
  EntraTokens(const WnsApp& app, const WnsSettings& settings);
  std::string_view name() const override { return "entra"; }
  const Url& server() const override { return server_; }
  const std::string& target() const override { return target_; }
  std::string form(const Secret& client_secret) const override;

 private:
  Url server_;
  std::string target_, client_id_, scope_;
};

std::unique_ptr<TokenSource> make_token_source(const WnsApp& app, const WnsSettings& settings);

}  // namespace greengate::adapters
