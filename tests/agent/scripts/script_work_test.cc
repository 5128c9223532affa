// Goal: a script task runs the command its machine's administrator allowed, as told in the audit, and nothing else does.
#include "agent/scripts/script_work.h"

#include "greengate/v1/report.pb.h"
#include "tests/agent/scripts/support.h"

#include <gmock/gmock.h>

namespace greengate::test {
namespace {

using agent::AllowedScript;
using agent::ScriptSettings;
using agent::ScriptWork;
using agent::TaskEnd;
using testing::HasSubstr;
using testing::Not;

class ScriptWorkTest : public testing::Test {
 protected:
  SystemClock clock_;
  OpenScratch scratch_;
  ScriptSettings settings_;

  void SetUp() override {
    settings_.enabled = true;
    settings_.audit_file = scratch_.file("audit");
  }
  void allow(const std::string& body) { settings_.allowed = {allowed({scratch_.script("command", body)})}; }
  std::string audit() const { return text_of(settings_.audit_file); }

  std::string refusal(const v1::Notification& task) {
    ScriptWork work(settings_, clock_);
    const auto checked = work.check(task);
    return checked ? "" : checked.error().code;
  }
  TaskEnd run(const v1::Notification& task) {
    ScriptWork work(settings_, clock_);
    const auto checked = work.check(task);
    EXPECT_TRUE(checked) << checked.error().message;
    const auto started = work.start(task);
    EXPECT_TRUE(started) << started.error().message;
    std::optional<TaskEnd> end;
    EXPECT_TRUE(becomes_true([&] { return (end = work.poll()).has_value(); }, 90'000));
    EXPECT_EQ(work.fd(), -1);
    EXPECT_EQ(work.next_due(), SteadyTime::max());
    return end.value_or(TaskEnd{});
  }
  static v1::StateMessage message_of(const TaskEnd& end) {
    v1::StateMessages messages;
    EXPECT_EQ(end.reports.size(), 1u);
    EXPECT_TRUE(end.reports.size() == 1 && messages.ParseFromString(end.reports[0].body) && messages.messages_size() == 1);
    return messages.messages_size() == 1 ? messages.messages(0) : v1::StateMessage();
  }
};

TEST_F(ScriptWorkTest, AllowedCommandRunsAndItsOutputIsTheResult) {
  allow("echo \"$GREENGATE_PARAM_WHO at $(pwd)\"\nexit 3\n");
  settings_.allowed[0].parameters = {"Who"};
  const TaskEnd end = run(asked_for({{"who", "it's \"me\""}}));
  EXPECT_TRUE(end.completed);
  EXPECT_EQ(end.code, "");
  const v1::StateMessage message = message_of(end);
  EXPECT_EQ(message.topic_type(), 9'003u);
  EXPECT_EQ(message.topic_id(), guid);
  EXPECT_EQ(message.state_id(), 1u);
  EXPECT_GT(message.time_ms(), 0);
  const v1::ScriptResult& result = message.script_result();
  EXPECT_EQ(result.task_guid(), task_guid);
  EXPECT_EQ(result.result_code(), 3);
  ASSERT_EQ(result.rows_size(), 1);
  EXPECT_EQ(result.rows(0).values(0), "it's \"me\" at /");
}

TEST_F(ScriptWorkTest, AuditTellsStartAndEndAndNoValue) {
  allow("echo out\n");
  settings_.allowed[0].parameters = {"Secret"};
  (void)run(asked_for({{"Secret", "hunter2"}}));
  EXPECT_THAT(audit(), testing::MatchesRegex("\\{[^\n]*\"event\":\"started\"[^\n]*\\}\n\\{[^\n]*\"event\":\"ended\"[^\n]*\"exit\":0[^\n]*\"output_bytes\":4[^\n]*\\}\n"));
  EXPECT_THAT(audit(), HasSubstr("\"parameters\":[\"Secret\"]"));
  EXPECT_THAT(audit(), HasSubstr("\"user\":\"" + some_user() + "\""));
  EXPECT_THAT(audit(), Not(HasSubstr("hunter2")));
}

TEST_F(ScriptWorkTest, NothingRunsUnlessTurnedOn) {
  allow("echo never\n");
  EXPECT_EQ(refusal(asked_for()), "");
  settings_.enabled = false;
  EXPECT_EQ(refusal(asked_for()), "task.scripts_off");
  EXPECT_THAT(audit(), HasSubstr("\"event\":\"refused\""));
  EXPECT_THAT(audit(), HasSubstr("\"code\":\"task.scripts_off\""));
  EXPECT_FALSE(ScriptSettings{}.enabled);
}

TEST_F(ScriptWorkTest, AnotherGuidOrHashIsRefused) {
  allow("echo never\n");
  v1::Notification other = asked_for();
  other.mutable_run_script()->set_script_guid("7DC6B6F1-E7F6-43C1-96E0-E1D16BC25C14");
  EXPECT_EQ(refusal(other), "task.script_not_allowed");
  other = asked_for();
  other.mutable_run_script()->mutable_script_hash()->back() = '0';
  EXPECT_EQ(refusal(other), "task.script_changed");
  v1::Notification none;
  EXPECT_EQ(refusal(none), "task.script_not_allowed");
  v1::Notification cased = asked_for();
  cased.mutable_run_script()->set_script_hash("E2D7550E8C36F89AF671FB4465413998CF5D5277E1D45CCF1CDC7AE3E73F9979");
  EXPECT_EQ(refusal(cased), "");
}

TEST_F(ScriptWorkTest, RefusesCommandsAndUsersThatAreNotToBeTrusted) {
  allow("echo never\n");
  settings_.allowed[0].run_as = "root";
  EXPECT_EQ(refusal(asked_for()), "task.script_user");
  allow("echo never\n");
  chmod(scratch_.file("command").c_str(), 0777);
  EXPECT_EQ(refusal(asked_for()), "task.script_command");
}

// Between acceptance and start the machine may change.
TEST_F(ScriptWorkTest, LooksAgainBeforeItStarts) {
  allow("echo never\n");
  ScriptWork work(settings_, clock_);
  ASSERT_TRUE(work.check(asked_for()));
  chmod(scratch_.file("command").c_str(), 0777);
  const auto started = work.start(asked_for());
  ASSERT_FALSE(started);
  EXPECT_STREQ(started.error().code, "task.script_command");
  EXPECT_FALSE(work.poll());
}

TEST_F(ScriptWorkTest, NothingRunsWithoutAudit) {
  chmod(scratch_.path().c_str(), 0755);
  std::filesystem::create_directory(scratch_.file("open"));
  chmod(scratch_.file("open").c_str(), 0777);
  allow("touch " + scratch_.file("open/ran") + "\n");
  settings_.audit_file = scratch_.file("no/such/folder");
  ScriptWork work(settings_, clock_);
  const auto started = work.start(asked_for());
  ASSERT_FALSE(started);
  EXPECT_STREQ(started.error().code, "task.script_audit");
  EXPECT_FALSE(work.poll());
  EXPECT_FALSE(std::filesystem::exists(scratch_.file("open/ran")));
}

TEST_F(ScriptWorkTest, EndsThatAreNotTheCommandsOwnHaveCodesAndStillAResult) {
  const struct {
    const char *body, *code;
    int result;
  } cases[] = {{"echo a; sleep 1000\n", "task.script_timeout", 124}, {"yes\n", "task.script_output", 125}, {"kill -9 $$\n", "task.script_signal", 137}};
  for (const auto& [body, code, result] : cases) {
    allow(body);
    settings_.allowed[0].patience = std::chrono::milliseconds(std::string(code) == "task.script_timeout" ? 700 : 60'000);
    settings_.allowed[0].output_bytes_max = 50'000;
    const TaskEnd end = run(asked_for());
    EXPECT_FALSE(end.completed) << body;
    EXPECT_EQ(end.code, code);
    EXPECT_NE(end.message, "");
    EXPECT_EQ(message_of(end).script_result().result_code(), result);
    EXPECT_THAT(audit(), HasSubstr(std::string("\"code\":\"") + code + "\""));
  }
}

TEST_F(ScriptWorkTest, OutputShownIsBoundedAndBinaryOutputIsText) {
  allow("head -c 100000 /dev/urandom\n");
  const TaskEnd end = run(asked_for());
  EXPECT_TRUE(end.completed);
  std::size_t shown = 0;
  const v1::StateMessage message = message_of(end);
  for (const v1::ScriptRow& row : message.script_result().rows()) shown += row.values(0).size();
  EXPECT_GT(shown, 0u);
  EXPECT_LE(shown, 3u * 4'096);  // what is no text is told by three bytes
}

TEST_F(ScriptWorkTest, TableIsToldByItsColumns) {
  allow("printf 'Name\\tVersion\\nExample OS\\t10.0.1\\n'\n");
  settings_.allowed[0].rows = "table";
  const v1::ScriptResult result = message_of(run(asked_for())).script_result();
  EXPECT_THAT(result.columns(), testing::ElementsAre("Name", "Version"));
  allow("echo 'no names'\n");
  settings_.allowed[0].rows = "table";
  const TaskEnd end = run(asked_for());
  EXPECT_TRUE(end.completed);
  EXPECT_EQ(end.code, "task.script_rows");
}

TEST_F(ScriptWorkTest, StoppedAgentsCommandIsEndedAndToldAsInterruptedByTheNext) {
  std::filesystem::create_directory(scratch_.file("open"));
  chmod(scratch_.file("open").c_str(), 0777);
  allow("echo $$ >" + scratch_.file("open/pid") + "; sleep 1000\n");
  pid_t pid = 0;
  {
    ScriptWork work(settings_, clock_);
    ASSERT_TRUE(work.start(asked_for()));
    EXPECT_GE(work.fd(), 0);
    EXPECT_LT(work.next_due(), SteadyTime::max());
    ASSERT_TRUE(becomes_true([&] { return bool(std::ifstream(scratch_.file("open/pid")) >> pid); }));
    work.stop();
  }
  EXPECT_FALSE(alive(pid));
  ScriptWork next(settings_, clock_);
  const auto end = next.resume(asked_for(), "");
  ASSERT_TRUE(end);
  EXPECT_FALSE(end->completed);
  EXPECT_EQ(end->code, "task.interrupted");
  EXPECT_EQ(message_of(*end).script_result().result_code(), 127);
  EXPECT_THAT(audit(), HasSubstr("\"event\":\"interrupted\""));
}

TEST_F(ScriptWorkTest, TopicTypeZeroTellsNoResult) {
  allow("echo a\n");
  settings_.topic_type = 0;
  EXPECT_TRUE(run(asked_for()).reports.empty());
}

}  // namespace
}  // namespace greengate::test
