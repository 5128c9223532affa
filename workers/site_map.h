#pragma once

#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/result.h"
#include "workers/courier.h"
#include "workers/learned_hosts.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace greengate::workers {

/// [site], what concerns the site's own list of management points.
struct SiteMapConfig {
  std::vector<std::string> configured;  ///< site.management_points; always first.
  std::chrono::milliseconds mp_list_interval{std::chrono::hours(1)};  ///< 0: never asked for.
  bool follow_mp_list = true;                 ///< Use management points that only the list names.
  std::vector<std::string> mp_list_domains;   ///< Learned ones must lie in one of these. Empty: the domains of the configured ones.
  std::uint32_t learned_max = 16;
  std::string signing_certificate_file;       ///< PEM or DER; empty: the first one seen is pinned.
  std::string pin_file;                       ///< Where that one is kept; removed by an operator to accept another.

  std::vector<ConfigProblem> problems() const;
};

/// One management point we use.
struct SitePoint {
  std::string address;  ///< "https://mp02.example.test"
  std::string host, version;
  bool https = false;
  bool configured = true;  ///< Else learned from the site's list.
};

/// What is known of the site.
struct SiteView {
  std::vector<SitePoint> points;
  WallTime listed_at;                ///< When the list was last had; the epoch: never.
  std::string signing_fingerprint;   ///< SHA-256 of the pinned site signing certificate; empty: none seen.
  std::string mp_fingerprint;        ///< Of the management point's own certificate; for operators.
  bool certificate_changed = false;  ///< The site shows another signing certificate than the pinned one.
};

/// Keeps the list of management points up to date from the site's own, and watches that the site stays the same site.
///
/// Promise   Configured management points always come first and are never dropped. A learned one is a host name inside the allowed domains,
///           never an address or a name of this machine; while all configured ones speak HTTPS, only HTTPS ones are learned. While the
///           signing certificate differs from the pinned one, or cannot be had again, no list is followed.
/// Limits    learned_max.
/// Threads   refresh(), view(): any; refresh() waits for the site. One thread of its own.
/// Errors    start(): site.certificate_file (reject): the file named cannot be read. refresh(): site.certificate_changed (reject), and what
///           the courier and the parsers say.
/// Source    mp-protocol 1.6; readings 13, 14; docs/reference/policy.md
class SiteMap : public Component {
 public:
  struct Ways {
    std::function<Result<std::string>(std::string_view target)> get;
    /// A door to a management point at this address.
    std::function<Result<std::unique_ptr<MpDoor>>(const std::string& address)> open;
    /// From now on these are the management points, in this order.
    std::function<void(std::vector<std::unique_ptr<MpDoor>>)> set_points;
  };

  SiteMap(SiteMapConfig config, const adapters::MpSettings& settings, Ways ways, const Clock& clock, Metrics& metrics, std::uint64_t seed);
  ~SiteMap() override;

  /// Asks the site now.
  Result<void> refresh();
  SiteView view() const;

  std::string_view name() const override { return "site map"; }
  Result<void> start() override;
  void refuse() override { drain({}); }
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  Result<void> load_pin();
  Result<void> check_signing_certificate();
  void note_mp_certificate();
  Result<void> follow_list();
  void run();

  const SiteMapConfig config_;
  const adapters::MpSettings& settings_;
  const Ways ways_;
  const Clock& clock_;
  const std::uint64_t seed_;
  const Log log_{"site_map"};
  const Counter refreshed_, failed_;
  const Gauge learned_, changed_;
  const LearnedHosts hosts_;
  std::uint16_t http_port_ = 80, https_port_ = 443;
  std::vector<SitePoint> configured_;

  std::mutex refresh_mutex_;  // one refresh at a time; guards pin_
  std::string pin_;           // DER
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable stop_wanted_;
  SiteView view_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace greengate::workers
