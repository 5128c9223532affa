#pragma once

#include "adapters/mdm/dm_visit.h"
#include "adapters/mdm/syncml.h"

#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace greengate::test {

using adapters::DmChannel;
using adapters::DmCommand;
using adapters::DmDevice;
using adapters::DmHost;
using adapters::DmItem;
using adapters::DmMemory;
using adapters::DmMessage;
using adapters::DmVerb;
using adapters::SyncmlLimits;
using adapters::read_memory;
using adapters::read_syncml;
using adapters::verb_name;
using adapters::write_memory;

inline std::string mdm_sample(const std::string& name) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/mdm/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

inline DmMessage read_whole(const std::string& text) {
  auto message = read_syncml(text, SyncmlLimits{});
  EXPECT_TRUE(message) << message.error().message << "\n" << text;
  return message ? *message : DmMessage{};
}

inline const std::string device_id = "0F1E2D3C4B5A69788796A5B4C3D2E1F0";
inline const std::string push_root = "./Device/Vendor/MSFT/DMClient/Provider/FABRIKAM/Push";
inline const std::string push_channel = "https://wns2-sim1p.notify.windows.com/?token=U0lN%2bQ0hBTk5FTC0wMDAx%2f0001%3d%3d";

/// A device that answers what it is asked from a script, and writes its messages itself.
class ScriptedDevice {
 public:
  struct Reply {
    int status = 200;                     ///< 0: not a word.
    std::optional<std::string> data;      ///< A Get's result.
  };
  using Script = std::function<Reply(const DmCommand&)>;

  std::string id = device_id;
  std::string session = "11";
  Script script = [](const DmCommand&) { return Reply{}; };
  std::vector<std::string> asked;         ///< "Exec ./Vendor/MSFT/Defender/Scan 1", in order.
  std::map<std::string, Reply> nodes;     ///< Answers by "Verb LocURI"; beats the script.
  bool asked_for_more = false;            ///< The server wants the rest of the package.

  DmMessage package1() {
    message_ = 1;
    DmMessage message = read_whole(mdm_sample("01-client-package1.xml"));
    message.header.session_id = session;
    message.header.source = id;
    return message;
  }

  /// The answer to what the server sent; nothing when it sent no command: the session is over.
  std::optional<DmMessage> next(const std::string& text) {
    const DmMessage server = read_whole(text);
    DmMessage mine;
    mine.header = server.header;
    mine.header.message_id = ++message_;
    mine.header.target = server.header.source;
    mine.header.source = id;
    mine.final = true;
    add_status(mine, server.header.message_id, 0, "SyncHdr", 200);
    bool any = false;
    asked_for_more = false;
    for (const DmCommand& command : server.commands) {
      if (command.verb == DmVerb::status) continue;
      any = true;
      if (command.verb == DmVerb::alert) asked_for_more = true;
      act(mine, server.header.message_id, command);
    }
    return any ? std::optional(mine) : std::nullopt;
  }

 private:
  void act(DmMessage& mine, std::uint32_t message, const DmCommand& command) {
    const std::string name(verb_name(command.verb));
    if (!command.items.empty()) {
      asked.push_back(name + " " + command.items[0].target + (command.items[0].data ? " " + *command.items[0].data : ""));
    }
    Reply reply = script(command);
    if (!command.items.empty()) {
      if (const auto node = nodes.find(name + " " + command.items[0].target); node != nodes.end()) reply = node->second;
    }
    if (reply.status != 0) add_status(mine, message, command.id, name, reply.status);
    if (command.verb == DmVerb::get && reply.status == 200 && reply.data) {
      DmCommand results;
      results.verb = DmVerb::results;
      results.id = next_id(mine);
      results.message_ref = message;
      results.command_ref = command.id;
      DmItem item;
      item.source = command.items[0].target;
      item.data = reply.data;
      results.items.push_back(item);
      mine.commands.push_back(results);
    }
    for (const DmCommand& member : command.members) act(mine, message, member);
  }
  static std::uint32_t next_id(const DmMessage& mine) { return static_cast<std::uint32_t>(mine.commands.size() + 1); }
  static void add_status(DmMessage& mine, std::uint32_t message, std::uint32_t command, const std::string& name, int code) {
    DmCommand status;
    status.verb = DmVerb::status;
    status.id = next_id(mine);
    status.message_ref = message;
    status.command_ref = command;
    status.command = name;
    status.data = std::to_string(code);
    mine.commands.push_back(status);
  }
  std::uint32_t message_ = 0;
};

/// The house around visits: what waits, what came of it, what is kept.
class FakeHost : public DmHost {
 public:
  void visit_opened(const DmDevice&) override { ++opened; }
  void visit_closed(const DmDevice&) override { ++closed; }
  std::string pfn_to_set(const DmDevice&) override { return pfn; }
  void channel_read(const DmDevice&, const DmChannel& read) override { channels.push_back(read); }
  void pfn_outcome(const DmDevice&, const std::string& outcome, bool) override { pfn_outcomes.push_back(outcome); }
  std::vector<v1::Notification> collect(const DmDevice&, std::uint32_t count_max) override {
    ++collects;
    std::vector<v1::Notification> handed;
    for (const v1::Notification& task : waiting) {
      if (handed.size() < count_max) handed.push_back(task);
    }
    return handed;
  }
  void task_result(const DmDevice&, const v1::TaskResult& result) override {
    results.push_back(result);
    if (before_result) before_result(result);
    std::erase_if(waiting, [&](const v1::Notification& task) { return task.notification_id() == result.notification_id(); });
  }
  Result<DmMemory> recall(const DmDevice&) override {
    if (recall_fails) return fail(Remedy::retry, "registry.disk", "The disk is away.");
    return memory;
  }
  Result<void> remember(const DmDevice&, const DmMemory& kept) override {
    if (remember_fails) return fail(Remedy::retry, "registry.disk", "The disk is full.");
    bool whole = false;
    memory = read_memory(write_memory(kept), whole);
    EXPECT_TRUE(whole);
    return {};
  }
  void unenrolled(const DmDevice&) override { ++unenrolments; }

  v1::Notification& put(std::uint64_t id, v1::Task task) {
    v1::Notification notification;
    notification.set_notification_id(id);
    notification.set_task(task);
    waiting.push_back(notification);
    return waiting.back();
  }
  /// "7 ACCEPTED", "8 FAILED mdm.denied", in order.
  std::vector<std::string> told() const {
    std::vector<std::string> all;
    for (const v1::TaskResult& result : results) {
      std::string name = v1::TaskOutcome_Name(result.outcome()).substr(13);
      all.push_back(std::to_string(result.notification_id()) + " " + name + (result.code().empty() ? "" : " " + result.code()));
    }
    return all;
  }

  int opened = 0, closed = 0, collects = 0, unenrolments = 0;
  std::string pfn;
  std::vector<DmChannel> channels;
  std::vector<std::string> pfn_outcomes;
  std::vector<v1::Notification> waiting;
  std::vector<v1::TaskResult> results;
  std::function<void(const v1::TaskResult&)> before_result;
  DmMemory memory;
  bool recall_fails = false, remember_fails = false;
};

}  // namespace greengate::test
