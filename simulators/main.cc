#include "core/clock.h"
#include "core/log.h"
#include "simulators/common/admin_server.h"
#include "simulators/common/text.h"
#include "simulators/management_point/management_point.h"
#include "simulators/notification_server/calibrate.h"
#include "simulators/notification_server/notification_server.h"
#include "simulators/windows/command.h"

#include <boost/asio.hpp>
#include <boost/json.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

// greengate-sim: strict stand-ins for Microsoft's servers. One process may run several of them.

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

const Log log_("sim");

struct Options {
  bool mp = false, notify = false;
  std::string dir = "sim-evidence", bind_address = "127.0.0.1", log_level = "info";
  std::uint16_t admin_port = 0;
  unsigned threads = 1;
  MpSettings mp_settings;
  std::string evidence = "full", approval = "auto", post_reply = "empty", file_type = "element",
              windows_auth = "accept", policy_date;
  std::int64_t pending_for_ms = 0;
  std::vector<std::string> checks;
  std::string checks_file;
  NotifyConfig notify_config;
  std::string notify_config_file;
  CalibrateOptions calibrate;
};

void add_common(CLI::App& app, Options& o) {
  app.add_option("--dir", o.dir, "Folder for evidence and state")->capture_default_str();
  app.add_option("--bind", o.bind_address, "Address to listen on")->capture_default_str();
  app.add_option("--admin-port", o.admin_port,
                 "Port of the JSON admin server, always on loopback; 0 chooses one")
      ->capture_default_str();
  app.add_option("--threads", o.threads, "Threads of the management point")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--log-level", o.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
}

void add_mp(CLI::App& app, Options& o) {
  MpSettings& s = o.mp_settings;
  app.add_option("--mp-port", s.port, "HTTP port; 0 chooses one")->capture_default_str();
  app.add_flag("--tls", s.tls,
               "Serve HTTPS too, with a certificate of its own unless one is given");
  app.add_option("--mp-tls-port", s.tls_port, "HTTPS port; 0 chooses one")->capture_default_str();
  auto* certificate = app.add_option("--tls-certificate", s.tls_certificate_file,
                                     "PEM file of the server's certificate chain")
                          ->check(CLI::ExistingFile);
  auto* key = app.add_option("--tls-key", s.tls_key_file, "PEM file of its private key")
                  ->check(CLI::ExistingFile);
  certificate->needs(key);
  key->needs(certificate);
  app.add_option("--client-ca", s.client_ca_file,
                 "PEM file of the CAs that client certificates must come from")
      ->check(CLI::ExistingFile);
  app.add_flag("--require-client-certificate", s.require_client_certificate,
               "403 over HTTPS without a client certificate");
  app.add_flag("--https-only", s.https_only, "403 on the HTTP port");
  app.add_option("--host-name", s.host_name, "The management point's own name")
      ->capture_default_str();
  app.add_option("--site-code", s.site_code, "Site code")->capture_default_str();
  app.add_option("--evidence", o.evidence, "full, lines or none")
      ->check(CLI::IsMember({"full", "lines", "none"}))
      ->capture_default_str();
  app.add_option("--pending-for", o.pending_for_ms,
                 "Milliseconds from a registration to the first Status 0")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{86'400'000}))
      ->capture_default_str();
  app.add_option("--approval", o.approval, "auto, or manual: an operator approves at /mp/approve")
      ->check(CLI::IsMember({"auto", "manual"}))
      ->capture_default_str();
  app.add_option("--post-reply", o.post_reply, "Answer of an accepted Post: empty or header")
      ->check(CLI::IsMember({"empty", "header"}))
      ->capture_default_str();
  app.add_option("--file-type-form", o.file_type,
                 "Where relay messages carry FileType: element, hookprop or either")
      ->check(CLI::IsMember({"element", "hookprop", "either"}))
      ->capture_default_str();
  app.add_option("--windows-auth", o.windows_auth,
                 "_windowsauth paths: accept, or challenge with 401 first")
      ->check(CLI::IsMember({"accept", "challenge"}))
      ->capture_default_str();
  app.add_option("--policy-date", o.policy_date,
                 "Date of the inventory policy, YYYY-MM-DDTHH:MM:SSZ; the start if left out");
  app.add_option("--policy-template", s.policy_template_file,
                 "File with the text of an inventory policy")
      ->check(CLI::ExistingFile);
  app.add_flag("--forbidden-policies", s.forbidden_policies,
               "Assign policies flagged task sequence, authentication and secret too; a GET of one is in other.jsonl");
  app.add_option("--check", o.checks, "NAME=off|warn|fail, NAME may end in .*; may come again");
  app.add_option("--checks", o.checks_file, "JSON file: {\"NAME\": \"off|warn|fail\"}")
      ->check(CLI::ExistingFile);
  app.add_option("--max-body", s.content_length_max, "Largest Content-Length in bytes")
      ->capture_default_str();
  app.add_option("--max-inflated", s.inflated_bytes_max, "Largest inflated payload in bytes")
      ->capture_default_str();
  app.add_option("--max-clients", s.clients_max, "Most registered clients")->capture_default_str();
  app.add_option("--seed", s.seed, "Seed of the faults' chances")->capture_default_str();
}

