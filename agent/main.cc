// greengate-agent: one command a function, main() only says which.
#include "agent/agent.h"
#include "agent/ask.h"
#include "agent/background.h"
#include "agent/collectors/collectors.h"
#include "agent/collectors/custom_inventory.h"
#include "agent/collectors/text.h"
#include "agent/config.h"
#include "agent/inventory_view.h"
#include "agent/memory.h"
#include "agent/software/view.h"
#include "agent/state_directory.h"
#include "agent/status.h"
#include "agent/tasks/log_package.h"
#include "agent/trees/encoding.h"
#include "agent/trees/pace.h"
#include "core/log.h"

#include <sys/signalfd.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>

namespace greengate::agent {
namespace {

constexpr int exit_failed = 1;
constexpr int exit_usage = 2;
constexpr int exit_config = 78;
// For a package manager that lists every file it has.
constexpr std::chrono::milliseconds software_command_patience{60'000};

struct Options {
  std::string config_file = "/etc/greengate/greengate-agent.toml";
  bool check_config = false;

  bool json = false;
  bool full = false;
  bool software = false;
  std::string class_name;

  // enrol
  std::string token, token_file, gateway, gateway_key, state_directory;
  std::uint32_t patience_s = 30;

  // send-state
  std::uint32_t topic_type = 0, state_id = 0, criticality = 0;
  std::string topic_id, details;
  std::vector<std::string> parameters;
  std::uint32_t ttl_s = 0;

  // collect, the agent's own helper
  std::string what;
  bool no_commands = false;
  std::int64_t command_patience_ms = 10'000;
  std::int64_t installed_at_ms = 0;
  std::string custom_problems;
  std::string output;

  // policy, locate
  bool refresh = false;
  std::string locate_what, package_id;
  std::uint32_t package_version = 0;

  std::uint32_t count = 20;
};

int complain(const Error& error) {
  std::cerr << "greengate-agent: " << error.message << " (" << error.code << ")\n";
  return exit_failed;
}

std::optional<AgentConfig> config_or_complaints(const Options& options) {
  LoadedConfig loaded = load_config(options.config_file);
  for (const std::string& problem : loaded.problems) std::cerr << problem << '\n';
  if (!loaded.problems.empty()) return std::nullopt;
  set_log_level(loaded.config.log_level);
  return std::move(loaded.config);
}

std::string own_executable() {
  std::error_code failed;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", failed);
  return failed ? "/proc/self/exe" : path.string();
}

// Before any thread: the signals that end us are read from a descriptor instead.
int stop_descriptor() {
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGTERM);
  sigaddset(&stops, SIGINT);
  sigprocmask(SIG_BLOCK, &stops, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return signalfd(-1, &stops, SFD_NONBLOCK | SFD_CLOEXEC);
}

int run(const Options& options) {
  auto config = config_or_complaints(options);
  if (!config) return exit_config;
  const int stop_fd = stop_descriptor();
  const SystemClock clock;
  auto agent = Agent::make(std::move(*config), own_executable(), clock);
  if (!agent) return complain(agent.error());
  (*agent)->run(stop_fd);
  return 0;
}

int enrol(const Options& options) {
  AgentConfig config;
  if (options.gateway.empty()) {
    auto loaded = config_or_complaints(options);
    if (!loaded) return exit_config;
    config = std::move(*loaded);
  } else {
    std::string text = "gateway.endpoints = [\"" + options.gateway + "\"]\ngateway.key = \"" +
                       options.gateway_key + "\"\n";
    LoadedConfig loaded = load_config_text(text, "command line");
    for (const std::string& problem : loaded.problems) std::cerr << problem << '\n';
    if (!loaded.problems.empty()) return exit_usage;
    config = std::move(loaded.config);
  }
  if (!options.token.empty() || !options.token_file.empty()) {
    config.token = options.token;
    config.token_file = options.token_file;
  }
  if (!options.state_directory.empty()) config.state_directory = options.state_directory;
  set_log_level(LogLevel::error);
  const int stop_fd = stop_descriptor();
  const SystemClock clock;
  auto agent = Agent::make(std::move(config), own_executable(), clock);
  if (!agent) return complain(agent.error());
  const auto ended = (*agent)->enrol(stop_fd, std::chrono::seconds(options.patience_s));
  if (!ended) return complain(ended.error());
  switch (ended->state) {
    case v1::ENROL_STATE_ACTIVE:
      std::cout << "Enrolled as " << ended->agent_id << ".\n";
      return 0;
    case v1::ENROL_STATE_PENDING:
      std::cout << "Known as " << ended->agent_id << ", and waiting for an operator's approval.\n";
      return 0;
    default:
      std::cout << "Refused: " << ended->message << " (" << ended->code << ")\n";
      return exit_failed;
  }
}

int software_inventory(const Options& options) {
  const SystemClock clock;
  AgentConfig config;
  // Without a file, what an agent with nothing configured would scan.
  if (std::filesystem::exists(options.config_file)) {
    auto loaded = config_or_complaints(options);
    if (!loaded) return exit_config;
    config = std::move(*loaded);
  }
  MachineView view;
  view.may_run_commands = config.may_run_commands && !options.no_commands;
  view.command_patience = software_command_patience;
  const auto found = look_at_software(config, view, clock);
  if (!found) return complain(found.error());
  std::cout << (options.json ? software_json(*found) : software_table(*found, options.full));
  return std::cout.flush() ? 0 : exit_failed;
}

int inventory(const Options& options) {
  if (options.software) return software_inventory(options);
  const SystemClock clock;
  MachineView view;
  view.may_run_commands = !options.no_commands;
  const v1::Discovery discovery = [&] {
    v1::Discovery found = collect_discovery(view, clock);
    found.set_agent_version(agent_version());
    return found;
  }();
  v1::HardwareInventory found = collect_hardware_inventory(view, clock);
  if (!options.no_commands) {
    // As the agent here would; without a configuration file, as one with the defaults.
    std::error_code unreadable;
    AgentConfig config;
    if (std::filesystem::exists(options.config_file, unreadable)) config = load_config(options.config_file).config;
    std::vector<ScriptProblem> problems;
    collect_custom_inventory(config.custom, found, problems);
  }
  InventoryViewOptions shown;
  shown.full = options.full;
  shown.class_name = options.class_name;
  std::cout << (options.json ? inventory_json(found, discovery, shown)
                             : inventory_table(found, discovery, shown));
  return std::cout.flush() ? 0 : exit_failed;
}

// The package of the agent's own logs; its path and hash, not its content, go to the agent.
int collect_logs(const Options& options) {
  become_low_priority();
  const auto config = config_or_complaints(options);
  if (!config) return exit_config;
  const SystemClock clock;
  std::vector<LogPart> extra;
  if (auto outbox = Outbox::open_to_read({config->outbox_file()}, clock))
    extra.push_back({"status.json", status_json(**outbox, 200), to_millis(clock.wall()) / 1'000});
  const auto hash = write_log_package(config->tasks.logs, config->may_run_commands, extra, options.output);
  if (!hash) return complain(hash.error());
  std::cout << to_hex(*hash) << '\n';
  return std::cout.flush() ? 0 : exit_failed;
}

int collect(const Options& options) {
  if (options.what == "logs") return collect_logs(options);
  const SystemClock clock;
  MachineView view;
  view.may_run_commands = !options.no_commands;
  view.command_patience = std::chrono::milliseconds(options.command_patience_ms);
  std::string body;
  if (options.what == "software" || options.what == "files") {
    become_low_priority();
    const auto config = config_or_complaints(options);
    if (!config) return exit_config;
    view.command_patience = software_command_patience;
    auto collected = options.what == "software" ? collect_software(*config, view, clock)
                                                : collect_file_plan(*config, view, clock);
    if (!collected) {
      const Log log(options.what);
      log.error("nothing collected", kv("code", collected.error().code),
                kv("why", collected.error().message));
      return exit_failed;
    }
    body = std::move(*collected);
  } else if (options.what == "discovery") {
    v1::Discovery discovery = collect_discovery(view, clock);
    discovery.set_agent_version(agent_version());
    discovery.set_installed_at_ms(options.installed_at_ms);
    body = discovery.SerializeAsString();
  } else {
    v1::HardwareInventory inventory = collect_hardware_inventory(view, clock);
    if (!options.no_commands && !options.custom_problems.empty()) {
      const auto config = config_or_complaints(options);
      if (!config) return exit_config;
      std::vector<ScriptProblem> problems;
      collect_custom_inventory(config->custom, inventory, problems);
      // Unwritten, the agent tells the site nothing of them; the log has them.
      std::ofstream(options.custom_problems, std::ios::binary) << problems_text(problems);
    }
    body = inventory.SerializeAsString();
  }
  const bool written =
      std::fwrite(body.data(), 1, body.size(), stdout) == body.size() && std::fflush(stdout) == 0;
  return written ? 0 : exit_failed;
}

int status(const Options& options) {
  auto config = config_or_complaints(options);
  if (!config) return exit_config;
  const SystemClock clock;
  auto outbox = Outbox::open_to_read({config->outbox_file()}, clock);
  if (!outbox) return complain(outbox.error());
  std::cout << (options.json ? status_json(**outbox, options.count)
                             : status_text(**outbox, options.count));
  return std::cout.flush() ? 0 : exit_failed;
}

// Through the agent that runs here: it has the link.
int ask(const Options& options, const v1::Ask& question) {
  auto config = config_or_complaints(options);
  if (!config) return exit_config;
  const auto answer = ask_agent(config->door_file(), question, std::chrono::seconds(options.patience_s));
  if (!answer) return complain(answer.error());
  if (options.json) std::cout << answer_to_json(*answer) << '\n';
  if (!answer->code().empty()) {
    std::cerr << "greengate-agent: " << clean_text(answer->message(), 500) << " (" << clean_text(answer->code(), 80) << ")\n";
    if (answer->retry_after_ms() > 0) std::cerr << "Worth trying again in " << (answer->retry_after_ms() + 999) / 1'000 << " s.\n";
    return exit_failed;
  }
  if (!options.json) std::cout << answer_text(*answer);
  return std::cout.flush() ? 0 : exit_failed;
}

int policy(const Options& options) {
  v1::Ask question;
  question.mutable_policy()->set_refresh(options.refresh);
  return ask(options, question);
}

int locate(const Options& options) {
  v1::Ask question;
  v1::LocateAsk& what = *question.mutable_locate();
  what.set_kind(locate_kind(options.locate_what));
  what.set_refresh(options.refresh);
  if (what.kind() == v1::LOCATE_KIND_CONTENT) {
    if (options.package_id.empty()) {
      std::cerr << "greengate-agent: locate content needs the content's id and version, such as P0100012 1.\n";
      return exit_usage;
    }
    what.set_package_id(options.package_id);
    what.set_package_version(options.package_version);
  }
  return ask(options, question);
}

int send_state(const Options& options) {
  auto config = config_or_complaints(options);
  if (!config) return exit_config;
  const SystemClock clock;
  OutboxConfig outbox_config;
  outbox_config.path = config->outbox_file();
  outbox_config.bytes_max = config->outbox_bytes_max;
  auto outbox = Outbox::open(std::move(outbox_config), clock);
  if (!outbox) return complain(outbox.error());
  StateDirectory::hand_over(config->state_directory, config->outbox_file());
  v1::StateMessages messages;
  v1::StateMessage& message = *messages.add_messages();
  message.set_time_ms(to_millis(clock.wall()));
  message.set_topic_type(options.topic_type);
  message.set_topic_id(options.topic_id);
  message.set_state_id(options.state_id);
  message.set_criticality(options.criticality);
  message.set_details(options.details);
  for (const std::string& parameter : options.parameters) message.add_parameters(parameter);
  const auto kept =
      (*outbox)->put(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, messages.SerializeAsString(),
                     to_millis(clock.wall()), options.ttl_s);
  if (!kept) return complain(kept.error());
  std::cout << "Kept as report " << *kept
            << "; `greengate-agent status` tells what becomes of it.\n";
  return 0;
}

}  // namespace
}  // namespace greengate::agent

int main(int argc, char** argv) {
  using namespace greengate::agent;
  prepare_memory();
  Options options;
  CLI::App app("Reports this machine to a Configuration Manager site through a Greengate gateway.",
               "greengate-agent");
  app.set_version_flag("--version", agent_version());
  app.add_option("--config", options.config_file, "The configuration file")->capture_default_str();
  app.add_flag("--check-config", options.check_config,
               "Read the configuration, name every mistake, and end");
  app.require_subcommand(0, 1);
  app.fallthrough();  // --config may also stand after the command

  app.add_subcommand("run", "Work until told to stop (this is the default)");

  CLI::App* inventory_command =
      app.add_subcommand("inventory", "Show what would be reported; no network, nothing is sent");
  inventory_command->add_flag("--json", options.json, "As JSON");
  inventory_command->add_flag("--full", options.full, "Every instance and every property");
  inventory_command->add_option("--class", options.class_name,
                                "Only this class, such as Win32_BIOS");
  inventory_command->add_flag("--software", options.software,
                              "The files of the software inventory instead");
  inventory_command->add_flag("--no-commands", options.no_commands,
                              "Read files only, run no commands");

  CLI::App* enrol_command = app.add_subcommand(
      "enrol", "Make a key, ask the gateway to take this machine, and say what it answered");
  enrol_command->add_option("--token", options.token,
                            "An enrolment token; without one an operator must approve");
  enrol_command->add_option("--token-file", options.token_file,
                            "A file whose first line is the token");
  CLI::Option* gateway = enrol_command->add_option(
      "--gateway", options.gateway, "tcp://host:port, instead of the configuration file");
  CLI::Option* key =
      enrol_command->add_option("--gateway-key", options.gateway_key, "The gateway's public key");
  gateway->needs(key);
  key->needs(gateway);
  enrol_command->add_option("--state-directory", options.state_directory,
                            "Where key and outbox are kept");
  enrol_command->add_option("--patience", options.patience_s, "Seconds to wait for an answer")
      ->capture_default_str();

  CLI::App* status_command =
      app.add_subcommand("status", "What waits, what was sent, and what became of it");
  status_command->add_flag("--json", options.json, "As JSON");
  status_command->add_option("--count", options.count, "How many reports to list")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));

