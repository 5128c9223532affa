// greengatectl: the operator's hand. Asks the gateway over its local socket; tables for people, --json for scripts.

#include "ctl/ask.h"
#include "ctl/dead_letter_commands.h"
#include "ctl/mof_command.h"
#include "ctl/notify_commands.h"
#include "ctl/views.h"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <string>

namespace json = boost::json;
using greengate::ctl::ask;
using greengate::ctl::in_path;
using greengate::ctl::Options;

namespace {

// From a file, or from what the gateway has seen of the class.
int print_mof(const Options& options, const std::string& class_name, const std::string& from, const greengate::adapters::MofNames& names) {
  const auto complain = [](const greengate::Error& error) { return greengate::ctl::complain({{}, error.code, error.message}); };
  greengate::Result<std::string> text;
  if (from.empty()) {
    auto answer = greengate::ctl::answer_of(options, "GET", "/v1/classes/" + in_path(class_name), "");
    if (!answer.ok()) {
      std::fprintf(stderr, "greengatectl: %s (%s) Give --from what `greengate-agent inventory --class %s --json` prints.\n", answer.message.c_str(),
                   answer.code.c_str(), class_name.c_str());
      return 1;
    }
    text = std::move(answer.json);
  } else {
    text = greengate::ctl::content_of(from);
  }
  if (!text) return complain(text.error());
  const auto shape = greengate::ctl::shape_from_json(*text, class_name);
  if (!shape) return complain(shape.error());
  const auto mof = greengate::adapters::mof_text(*shape, names);
  if (!mof) return complain(mof.error());
  if (options.as_json) {
    std::printf("%s\n", json::serialize(json::object{{"class", shape->name}, {"mof", *mof}}).c_str());
  } else {
    std::printf("%s", mof->c_str());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Looks at and steers a Greengate gateway on this machine.", "greengatectl");
  Options options;
  app.set_version_flag("--version", GREENGATE_VERSION);
  app.add_option("--socket", options.socket, "The gateway's admin socket")->capture_default_str();
  app.add_flag("--json", options.as_json, "The gateway's answer as JSON, for scripts");
  app.require_subcommand(1);
  app.fallthrough();
  int exit_code = 0;
  const auto get = [&](const std::string& target, std::string (*show)(const json::value&)) {
    exit_code = ask(options, "GET", target, "", show);
  };

  app.add_subcommand("status", "What the gateway has, waits for and did")->callback([&] {
    get("/v1/status", greengate::ctl::show_status);
  });

  std::string agent;
  CLI::App* agents = app.add_subcommand("agents", "Who the agents are");
  agents->require_subcommand(1);
  agents->add_subcommand("list", "Every agent, a line each")->callback([&] {
    get("/v1/agents", greengate::ctl::show_agents);
  });
  const auto agent_command = [&](const char* name, const char* help, const char* method, const std::string& suffix) {
    CLI::App* command = agents->add_subcommand(name, help);
    command->add_option("AGENT", agent, "Its id, the beginning of it, or its host name")->required();
    command->callback([&, method, suffix] {
      exit_code = ask(options, method, "/v1/agents/" + in_path(agent) + suffix, "", greengate::ctl::show_agent);
    });
  };
  agent_command("show", "One agent in full", "GET", "");
  agent_command("approve", "Let a pending agent in", "POST", "/approve");
  agent_command("rotate-key", "Give an agent another key at the site; the old one serves until the site took it", "POST", "/rotate-key");
  agent_command("revoke", "Shut an agent out, now and for good", "POST", "/revoke");

  CLI::App* explain = app.add_subcommand("explain", "Everything about one agent on a page: where it stands, what waits and why");
  explain->add_option("AGENT", agent, "Its id, the beginning of it, or its host name")->required();
  explain->callback([&] { get("/v1/agents/" + in_path(agent) + "/explain", greengate::ctl::show_explanation); });
  greengate::ctl::add_dead_letter_commands(app, options, exit_code);
  greengate::ctl::add_notify_commands(app, options, exit_code);

  CLI::App* token = app.add_subcommand("token", "Tokens that let new agents in without approval");
  token->require_subcommand(1);
  std::int64_t uses = 1;
  std::int64_t life_s = 24 * 3'600;
  std::string note, token_id;
  CLI::App* create = token->add_subcommand("create", "Make a token; it is shown this once");
  create->add_option("--uses", uses, "How many agents may use it")->capture_default_str();
  create->add_option("--life", life_s, "How long it is good, such as 30min, 4h or 7d; a plain number is seconds")
      ->transform(CLI::AsNumberWithUnit(
          std::map<std::string, std::int64_t>{{"s", 1}, {"min", 60}, {"h", 3'600}, {"d", 86'400}}, CLI::AsNumberWithUnit::CASE_SENSITIVE))
      ->default_str("24h");
  create->add_option("--note", note, "What it is for");
  create->callback([&] {
    const std::string body = json::serialize(json::object{{"uses_max", uses}, {"life_s", life_s}, {"note", note}});
    exit_code = ask(options, "POST", "/v1/tokens", body, greengate::ctl::show_new_token);
  });
  token->add_subcommand("list", "Every token, a line each")->callback([&] {
    get("/v1/tokens", greengate::ctl::show_tokens);
  });
  CLI::App* revoke = token->add_subcommand("revoke", "Make a token useless");
  revoke->add_option("TOKEN", token_id, "Its id")->required();
  revoke->callback([&] {
    exit_code = ask(options, "DELETE", "/v1/tokens/" + in_path(token_id), "", [](const json::value&) {
      return std::string("The token is revoked.\n");
    });
  });

  CLI::App* reports = app.add_subcommand("reports", "What happened to reports");
  reports->require_subcommand(1);
  std::uint32_t count = 20;
  CLI::App* trace = reports->add_subcommand("trace", "An agent's newest reports: states and times");
  trace->add_option("AGENT", agent, "Its id, the beginning of it, or its host name")->required();
  trace->add_option("--count", count, "How many")->capture_default_str();
  trace->callback([&] {
    get("/v1/agents/" + in_path(agent) + "/reports?count=" + std::to_string(count), greengate::ctl::show_reports);
  });

  std::string class_name, from;
  greengate::adapters::MofNames names;
  CLI::App* mof = app.add_subcommand("mof", "The text an administrator imports so that the site keeps a class");
  mof->add_option("CLASS", class_name, "The class, such as Contoso_Asset")->required();
  mof->add_option("--from", from, "What `greengate-agent inventory --class CLASS --json` printed; - for standard input. Else the gateway is asked");
  mof->add_option("--group", names.group, "How the console calls it; the class's name with spaces if left out");
  mof->add_option("--vendor", names.vendor, "The first part of the class id; what stands before the first underscore if left out");
  mof->add_option("--class-version", names.version, "The last part of the class id; 1.0 if left out");
  mof->callback([&] { exit_code = print_mof(options, class_name, from, names); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  return exit_code;
}
