#include "ctl/notify_commands.h"

#include "ctl/views.h"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace greengate::ctl {
namespace json = boost::json;

namespace {

/// What the commands' options are read into; one for all of them, as only one runs.
struct Wanted {
  std::string task, by, key, confirm;
  std::vector<std::string> agents, groups, parameters;
  bool all = false;
  std::int64_t ttl_s = 0;
  std::uint64_t id = 0, before = 0, after = 0;
  std::uint32_t count = 20, entries = 1'000;
};

json::array texts(const std::vector<std::string>& all) {
  json::array listed;
  for (const std::string& one : all) listed.push_back(json::value(one));
  return listed;
}

int send(const Options& options, const Wanted& wanted) {
  if (int(!wanted.agents.empty()) + int(!wanted.groups.empty()) + int(wanted.all) != 1) {
    std::fprintf(stderr, "greengatectl: say whom: --agents, --group or --all; one of them.\n");
    return 2;
  }
  json::object order{{"task", wanted.task}};
  if (!wanted.agents.empty()) order["agents"] = texts(wanted.agents);
  if (!wanted.groups.empty()) order["groups"] = texts(wanted.groups);
  if (wanted.all) order["all"] = true;
  if (wanted.ttl_s > 0) order["ttl_s"] = wanted.ttl_s;
  for (const auto& [name, value] : {std::pair("by", wanted.by), std::pair("key", wanted.key), std::pair("confirm", wanted.confirm)}) {
    if (!value.empty()) order[name] = value;
  }
  json::object parameters;
  for (const std::string& pair : wanted.parameters) {
    const auto equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos) {
      std::fprintf(stderr, "greengatectl: --param %s; it takes the form NAME=VALUE.\n", pair.c_str());
      return 2;
    }
    parameters[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  if (!parameters.empty()) order["parameters"] = std::move(parameters);
  return ask(options, "POST", "/v1/notifications", json::serialize(order), show_order);
}

}  // namespace

void add_notify_commands(CLI::App& app, const Options& options, int& exit_code) {
  const auto wanted = std::make_shared<Wanted>();
  CLI::App* notify = app.add_subcommand("notify", "Ask agents to do something, now or at their return, and see what came of it");
  notify->require_subcommand(1);

  CLI::App* give = notify->add_subcommand("send", "Ask agents to do something, as the site's button does");
  give->add_option("--task", wanted->task, "machine_policy, discovery, hardware_inventory, software_inventory, full_scan, quick_scan, update_signatures, restart, "
                                           "verbose_log_on, verbose_log_off, collect_logs; wipe for managed Windows devices")->required();
  give->add_option("--agents", wanted->agents, "Their ids, the beginnings of them, or their host names, with commas between")->delimiter(',');
  give->add_option("--group", wanted->groups, "Agents whose host name fits this pattern, such as 'web*'; may come several times");
  give->add_flag("--all", wanted->all, "Every active agent");
  give->add_option("--ttl", wanted->ttl_s, "What nobody took by then is not done any more: 30min, 4h, 7d; the gateway's setting if left out")
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, std::int64_t>{{"s", 1}, {"min", 60}, {"h", 3'600}, {"d", 86'400}},
                                        CLI::AsNumberWithUnit::CASE_SENSITIVE));
  give->add_option("--param", wanted->parameters, "NAME=VALUE; a restart takes grace_s");
  give->add_option("--by", wanted->by, "Who asks, for the receipts");
  give->add_option("--key", wanted->key, "The same order under the same key is not repeated for an agent that had it");
  give->add_option("--confirm", wanted->confirm, "For a wipe: wipe-HOST");
  give->callback([=, &options, &exit_code] { exit_code = send(options, *wanted); });

  CLI::App* list = notify->add_subcommand("list", "What was asked lately, the site's button included, newest first");
  list->add_option("--count", wanted->count, "How many at most")->capture_default_str();
  list->add_option("--before", wanted->before, "Only those before this number");
  list->callback([=, &options, &exit_code] {
    exit_code = ask(options, "GET", "/v1/notifications?count=" + std::to_string(wanted->count) + "&before=" + std::to_string(wanted->before), "", show_notifications);
  });

  CLI::App* show = notify->add_subcommand("show", "How far one is, agent by agent");
  show->add_option("ID", wanted->id, "Its number")->required();
  show->add_option("--count", wanted->entries, "How many agents at most")->capture_default_str();
  show->add_option("--after", wanted->after, "Only agents whose NOTIFICATION is above this number");
  show->callback([=, &options, &exit_code] {
    exit_code = ask(options, "GET", "/v1/notifications/" + std::to_string(wanted->id) + "?count=" + std::to_string(wanted->entries) + "&after=" + std::to_string(wanted->after),
                    "", show_notification);
  });

  CLI::App* cancel = notify->add_subcommand("cancel", "Take back what still waits; what agents have in hand runs its course");
  cancel->add_option("ID", wanted->id, "Its number")->required();
  cancel->callback([=, &options, &exit_code] {
    exit_code = ask(options, "POST", "/v1/notifications/" + std::to_string(wanted->id) + "/cancel", "", [](const json::value& done) {
      return "Taken back for " + counted(done.at("cancelled").to_number<std::int64_t>(), "agent") + ".\n";
    });
  });
}

}  // namespace greengate::ctl
