#include "adapters/mdm/dm_visit.h"
#include "adapters/mdm/nodes.h"
#include "tests/adapters/mdm/scripted_device.h"
#include "tests/support/manual_clock.h"

#include <random>

namespace greengate::test {
namespace {

using namespace adapters;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
using Strings = std::vector<std::string>;

class Visit : public testing::Test {
 protected:
  Visit() {
    rules_.provider = "FABRIKAM";
    device_.nodes["Get " + push_root + "/ChannelURI"] = {200, push_channel};
    device_.nodes["Get " + push_root + "/Status"] = {200, "0"};
  }
  /// From package 1 to the end. `after`: how many messages the device sends before it falls silent.
  void visit(int after = 1'000) {
    DmVisit visit(rules_, {AgentId("a1"), device_id, "0A", {}}, host_, lately_, clock_, device_.package1().header, "nonce");
    std::optional<DmMessage> message = device_.package1();
    for (; message && after > 0; --after) {
      auto reply = visit.answer(*message);
      ASSERT_TRUE(reply) << reply.error().message;
      message = device_.next(*reply);
    }
    EXPECT_TRUE(after == 0 || visit.over());
    visit.close(visit.over() ? "done" : "silent");
  }
  Strings asked_of(const std::string& part) const {
    Strings found;
    for (const std::string& each : device_.asked) {
      if (each.find(part) != std::string::npos) found.push_back(each);
    }
    return found;
  }

