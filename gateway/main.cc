// greengate: the gateway. Reads its configuration, builds the house, and waits for a signal.

#include "core/clock.h"
#include "core/log.h"
#include "gateway/config.h"
#include "gateway/end.h"
#include "gateway/house.h"

#include <CLI/CLI.hpp>

#include <signal.h>

#include <chrono>
#include <cstdio>
#include <fstream>

namespace {

constexpr int exit_failed = 1, exit_usage = 2, exit_bad_configuration = 78;

// For letting go after the draining, usually a fraction of a second; on a machine whose processors are all taken it may be more. What takes
// longer is left behind.
constexpr std::chrono::milliseconds stop_margin{3'000};

// Written beside and renamed, so that who waits for the file never reads half of it.
bool write_ready_file(const std::string& path, const std::string& line) {
  const std::string fresh = path + ".new";
  {
    std::ofstream file(fresh, std::ios::trunc);
    file << line << "\n";
    if (!file.flush()) return false;
  }
  return std::rename(fresh.c_str(), path.c_str()) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Brings non-Windows machines back into a Configuration Manager site.", "greengate");
  std::string config_file = "/etc/greengate/greengate.toml";
  bool check_only = false;
  app.add_option("--config", config_file, "The configuration file")->capture_default_str();
  app.add_flag("--check-config", check_only, "Report every mistake in the configuration file and end");
  app.set_version_flag("--version", GREENGATE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }

  const auto loaded = greengate::gateway::load_config(config_file);
  for (const std::string& problem : loaded.problems) std::fprintf(stderr, "%s\n", problem.c_str());
  if (!loaded.problems.empty()) return exit_bad_configuration;
  if (check_only) {
    std::printf("%s is fine.\n", config_file.c_str());
    return 0;
  }
  const auto& config = loaded.config;
  greengate::LogLevel level{};
  if (greengate::parse_log_level(config.gateway.log_level, level)) greengate::set_log_level(level);
  const greengate::Log log("main");

  signal(SIGPIPE, SIG_IGN);
  greengate::gateway::End end;  // before any other thread, so that only its own takes the signals
  const greengate::SystemClock clock;
  auto house = greengate::gateway::House::build(config, clock);
  if (!house) {
    log.error("cannot be built", greengate::kv("code", house.error().code), greengate::kv("why", house.error().message));
    return exit_failed;
  }
  if (auto started = (*house)->start(); !started) {
    log.error("cannot start", greengate::kv("code", started.error().code), greengate::kv("why", started.error().message));
    return exit_failed;
  }
  log.info("ready", greengate::kv("version", GREENGATE_VERSION), greengate::kv("addresses", (*house)->addresses()));
  end.ready();
  if (!config.gateway.ready_file.empty() && !write_ready_file(config.gateway.ready_file, (*house)->addresses())) {
    log.error("the ready file cannot be written", greengate::kv("path", config.gateway.ready_file));
    end.watch(clock.steady() + stop_margin, [&house] { return (*house)->at(); });
    (*house)->shut_down({});
    return exit_failed;
  }

  const int signal_number = end.wait();
  log.info("stopping", greengate::kv("signal", signal_number), greengate::kv("drain_timeout_ms", config.gateway.drain_timeout));
  const auto drain_until = clock.steady() + config.gateway.drain_timeout;
  end.watch(drain_until + stop_margin, [&house] { return (*house)->at(); });
  (*house)->shut_down(drain_until);
  log.info("stopped");
  end.everything_is_kept(clock.steady() + stop_margin);
  house->reset();
  return 0;
}
