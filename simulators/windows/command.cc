#include "simulators/windows/command.h"

#include "core/log.h"
#include "simulators/common/text.h"
#include "simulators/mdm_device/dm_line.h"
#include "simulators/windows/windows.h"

#include <boost/asio.hpp>

#include <CLI/CLI.hpp>

#include <fstream>
#include <iostream>

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
const Log log_("windows_sim");

}  // namespace

struct WindowsCommand::Options {
  CLI::App *wns = nullptr, *devices = nullptr, *both = nullptr;
  WindowsSettings settings;
  std::string dir = "sim-evidence", log_level = "info", evidence = "full", clock = "running", start, password_file;
  std::uint16_t admin_port = 0;

  void add_common(CLI::App& app) {
    app.add_option("--dir", dir, "Folder for evidence, certificates and state")->capture_default_str();
    app.add_option("--bind", settings.wns.listener.bind_address, "Address to listen on")->capture_default_str();
    app.add_option("--admin-port", admin_port, "Port of the JSON admin server, always on loopback; 0 chooses one")->capture_default_str();
    app.add_option("--log-level", log_level, "debug, info, warn or error")->check(CLI::IsMember({"debug", "info", "warn", "error"}))->capture_default_str();
    app.add_option("--evidence", evidence, "full, lines or none")->check(CLI::IsMember({"full", "lines", "none"}))->capture_default_str();
    app.add_option("--seed", settings.seed, "Seed of everything left to chance")->capture_default_str();
    app.add_option("--clock", clock, "running: with real time, and jumps; held: only jumps")->check(CLI::IsMember({"running", "held"}))->capture_default_str();
    app.add_option("--start", start, "The simulated time at the start, YYYY-MM-DDTHH:MM:SSZ; now if left out");
    app.add_option("--apps", settings.apps_file, "JSON file: [{\"pfn\",\"auth\",\"client_id\",\"client_secret\",\"tenant\",\"closed\"}]; one legacy app if left out")
        ->check(CLI::ExistingFile);
  }
  void add_wns(CLI::App& app) {
    app.add_option("--wns-port", settings.wns.listener.port, "HTTPS port of token services and push service; 0 chooses one")->capture_default_str();
    app.add_option("--host", settings.wns.hosts, "First label of a push host, below notify.windows.com; may come again")->capture_default_str();
    app.add_option("--continue-delay", settings.wns.listener.continue_delay, "Milliseconds until 100 Continue, for those who ask");
  }
  void add_devices(CLI::App& app) {
    app.add_option("--devices", settings.devices, "How many devices to enrol at the start")->check(CLI::Range(0, 100'000))->capture_default_str();
    app.add_option("--prefix", settings.prefix, "Their names: prefix and number")->capture_default_str();
    app.add_option("--dm-url", settings.mdm.dm_url, "Management address of the DM server, https://…");
    app.add_option("--dm-connect", settings.mdm.dm_connect, "host:port to connect to instead of what the address says");
    app.add_option("--dm-ca", settings.mdm.dm_ca_file, "PEM of the authority of the DM server's certificate; without it any is taken")
        ->check(CLI::ExistingFile);
    app.add_option("--provider-id", settings.mdm.provider_id, "ProviderID of the management account")->capture_default_str();
    app.add_option("--dm-user", settings.mdm.user, "User name of the account, for syncml:auth-md5");
    app.add_option("--dm-password-file", password_file, "File with its password")->check(CLI::ExistingFile);
    app.add_option("--poll", settings.mdm.poll, "Poll schedule: minutes x number for three sets, 0 for ever")->capture_default_str();
    app.add_option("--push-delay", settings.mdm.push_delay_ms, "Milliseconds from a push to the session")->capture_default_str();
    app.add_option("--channel-delay", settings.mdm.channel_delay_ms, "Most milliseconds to get a channel; 0 when the clock is held");
    app.add_option("--http-timeout", settings.mdm.http_timeout_ms, "Milliseconds of real time for one exchange")->capture_default_str();
  }
};

WindowsCommand::WindowsCommand(CLI::App& app) : options_(std::make_unique<Options>()) {
  Options& o = *options_;
  o.settings.mdm.channel_delay_ms = -1;
  o.wns = app.add_subcommand("wns", "The push notification service for Windows, with --devices also simulated devices");
  o.devices = app.add_subcommand("mdm-device", "Simulated Windows devices alone: they poll, and get channels nobody can push to");
  o.both = app.add_subcommand("windows", "Push service and devices in one process");
  for (CLI::App* each : {o.wns, o.devices, o.both}) {
    o.add_common(*each);
    o.add_devices(*each);
  }
  for (CLI::App* each : {o.wns, o.both}) o.add_wns(*each);
}
WindowsCommand::~WindowsCommand() = default;

bool WindowsCommand::chosen() const {
  return options_->wns->parsed() || options_->devices->parsed() || options_->both->parsed();
}

int WindowsCommand::run() {
  Options& o = *options_;
  WindowsSettings& s = o.settings;
  const auto give_up = [](const Error& error, int code) {
    std::cerr << "greengate-sim: " << error.message << " (" << error.code << ")\n";
    return code;
  };
  LogLevel level{};
  if (parse_log_level(o.log_level, level)) set_log_level(level);
  s.dir = o.dir;
  s.with_wns = !o.devices->parsed();
  parse_evidence_level(o.evidence, s.evidence);
  s.clock_mode = o.clock == "held" ? SimClock::Mode::held : SimClock::Mode::running;
  if (s.mdm.channel_delay_ms < 0) s.mdm.channel_delay_ms = s.clock_mode == SimClock::Mode::held ? 0 : 2'000;
  s.start = SystemClock().wall();
  if (!o.start.empty()) {
    const auto time = parse_iso_utc(o.start);
    if (!time) return give_up(Error{Remedy::reject, "option.start", "--start is \"" + o.start + "\"; write YYYY-MM-DDTHH:MM:SSZ.", {}}, 2);
    s.start = *time;
  }
  if (!o.password_file.empty()) {
    std::ifstream in(o.password_file);
    std::getline(in, s.mdm.password);
  }
  if (auto schedule = mdm::PollSchedule::parse(s.mdm.poll); !schedule) return give_up(schedule.error(), 2);
  if (!s.mdm.dm_url.empty())
    if (auto address = mdm::DmAddress::parse(s.mdm.dm_url, s.mdm.dm_connect); !address) return give_up(address.error(), 2);
  for (const std::string& host : s.wns.hosts)
    if (host.empty() || host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") != std::string::npos)
      return give_up(Error{Remedy::reject, "option.host", "--host is \"" + host + "\"; it is a lower-case label.", {}}, 2);

  asio::io_context io(1);
  Windows windows(io, s);
  if (auto started = windows.start(); !started) return give_up(started.error(), 1);
  AdminServer admin(io, "127.0.0.1", o.admin_port);
  admin.mount("/windows/", [&windows](AdminRequest request) -> asio::awaitable<AdminReply> {
    AdminReply reply = co_await windows.admin(std::move(request));
    co_return reply;
  });
  admin.mount("/health", [](AdminRequest) -> asio::awaitable<AdminReply> { co_return AdminReply(200, R"({"ok":true})"); });
  if (auto started = admin.start(); !started) return give_up(started.error(), 1);

  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](const boost::system::error_code& failed, int number) {
    if (failed) return;
    log_.info("stopping", kv("signal", number));
    windows.stop();
    admin.stop();
    io.stop();
  });
  json::object ready{{"ready", true}};
  windows.describe(ready);
  ready["admin_port"] = admin.port();
  std::error_code ignored;
  ready["dir"] = std::filesystem::absolute(s.dir, ignored).string();
  std::cout << json::serialize(ready) << std::endl;
  log_.info("ready", kv("admin_port", admin.port()), kv("devices", s.devices), kv("dir", o.dir));
  io.run();
  return 0;
}

}  // namespace greengate::sim
