#pragma once

#include "adapters/wns/probe.h"
#include "adapters/wns/wns_core.h"
#include "core/clock.h"

#include <gtest/gtest.h>
#include <boost/json.hpp>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace greengate::test {

using adapters::ChannelReading;
using adapters::ChannelRecord;
using adapters::ChannelView;
using adapters::HttpHeaders;
using adapters::PushAnswer;
using adapters::PushOrder;
using adapters::Secret;
using adapters::TokenGrant;
using adapters::TokenOrder;
using adapters::WakeAnswer;
using adapters::WakeOrder;
using adapters::WakeState;
using adapters::WnsCore;
using adapters::WnsProbe;
using adapters::WnsSettings;
using adapters::WnsWork;
using adapters::wake_state_name;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

inline std::string read_sample(const std::string& name) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/wns/" + name, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return text.str();
}

inline boost::json::value vectors(const std::string& name) { return boost::json::parse(read_sample("vectors/" + name + ".json")); }

/// A clock whose hands the test moves; the wall's can jump alone.
class JumpyClock final : public Clock {
 public:
  WallTime wall() const override { return from_millis(1'768'469'400'000) + passed_ + jumped_; }  // 2026-01-15T09:30:00Z
  SteadyTime steady() const override { return SteadyTime(hours(1)) + passed_; }
  void advance(milliseconds by) { passed_ += by; }
  void jump_wall(milliseconds by) { jumped_ += by; }

 private:
  milliseconds passed_{0}, jumped_{0};
};

inline WnsSettings lab_settings() {
  WnsSettings settings;
  settings.enabled = true;
  settings.apps.resize(1);
  settings.apps[0].pfn = "fabrikam.mdm_8wekyb3d8bbwe";
  settings.apps[0].client_id = "ms-app://S-1-15-2-1000000001";
  settings.apps[0].secret_files = {"unused"};
  settings.fingerprint_key_file = "";
  return settings;
}

inline AgentId device(int number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016x", static_cast<unsigned>(number));
  return AgentId(text);
}

inline std::string uri_of(int number, int generation = 1, const std::string& host = "wns2-sim1p.notify.windows.com") {
  return "https://" + host + "/?token=QUFB%2b" + std::to_string(number) + "-" + std::to_string(generation) + "%3d";
}

inline PushAnswer answered(unsigned status, HttpHeaders headers = {}, std::string reason = "") {
  PushAnswer answer;
  answer.status = status;
  answer.headers = std::move(headers);
  answer.reason = std::move(reason);
  return answer;
}

inline PushAnswer received() { return answered(200, {{"X-WNS-STATUS", "received"}, {"X-WNS-DEVICECONNECTIONSTATUS", "connected"}}); }
inline PushAnswer failed(std::string code) {
  PushAnswer answer;
  answer.failure = std::move(code);
  return answer;
}

/// The core on a clock of its own, with answers by script.
struct Lab {
  struct Pushed {
    SteadyTime at;
    PushOrder order;
  };

  explicit Lab(WnsSettings given = lab_settings(), std::uint64_t seed = 1) : settings(std::move(given)), probe(metrics) {
    core.emplace(settings, "0123456789abcdef", clock, probe, seed);
    for (std::size_t i = 0; i < settings.apps.size(); ++i) core->secrets_changed(i, 1);
  }

  /// Gives a device a channel, as its first session would.
  void enroll(int number, int generation = 1, const std::string& host = "wns2-sim1p.notify.windows.com") {
    session(number, uri_of(number, generation, host));
  }
  /// A whole session that reads this.
  std::string session(int number, std::optional<std::string> uri, std::optional<int> status = 0, const std::string& enrollment = "0A") {
    core->session_opened(device(number));
    const std::string pfn = core->pfn_to_set(device(number));
    ChannelReading reading;
    reading.enrollment = enrollment;
    reading.uri = std::move(uri);
    reading.push_status = status;
    core->channel_read(device(number), reading);
    core->session_closed(device(number));
    return pfn;
  }
  /// What it came to after what follows at once.
  WakeAnswer wake(int number, bool urgent = false, milliseconds within = hours(8)) {
    WakeOrder order;
    order.reason = "quick_scan";
    order.deadline = clock.wall() + within;
    order.urgent = urgent;
    WakeAnswer answer = core->wake(device(number), order);
    if (!running) return answer;
    run();
    if (answer.code.empty()) answer.state = core->view(device(number))->wake.value();
    return answer;
  }
  /// Does what is due, until nothing is.
  void run() {
    for (;;) {
      WnsWork work = core->turn();
      if (work.pushes.empty() && work.tokens.empty()) return;
      for (const TokenOrder& order : work.tokens) {
        ++token_requests;
        token_times.push_back(clock.steady());
        core->token_answered(order.app, token_script(order));
      }
      for (PushOrder& order : work.pushes) {
        pushes.push_back({clock.steady(), order});
        if (hold) {
          held.push_back(order.id);
        } else {
          core->push_answered(order.id, script(order));
        }
      }
    }
  }
  void advance(milliseconds by) {
    const SteadyTime until = clock.steady() + by;
    run();
    while (clock.steady() < until) {
      const SteadyTime due = std::max(core->next_due(), clock.steady() + milliseconds(1));
      clock.advance(std::chrono::ceil<milliseconds>(std::min(due, until) - clock.steady()));
      run();
    }
  }
  void answer_held(const PushAnswer& answer) {
    const std::vector<std::uint64_t> now = std::exchange(held, {});
    for (const std::uint64_t id : now) core->push_answered(id, answer);
    run();
  }
  std::string state(int number) const { return core->view(device(number)).value_or(ChannelView()).state; }
  std::string wake_state(int number) const {
    const auto view = core->view(device(number));
    return view && view->wake ? wake_state_name(*view->wake) : "none";
  }
  std::size_t pushes_to(int number, int generation = 1) const {
    const std::string mark = "%2b" + std::to_string(number) + "-" + std::to_string(generation) + "%3d";
    return static_cast<std::size_t>(
        std::count_if(pushes.begin(), pushes.end(), [&](const Pushed& p) { return p.order.channel.target.ends_with(mark); }));
  }
  double metric(const std::string& line_start) const {
    std::istringstream text(metrics.render());
    for (std::string line; std::getline(text, line);)
      if (line.starts_with(line_start)) return std::stod(line.substr(line.rfind(' ') + 1));
    return 0;
  }

  static Result<TokenGrant> grant(const std::string& text, seconds life = seconds(86'400)) {
    TokenGrant made;
    made.token = Secret(std::string(text));
    made.life = life;
    return made;
  }

  WnsSettings settings;
  JumpyClock clock;
  Metrics metrics;
  WnsProbe probe;
  std::optional<WnsCore> core;
  bool running = true;  ///< wake() runs what follows from it.
  bool hold = false;    ///< Answers wait for answer_held().
  std::vector<std::uint64_t> held;
  std::vector<Pushed> pushes;
  int token_requests = 0;
  std::vector<SteadyTime> token_times;
  std::function<PushAnswer(const PushOrder&)> script = [](const PushOrder&) { return received(); };
  std::function<Result<TokenGrant>(const TokenOrder&)> token_script = [this](const TokenOrder&) {
    return grant("TOKEN-" + std::to_string(token_requests));
  };
};

}  // namespace greengate::test