  CLI::App* state_command = app.add_subcommand(
      "send-state", "Put a state message in the outbox, also while the agent runs");
  state_command
      ->add_option("--topic-type", options.topic_type,
                   "The site's number for the topic, such as 501")
      ->required();
  state_command->add_option("--topic-id", options.topic_id, "What it is about")
      ->required()
      ->check(CLI::Validator(
          [](std::string& text) {
            return text.size() <= 1024 ? std::string()
                                       : std::string("is longer than 1024 characters");
          },
          "TEXT"));
  state_command->add_option("--state", options.state_id, "The state's number")->required();
  state_command
      ->add_option("--param", options.parameters, "A parameter; may be given several times")
      ->expected(0, 64);
  state_command->add_option("--criticality", options.criticality, "0 if left out");
  state_command->add_option("--details", options.details, "Free text");
  state_command->add_option("--ttl", options.ttl_s,
                            "Seconds after which it need not be delivered; 0: never");

  const auto ask_command = [&](const char* name, const char* help) {
    CLI::App* command = app.add_subcommand(name, help);
    command->add_flag("--refresh", options.refresh, "Ask the site now, also if the gateway knows");
    command->add_flag("--json", options.json, "As JSON");
    command->add_option("--patience", options.patience_s, "Seconds to wait for an answer")->capture_default_str();
    return command;
  };
  CLI::App* policy_command = ask_command("policy", "Ask the site, through the running agent, what it assigns to this machine");
  CLI::App* locate_command = ask_command("locate", "Ask the site where something is");
  locate_command->add_option("what", options.locate_what)
      ->required()
      ->check(CLI::IsMember({"management-points", "content", "update-server", "site"}));
  locate_command->add_option("id", options.package_id, "The content's id");
  locate_command->add_option("version", options.package_version, "The content's version");

  // The agent runs itself with this to collect in a process of its own.
  CLI::App* collect_command = app.add_subcommand("collect", "")->group("");
  collect_command->add_option("what", options.what)
      ->required()
      ->check(CLI::IsMember({"discovery", "inventory", "software", "files", "logs"}));
  collect_command->add_option("--output", options.output);
  collect_command->add_option("--command-patience-ms", options.command_patience_ms);
  collect_command->add_option("--installed-at-ms", options.installed_at_ms);
  collect_command->add_flag("--no-commands", options.no_commands);
  collect_command->add_option("--custom-problems", options.custom_problems);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  if (options.check_config) {
    if (!config_or_complaints(options)) return exit_config;
    std::cout << options.config_file << " is fine.\n";
    return 0;
  }
  if (*inventory_command) return inventory(options);
  if (*collect_command) return collect(options);
  if (*enrol_command) return enrol(options);
  if (*status_command) return status(options);
  if (*state_command) return send_state(options);
  if (*policy_command) return policy(options);
  if (*locate_command) return locate(options);
  return run(options);
}