void add_notify(CLI::App& app, Options& o) {
  app.add_option("--notify-port", o.notify_config.port,
                 "Port of the notification server; 0 chooses one")
      ->capture_default_str();
  app.add_option("--notify-profile", o.notify_config.profile, "Wire profile")
      ->capture_default_str();
  app.add_option("--notify-http", o.notify_config.http, "The second listener, for HTTP mode: off, http or https")
      ->check(CLI::IsMember({"off", "http", "https"}))
      ->capture_default_str();
  app.add_option("--notify-http-port", o.notify_config.http_port, "Its port; 0 chooses one")->capture_default_str();
  app.add_option("--notify-config", o.notify_config_file,
                 "JSON file with the notification server's other settings; flags win")
      ->check(CLI::ExistingFile);
}

void add_calibrate(CLI::App& app, Options& o) {
  CalibrateOptions& c = o.calibrate;
  app.add_flag("--calibrate", c.on, "Solve the wire layout from a client's first frames and write a profile file");
  app.add_option("--capture", c.captures, "With --calibrate: a captured frame, or two in one; may come again. Without it, wait for a client")
      ->check(CLI::ExistingFile);
  app.add_option("--profile-out", c.profile_file, "With --calibrate: where the profile goes")->capture_default_str();
  app.add_option("--profile-name", c.name, "With --calibrate: its name")->capture_default_str();
  app.add_option("--calibrate-wait", c.wait_s, "With --calibrate: seconds to wait for a client, and then for its KeepAlive")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
}

Result<void> read_checks(const Options& o, CheckLevels& levels) {
  if (!o.checks_file.empty()) {
    std::ifstream in(o.checks_file, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    json::error_code error;
    const json::value value = json::parse(text.str(), error);
    if (!in || error || !value.is_object())
      return fail(Remedy::reject, "check.syntax",
                  "The file " + o.checks_file + " is no JSON object.");
    for (const auto& [name, level] : value.as_object()) {
      if (!level.is_string())
        return fail(Remedy::reject, "check.syntax",
                    "The check \"" + std::string(name) + "\" needs off, warn or fail.");
      if (auto set = levels.set(std::string(name) + "=" + std::string(level.as_string())); !set)
        return set;
    }
  }
  for (const std::string& one : o.checks)
    if (auto set = levels.set(one); !set) return set;
  return {};
}

Result<void> complete(Options& o) {
  MpSettings& s = o.mp_settings;
  s.bind_address = o.bind_address;
  s.dir = o.dir;
  parse_evidence_level(o.evidence, s.evidence);
  s.pending_for = std::chrono::milliseconds{o.pending_for_ms};
  s.manual_approval = o.approval == "manual";
  s.post_reply_header = o.post_reply == "header";
  s.windows_auth_challenge = o.windows_auth == "challenge";
  s.file_type_form = o.file_type == "element"    ? FileTypeForm::element
                     : o.file_type == "hookprop" ? FileTypeForm::hook_property
                                                 : FileTypeForm::either;
  if (!o.policy_date.empty()) {
    const auto date = parse_iso_utc(o.policy_date);
    if (!date)
      return fail(Remedy::reject, "option.policy_date",
                  "--policy-date is \"" + o.policy_date + "\"; write YYYY-MM-DDTHH:MM:SSZ.");
    s.policy_date_ms = to_millis(*date);
  }
  if (s.https_only && !s.tls)
    return fail(Remedy::reject, "option.tls", "--https-only needs --tls.");
  if (!o.notify_config_file.empty()) {
    std::ifstream in(o.notify_config_file, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    NotifyConfig flags = o.notify_config;
    auto read = notify_config_from_json(text.str(), flags);
    if (!read) return pass(read);
    o.notify_config = std::move(*read);
    const NotifyConfig none;
    if (flags.port != none.port) o.notify_config.port = flags.port;
    if (flags.profile != none.profile) o.notify_config.profile = flags.profile;
    if (flags.http != none.http) o.notify_config.http = flags.http;
    if (flags.http_port != none.http_port) o.notify_config.http_port = flags.http_port;
  }
  o.notify_config.bind_address = o.bind_address;
  o.notify_config.dir = std::filesystem::path(o.dir) / "notify";
  return read_checks(o, s.checks);
}

/// The notification server on an io_context and a thread of its own, whatever the management
/// point's are.
class NotifyRunner {
 public:
  NotifyRunner(NotifyConfig config, const ClientDirectory* clients)
      : server_(io_, std::move(config), clients) {}
  ~NotifyRunner() {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] { server_.stop(); });
    work_.reset();
    asio::post(io_, [this] { io_.stop(); });
    thread_.join();
  }
  Result<void> start() {
    if (auto started = server_.start(); !started) return started;
    thread_ = std::thread([this] { io_.run(); });
    return {};
  }
  std::uint16_t port() const { return server_.port(); }
  std::uint16_t http_port() const { return server_.http_port(); }
  asio::awaitable<AdminReply> admin(AdminRequest request) {
    auto [status, text] =
        co_await asio::co_spawn(io_, answer(std::move(request)), asio::use_awaitable);
    AdminReply reply(status, std::move(text));
    co_return reply;
  }

 private:
  asio::awaitable<std::pair<unsigned, std::string>> answer(AdminRequest request) {
    std::string path = request.path;
    if (!request.query.empty()) path += "?" + request.query;
    co_return server_.admin(request.method, path, request.body);
  }
  asio::io_context io_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_{
      asio::make_work_guard(io_)};
  NotificationServer server_;
  std::thread thread_;
};