  ManualClock clock_;
  DmVisitRules rules_;
  FakeHost host_;
  ScriptedDevice device_;
  std::vector<DmLatelyDone> lately_;
};

TEST_F(Visit, channel_and_status_are_read_every_time) {
  visit();
  visit();
  EXPECT_EQ(asked_of("Get").size(), 4u);
  ASSERT_EQ(host_.channels.size(), 2u);
  EXPECT_EQ(host_.channels[1].uri, push_channel);
  EXPECT_EQ(host_.channels[1].push_status, 0);
  EXPECT_EQ(host_.opened, 2);
  EXPECT_EQ(host_.closed, 2);
  EXPECT_EQ(host_.memory.last_end, "done");
  EXPECT_EQ(host_.memory.manufacturer, "Fabrikam Test Works");
}

TEST_F(Visit, an_absent_or_empty_channel_is_told_and_an_unreadable_one_is_not) {
  device_.nodes["Get " + push_root + "/ChannelURI"] = {404, std::nullopt};
  device_.nodes["Get " + push_root + "/Status"] = {404, std::nullopt};
  visit();
  ASSERT_EQ(host_.channels.size(), 1u);
  EXPECT_FALSE(host_.channels[0].uri);
  EXPECT_FALSE(host_.channels[0].push_status);
  device_.nodes["Get " + push_root + "/ChannelURI"] = {200, ""};
  device_.nodes["Get " + push_root + "/Status"] = {200, "5"};
  visit();
  ASSERT_EQ(host_.channels.size(), 2u);
  EXPECT_FALSE(host_.channels[1].uri);
  EXPECT_EQ(host_.channels[1].push_status, 5);
  device_.nodes["Get " + push_root + "/ChannelURI"] = {500, std::nullopt};
  visit();
  EXPECT_EQ(host_.channels.size(), 2u);
}

TEST_F(Visit, the_pfn_is_set_when_it_is_time_and_read_back_in_the_same_session) {
  host_.pfn = "fabrikam.wakebridge_0ab1cd2ef3gh4";
  visit();
  EXPECT_EQ(device_.asked.at(0), "Replace " + push_root + "/PFN fabrikam.wakebridge_0ab1cd2ef3gh4");
  EXPECT_EQ(host_.pfn_outcomes, Strings{"set"});
  EXPECT_EQ(host_.channels.size(), 1u);

  device_.asked.clear();
  device_.nodes["Replace " + push_root + "/PFN"] = {404, std::nullopt};
  device_.nodes["Add " + push_root + "/PFN"] = {418, std::nullopt};
  device_.nodes["Get " + push_root + "/PFN"] = {200, "FABRIKAM.wakebridge_0ab1cd2ef3gh4"};
  visit();
  EXPECT_EQ(asked_of("/PFN").size(), 3u);
  EXPECT_EQ(host_.pfn_outcomes.back(), "set");
  EXPECT_EQ(host_.channels.size(), 4u);  // after each step
}

TEST_F(Visit, a_scan_is_accepted_now_and_done_when_the_device_shows_it) {
  host_.put(7, v1::TASK_QUICK_SCAN);
  device_.nodes[std::string("Get ") + dm_node::quick_scan_time] = {200, "2026-01-14T08:00:00Z"};
  device_.nodes[std::string("Exec ") + dm_node::defender_scan] = {202, std::nullopt};
  visit();
  EXPECT_EQ(asked_of("Exec"), Strings{std::string("Exec ") + dm_node::defender_scan + " 1"});
  EXPECT_EQ(host_.told(), Strings{"7 ACCEPTED"});
  clock_.advance(hours(1));
  visit();  // it still scans
  EXPECT_EQ(host_.told(), Strings{"7 ACCEPTED"});
  device_.nodes[std::string("Get ") + dm_node::quick_scan_time] = {200, "2026-01-15T10:31:00Z"};
  visit();
  EXPECT_EQ(host_.told(), (Strings{"7 ACCEPTED", "7 COMPLETED"}));
  visit();
  EXPECT_EQ(host_.told().size(), 2u);
  EXPECT_EQ(asked_of("Exec").size(), 1u);
}

TEST_F(Visit, a_scan_nobody_can_watch_is_done_when_it_is_taken) {
  host_.put(7, v1::TASK_FULL_SCAN);
  device_.nodes[std::string("Get ") + dm_node::full_scan_time] = {404, std::nullopt};
  visit();
  EXPECT_EQ(asked_of("Exec"), Strings{std::string("Exec ") + dm_node::defender_scan + " 2"});
  EXPECT_EQ(host_.told(), (Strings{"7 ACCEPTED", "7 COMPLETED"}));
}

TEST_F(Visit, a_scan_whose_end_is_never_shown_has_not_been_completed) {
  host_.put(7, v1::TASK_QUICK_SCAN);
  device_.nodes[std::string("Get ") + dm_node::quick_scan_time] = {200, ""};
  visit();
  clock_.advance(hours(25));
  visit();
  EXPECT_EQ(host_.told(), (Strings{"7 ACCEPTED", "7 NOT_COMPLETED mdm.end_not_seen"}));
  EXPECT_TRUE(host_.memory.watches.empty());
}

TEST_F(Visit, statuses_of_the_device_become_codes) {
  const auto outcome = [&](int status) {
    host_.results.clear();
    host_.put(static_cast<std::uint64_t>(1'000 + status), v1::TASK_UPDATE_SIGNATURES);
    device_.nodes[std::string("Exec ") + dm_node::defender_update] = {status, std::nullopt};
    lately_.clear();
    visit();
    const Strings told = host_.told();
    host_.waiting.clear();
    return told.empty() ? std::string() : told.back().substr(5);
  };
  EXPECT_EQ(outcome(200), "COMPLETED");
  EXPECT_EQ(outcome(202), "COMPLETED");
  EXPECT_EQ(outcome(404), "FAILED mdm.no_node");
  EXPECT_EQ(outcome(405), "FAILED mdm.not_allowed");
  EXPECT_EQ(outcome(406), "FAILED mdm.not_supported");
  EXPECT_EQ(outcome(425), "FAILED mdm.denied");
  EXPECT_EQ(outcome(500), "FAILED mdm.command_failed");
  EXPECT_EQ(outcome(215), "FAILED mdm.not_executed");
  EXPECT_EQ(outcome(0), "");  // not a word: it stays handed over
}

TEST_F(Visit, the_session_itself_is_the_policy_sync) {
  host_.put(3, v1::TASK_MACHINE_POLICY);
  visit();
  EXPECT_EQ(host_.told(), (Strings{"3 ACCEPTED", "3 COMPLETED"}));
  EXPECT_TRUE(asked_of("Exec").empty());
}

TEST_F(Visit, discovery_reads_who_the_device_is) {
  host_.put(3, v1::TASK_DISCOVERY);
  device_.nodes[std::string("Get ") + dm_node::software_version] = {200, "10.0.26100.4000"};
  device_.nodes[std::string("Get ") + dm_node::model] = {404, std::nullopt};
  visit();
  EXPECT_EQ(host_.told(), (Strings{"3 ACCEPTED", "3 COMPLETED"}));
  EXPECT_EQ(host_.memory.version, "10.0.26100.4000");
}

TEST_F(Visit, the_same_task_twice_within_the_window_is_one_command) {
  host_.put(1, v1::TASK_QUICK_SCAN);
  host_.put(2, v1::TASK_QUICK_SCAN);
  device_.nodes[std::string("Get ") + dm_node::quick_scan_time] = {200, "a"};
  visit();
  EXPECT_EQ(asked_of("Exec").size(), 1u);
  EXPECT_EQ(host_.told(), (Strings{"1 ACCEPTED", "2 ACCEPTED"}));
  clock_.advance(seconds(30));
  host_.put(3, v1::TASK_QUICK_SCAN);
  visit();
  EXPECT_EQ(asked_of("Exec").size(), 1u);
  clock_.advance(minutes(2));
  host_.put(4, v1::TASK_QUICK_SCAN);
  device_.nodes[std::string("Get ") + dm_node::quick_scan_time] = {200, "b"};
  visit();
  EXPECT_EQ(asked_of("Exec").size(), 2u);
  EXPECT_EQ(host_.told(), (Strings{"1 ACCEPTED", "2 ACCEPTED", "3 ACCEPTED", "1 COMPLETED", "2 COMPLETED", "3 COMPLETED", "4 ACCEPTED"}));
}

TEST_F(Visit, restart_comes_last_and_alone) {
  host_.put(1, v1::TASK_RESTART);
  host_.put(2, v1::TASK_UPDATE_SIGNATURES);
  device_.nodes[std::string("Exec ") + dm_node::defender_update] = {200, std::nullopt};
  visit();
  EXPECT_EQ(asked_of("Exec"), (Strings{std::string("Exec ") + dm_node::defender_update, std::string("Exec ") + dm_node::reboot_now}));
  EXPECT_EQ(host_.told(), (Strings{"2 ACCEPTED", "2 COMPLETED", "1 ACCEPTED", "1 COMPLETED"}));
}

TEST_F(Visit, a_wipe_needs_leave_and_never_comes_from_a_push) {
  host_.put(1, v1::TASK_WIPE);
  visit();
  EXPECT_EQ(host_.told(), Strings{"1 UNKNOWN_TASK task.wipe_refused"});
  rules_.tasks.allow_wipe = true;
  host_.put(2, v1::TASK_WIPE).set_site_task_id("{B1}");
  visit();
  EXPECT_EQ(host_.told().back(), "2 UNKNOWN_TASK task.wipe_refused");
  EXPECT_TRUE(asked_of("Exec").empty());
  host_.put(3, v1::TASK_WIPE);
  visit();
  EXPECT_EQ(asked_of("Exec"), Strings{std::string("Exec ") + dm_node::wipe});
  EXPECT_EQ(host_.told().back(), "3 COMPLETED");
}

TEST_F(Visit, a_wipe_is_sent_once_whatever_became_of_it) {
  rules_.tasks.allow_wipe = true;
  host_.put(5, v1::TASK_WIPE);
  visit(2);  // it hears the wipe and falls silent
  EXPECT_EQ(asked_of("Exec").size(), 1u);
  EXPECT_TRUE(host_.told().empty());
  EXPECT_EQ(host_.memory.sent_once, std::vector<std::uint64_t>{5});
  lately_.clear();
  clock_.advance(hours(1));
  visit();
  EXPECT_EQ(asked_of("Exec").size(), 1u);
  EXPECT_EQ(host_.told(), Strings{"5 FAILED mdm.unclear"});
}

TEST_F(Visit, a_wipe_that_cannot_be_noted_is_not_sent) {
  rules_.tasks.allow_wipe = true;
  host_.remember_fails = true;
  host_.put(5, v1::TASK_WIPE);
  visit();
  EXPECT_TRUE(asked_of("Exec").empty());
  EXPECT_TRUE(host_.told().empty());
  host_.remember_fails = false;
  visit();
  EXPECT_EQ(asked_of("Exec").size(), 1u);
}

TEST_F(Visit, without_its_memory_a_device_is_only_read) {
  rules_.tasks.allow_wipe = true;
  host_.recall_fails = true;
  host_.put(5, v1::TASK_WIPE);
  visit();
  EXPECT_TRUE(asked_of("Exec").empty());
  EXPECT_EQ(host_.channels.size(), 1u);
  EXPECT_EQ(host_.memory, DmMemory{});  // and not written over
}

TEST_F(Visit, what_a_device_cannot_do_is_refused_with_a_code) {
  for (const v1::Task task : {v1::TASK_HARDWARE_INVENTORY, v1::TASK_SOFTWARE_INVENTORY, v1::TASK_RUN_SCRIPT, v1::TASK_COLLECT_LOGS,
                              v1::TASK_VERBOSE_LOG_ON, v1::TASK_VERBOSE_LOG_OFF, v1::TASK_UNSPECIFIED}) {
    v1::Notification notification;
    notification.set_task(task);
    EXPECT_STREQ(refused_for_windows(notification, {})->code, "task.unsupported") << task;
  }
  v1::Notification restart;
  restart.set_task(v1::TASK_RESTART);
  EXPECT_FALSE(refused_for_windows(restart, {}));
  restart.mutable_restart()->set_grace_s(3'600);
  EXPECT_STREQ(refused_for_windows(restart, {})->code, "task.restart_grace");
}

TEST_F(Visit, work_that_comes_while_the_device_is_here_needs_no_other_session) {
  host_.put(1, v1::TASK_UPDATE_SIGNATURES);
  host_.before_result = [&](const v1::TaskResult& result) {
    if (result.notification_id() == 1 && result.outcome() == v1::TASK_OUTCOME_COMPLETED) host_.put(2, v1::TASK_RESTART);
  };
  visit();
  EXPECT_EQ(host_.told(), (Strings{"1 ACCEPTED", "1 COMPLETED", "2 ACCEPTED", "2 COMPLETED"}));
  EXPECT_EQ(host_.opened, 1);
}

TEST_F(Visit, work_whose_time_is_over_is_not_begun) {
  host_.put(1, v1::TASK_QUICK_SCAN).set_expires_at_ms(to_millis(clock_.wall()) - 1);
  visit();
  EXPECT_EQ(host_.told(), Strings{"1 FAILED task.expired"});
  EXPECT_TRUE(asked_of("Exec").empty());
}

TEST_F(Visit, a_device_whose_user_left_is_handed_nothing) {
  host_.put(1, v1::TASK_QUICK_SCAN);
  DmMessage first = read_whole(mdm_sample("30-client-package1-unenroll-1226.xml"));
  DmVisit visit(rules_, {AgentId("a1"), device_id, "0A", {}}, host_, lately_, clock_, first.header, "nonce");
  ASSERT_TRUE(visit.answer(first));
  EXPECT_EQ(host_.unenrolments, 1);
  EXPECT_EQ(host_.collects, 0);
  visit.close("silent");
  EXPECT_TRUE(host_.memory.unenrolled);
}

// Whatever a device answers, in whatever order it comes and goes: no id is ever done twice, no wipe or restart sent twice, every session ends.
TEST_F(Visit, random_devices_never_make_it_do_a_thing_twice) {
  const auto seed = std::random_device{}();
  std::mt19937 dice(seed);
  SCOPED_TRACE("seed " + std::to_string(seed));
  rules_.tasks.allow_wipe = true;
  const v1::Task tasks[] = {v1::TASK_MACHINE_POLICY, v1::TASK_QUICK_SCAN, v1::TASK_FULL_SCAN, v1::TASK_UPDATE_SIGNATURES,
                            v1::TASK_RESTART, v1::TASK_WIPE, v1::TASK_DISCOVERY, v1::TASK_RUN_SCRIPT};
  const int codes[] = {200, 200, 200, 202, 404, 405, 406, 418, 500, 0};
  device_.nodes.clear();
  device_.script = [&](const DmCommand& command) {
    ScriptedDevice::Reply reply{codes[dice() % 10], std::nullopt};
    if (command.verb == DmVerb::get && dice() % 2) reply.data = std::to_string(dice() % 3);
    return reply;
  };
  std::map<std::uint64_t, std::string> ended;
  std::uint64_t next_id = 0, wipes = 0, restarts = 0;
  for (int round = 0; round < 400; ++round) {
    for (std::uint32_t i = dice() % 3; i > 0; --i) {
      const v1::Task task = tasks[dice() % 8];
      wipes += task == v1::TASK_WIPE, restarts += task == v1::TASK_RESTART;
      host_.put(++next_id, task);
    }
    host_.pfn = dice() % 4 == 0 ? "app_1" : "";
    visit(dice() % 4 == 0 ? 1 + static_cast<int>(dice() % 3) : 1'000);
    if (dice() % 3 == 0) lately_.clear();
    clock_.advance(std::chrono::minutes(dice() % 600));
  }
  for (const v1::TaskResult& result : host_.results) {
    const bool end = result.outcome() != v1::TASK_OUTCOME_ACCEPTED;
    if (!end) continue;
    EXPECT_TRUE(ended.emplace(result.notification_id(), v1::TaskOutcome_Name(result.outcome())).second)
        << result.notification_id() << " ended twice: " << ended[result.notification_id()] << ", " << v1::TaskOutcome_Name(result.outcome());
  }
  EXPECT_LE(asked_of("doWipe").size(), wipes);
  EXPECT_LE(asked_of("RebootNow").size(), restarts);
  EXPECT_GT(asked_of("doWipe").size(), 10u);
  EXPECT_EQ(host_.opened, host_.closed);
}

}  // namespace
}  // namespace greengate::test
