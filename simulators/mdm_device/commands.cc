#include "simulators/mdm_device/commands.h"

#include "simulators/common/text.h"

#include <algorithm>

namespace greengate::sim::mdm {
namespace {

constexpr int rolled_back = 216, atomic_failed = 507;

}  // namespace

void Commands::carry_out(const SyncCommand& command) {
  if (command.verb == "Status" || command.verb == "Results") return;
  ++done_;
  if (command.verb == "Atomic")
    atomic(command);
  else if (command.verb == "Sequence")
    sequence(command);
  else
    one(command, false);
}

int Commands::one(const SyncCommand& command, bool in_atomic) {
  const auto say = [&](int status) {
    out_.status(msg_ref_, command.cmd_id, command.verb, status);
    record_.commands.push_back({command.verb, command.items.empty() ? "" : command.items[0].target, "", status, record_.messages});
    return status;
  };
  if (command.cmd_id.empty()) return say(400);
  if (command.verb == "Alert") return say(200);
  const bool known = command.verb == "Get" || command.verb == "Exec" || command.verb == "Replace" || command.verb == "Add" || command.verb == "Delete";
  if (!known || command.items.empty()) return say(400);
  if (in_atomic && command.verb == "Get") return say(500);

  std::vector<MessageWriter::Found> found;
  int worst = 200;
  const bool several = command.items.size() > 1;
  for (const SyncItem& each : command.items) {
    const int status = item(command, each, found);
    out_.status(msg_ref_, command.cmd_id, command.verb, status, several ? each.target : "");
    record_.commands.push_back({command.verb, each.target, each.data.substr(0, 256), status, record_.messages});
    if (status / 100 != 2) worst = status;
  }
  if (!found.empty()) out_.results(msg_ref_, command.cmd_id, found);
  return worst;
}

int Commands::item(const SyncCommand& command, const SyncItem& item, std::vector<MessageWriter::Found>& found) {
  DmTree& tree = device_.tree_;
  // User scope: there only while somebody who is managed is logged in (14).
  if (item.target.starts_with("./User/")) return device_.login == "user" ? 404 : 405;
  if (command.verb == "Get") {
    DmTree::Outcome outcome = tree.get(item.target);
    if (outcome.status == 200) found.push_back({item.target, outcome.format, std::move(outcome.data)});
    return outcome.status;
  }
  if (command.verb == "Exec") return tree.exec(item.target, item.data);
  if (command.verb == "Delete") return tree.remove(item.target);
  if (command.verb == "Add") return tree.set(item.target, item.data, true);
  return tree.set(item.target, item.data, false);
}

void Commands::sequence(const SyncCommand& command) {
  out_.status(msg_ref_, command.cmd_id, "Sequence", command.cmd_id.empty() ? 400 : 200);
  if (command.cmd_id.empty()) return;
  for (const SyncCommand& each : command.members) {
    if (each.verb == "Atomic")
      atomic(each);
    else if (each.verb == "Sequence")
      sequence(each);
    else
      one(each, false);
  }
}

void Commands::atomic(const SyncCommand& command) {
  if (command.cmd_id.empty()) {
    out_.status(msg_ref_, "", "Atomic", 400);
    return;
  }
  // Get or Atomic inside: 500, and 507 for the whole (S-27). Nothing is carried out then.
  const bool forbidden = std::any_of(command.members.begin(), command.members.end(),
                                     [](const SyncCommand& each) { return each.verb == "Get" || each.verb == "Atomic"; });
  if (forbidden) {
    out_.status(msg_ref_, command.cmd_id, "Atomic", atomic_failed);
    for (const SyncCommand& each : command.members) {
      const bool culprit = each.verb == "Get" || each.verb == "Atomic";
      out_.status(msg_ref_, each.cmd_id, each.verb, culprit ? 500 : 215);
      record_.commands.push_back({each.verb, each.items.empty() ? "" : each.items[0].target, "", culprit ? 500 : 215, record_.messages});
    }
    return;
  }
  const auto before = device_.tree_.snapshot();
  MessageWriter::Header none;
  std::vector<int> statuses;
  SessionRecord scratch;
  MessageWriter unsent(none);
  Commands trial(device_, scratch, unsent, msg_ref_);
  bool failed = false;
  for (const SyncCommand& each : command.members) {
    const int status = failed ? 215 : trial.one(each, true);
    statuses.push_back(status);
    failed = failed || status / 100 != 2;
  }
  if (failed) device_.tree_.restore(before);
  out_.status(msg_ref_, command.cmd_id, "Atomic", failed ? atomic_failed : 200);
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    const SyncCommand& each = command.members[i];
    const int status = failed && statuses[i] / 100 == 2 && statuses[i] != 215 ? rolled_back : statuses[i];
    out_.status(msg_ref_, each.cmd_id, each.verb, status);
    record_.commands.push_back({each.verb, each.items.empty() ? "" : each.items[0].target, each.items.empty() ? "" : each.items[0].data.substr(0, 256),
                                status, record_.messages});
  }
}

}  // namespace greengate::sim::mdm