int run(Options& o) {
  LogLevel level{};
  if (parse_log_level(o.log_level, level)) set_log_level(level);
  const auto give_up = [](const Error& error, int code) {
    std::cerr << "greengate-sim: " << error.message << " (" << error.code << ")\n";
    return code;
  };
  if (auto completed = complete(o); !completed) return give_up(completed.error(), 2);
  if (o.calibrate.on) {
    auto calibrated = run_calibration(o.calibrate, o.notify_config, std::cout);
    return calibrated ? 0 : give_up(calibrated.error(), 1);
  }
  const SystemClock clock;
  asio::io_context io(static_cast<int>(o.threads));
  asio::signal_set signals(io, SIGTERM, SIGINT);
  AdminServer admin(io, "127.0.0.1", o.admin_port);
  json::object ready{{"ready", true}};

  std::unique_ptr<ManagementPoint> mp;
  if (o.mp) {
    mp = std::make_unique<ManagementPoint>(io, o.mp_settings, clock);
    if (auto started = mp->start(); !started) return give_up(started.error(), 1);
    ready["mp_port"] = mp->port();
    if (o.mp_settings.tls) ready["mp_tls_port"] = mp->tls_port();
    admin.mount("/mp/", [&mp](AdminRequest request) -> asio::awaitable<AdminReply> {
      co_return mp->admin(request);
    });
  }
  std::unique_ptr<NotifyRunner> notify;
  if (o.notify) {
    notify = std::make_unique<NotifyRunner>(o.notify_config, mp ? &mp->clients() : nullptr);
    if (auto started = notify->start(); !started) return give_up(started.error(), 1);
    ready["notify_port"] = notify->port();
    if (notify->http_port() != 0) ready["notify_http_port"] = notify->http_port();
    admin.mount("/notify/", [&notify](AdminRequest request) -> asio::awaitable<AdminReply> {
      AdminReply reply = co_await notify->admin(std::move(request));
      co_return reply;
    });
  }
  admin.mount("/health", [](AdminRequest) -> asio::awaitable<AdminReply> {
    co_return AdminReply(200, R"({"ok":true})");
  });
  if (auto started = admin.start(); !started) return give_up(started.error(), 1);
  ready["admin_port"] = admin.port();
  std::error_code ignored;
  ready["dir"] = std::filesystem::absolute(o.dir, ignored).string();

  signals.async_wait([&](const boost::system::error_code& failed, int number) {
    if (failed) return;
    log_.info("stopping", kv("signal", number));
    if (mp) mp->stop();
    admin.stop();
    io.stop();
  });
  std::cout << json::serialize(ready) << std::endl;
  log_.info("ready", kv("mp_port", mp ? mp->port() : 0), kv("admin_port", admin.port()),
            kv("dir", o.dir));

  std::vector<std::thread> more;
  for (unsigned i = 1; i < o.threads; ++i) more.emplace_back([&io] { io.run(); });
  io.run();
  for (std::thread& thread : more) thread.join();
  return 0;
}

int main_with(int argc, char** argv) {
  CLI::App app{"Strict, scriptable stand-ins for the servers Greengate talks to"};
  app.set_version_flag("--version", GREENGATE_VERSION);
  app.require_subcommand(1);
  Options o;
  CLI::App* const mp = app.add_subcommand("mp", "The management point");
  CLI::App* const notify = app.add_subcommand("notify", "The client notification server");
  CLI::App* const both = app.add_subcommand(
      "both",
      "Both in one process, the notification server knowing the management point's clients");
  WindowsCommand windows(app);
  for (CLI::App* const each : {mp, notify, both}) add_common(*each, o);
  for (CLI::App* const each : {mp, both}) add_mp(*each, o);
  for (CLI::App* const each : {notify, both}) add_notify(*each, o);
  add_calibrate(*notify, o);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  if (windows.chosen()) return windows.run();
  o.mp = mp->parsed() || both->parsed();
  o.notify = notify->parsed() || both->parsed();
  return run(o);
}

}  // namespace
}  // namespace greengate::sim

int main(int argc, char** argv) {
  return greengate::sim::main_with(argc, argv);
}
