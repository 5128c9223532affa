// What the sender counts, for whoever reads the metrics.
#pragma once

#include "adapters/wns/channels.h"
#include "adapters/wns/classify.h"
#include "adapters/wns/waker.h"
#include "core/metrics.h"

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace greengate::adapters {

/// The owner's lock guards it.
class WnsProbe {
  Metrics& metrics_;
  std::map<std::pair<std::string, Metrics::Labels>, Counter> counters_;
  std::map<std::pair<std::string, Metrics::Labels>, Gauge> gauges_;
  std::set<std::string> hosts_;

 public:
  explicit WnsProbe(Metrics& metrics) : metrics_(metrics) {}

  void push(const std::string& app, PushOutcome outcome) {
    counter("greengate_wns_pushes_total", "Pushes by app and what became of them.", {{"app", app}, {"outcome", outcome_name(outcome)}}).add();
  }
  void host(const std::string& host, bool answered) {
    // Devices choose among WNS's hosts; a hostile one shall not fill the registry with names.
    if (answered && hosts_.size() < hosts_max) hosts_.insert(host);
    const std::string name = hosts_.contains(host) ? host : "other";
    counter("greengate_wns_host_pushes_total", "Pushes by host.", {{"host", name}, {"outcome", answered ? "answered" : "failed"}}).add();
  }
  void token(const std::string& app, std::string_view result) {
    counter("greengate_wns_token_requests_total", "Requests for a token by app and result.", {{"app", app}, {"result", std::string(result)}}).add();
  }
  void wake_ended(WakeState state) {
    counter("greengate_wns_wakes_total", "Wakes by how they ended.", {{"state", wake_state_name(state)}}).add();
  }
  void alarm(const std::string& name) {
    counter("greengate_wns_alarms_total", "Conditions a person should look at.", {{"alarm", name}}).add();
  }
  void app_state(const std::string& app, const std::string& state, double throttled_seconds) {
    for (const char* name : {"ok", "no_token", "credentials_suspect", "credentials_refused", "throttled", "blocked"})
      gauge("greengate_wns_app_state", "1 at the state the app is in.", {{"app", app}, {"state", name}}).set(state == name ? 1 : 0);
    gauge("greengate_wns_app_throttled_seconds", "How long WNS wants the app to wait.", {{"app", app}}).set(throttled_seconds);
  }
  void channels(const std::array<std::size_t, standing_count>& counts) {
    for (std::size_t i = 0; i < counts.size(); ++i)
      gauge("greengate_wns_channels", "Channels in memory by state.", {{"state", standing_name(static_cast<Standing>(i))}})
          .set(static_cast<double>(counts[i]));
  }
  void ages(const std::array<std::size_t, 4>& counts) {
    constexpr std::array<const char*, 4> names{"0-15", "15-25", "25-30", "30+"};
    for (std::size_t i = 0; i < counts.size(); ++i)
      gauge("greengate_wns_channels_by_age", "Live channels in memory by days since first seen.", {{"days", names[i]}})
          .set(static_cast<double>(counts[i]));
  }

  Gauge wakes = gauge("greengate_wns_wakes", "Wakes under way.", {});
  Gauge in_flight = gauge("greengate_wns_pushes_in_flight", "Pushes under way.", {});
  Gauge silent = gauge("greengate_wns_silent_devices", "Devices in memory with a channel and no session for twice the poll interval.", {});
  Histogram push_seconds = metrics_.histogram("greengate_wns_push_seconds", "How long WNS took to answer.",
                                              {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30});
  Histogram wake_seconds = metrics_.histogram("greengate_wns_wake_to_session_seconds", "From the push to the session it led to.",
                                              {0.3, 1, 3, 10, 30, 100, 300, 1'000, 3'600});
  Histogram pushes_per_wake = metrics_.histogram("greengate_wns_pushes_per_wake", "Pushes of a wake, at its end.", {0, 1, 2, 3, 4, 6, 8});

 private:
  static constexpr std::size_t hosts_max = 32;

  Counter& counter(const char* name, const char* help, Metrics::Labels labels) {
    const auto key = std::pair(std::string(name), labels);
    auto found = counters_.find(key);
    if (found == counters_.end()) found = counters_.emplace(key, metrics_.counter(name, help, labels)).first;
    return found->second;
  }
  Gauge& gauge(const char* name, const char* help, Metrics::Labels labels) {
    const auto key = std::pair(std::string(name), labels);
    auto found = gauges_.find(key);
    if (found == gauges_.end()) found = gauges_.emplace(key, metrics_.gauge(name, help, labels)).first;
    return found->second;
  }

};

}  // namespace greengate::adapters
