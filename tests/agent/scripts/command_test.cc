// Goal: values of the site's reach a command only as values, and only commands that nobody else could have put there are run.
#include "agent/scripts/command.h"

#include "tests/agent/scripts/support.h"

#include <gmock/gmock.h>

namespace greengate::test {
namespace {

using agent::AllowedScript;
using agent::find_run_user;
using agent::order_of;
using agent::trusted_program;
using testing::Contains;
using testing::ElementsAre;
using testing::Not;

template <class T>
std::string code_of(const Result<T>& result) {
  return result ? "" : result.error().code;
}

class OrderTest : public testing::Test {
 protected:
  AllowedScript script_ = with_parameters();

  static AllowedScript with_parameters() {
    AllowedScript script = allowed({"/bin/echo", "-n", "{param:Path}", "--depth={param:Depth}"});
    script.parameters = {"Path", "Depth", "Note"};
    return script;
  }
  Result<agent::RunOrder> order(const std::vector<std::pair<std::string, std::string>>& parameters) {
    return order_of(script_, asked_for(parameters).run_script(), 4'096);
  }
};

TEST_F(OrderTest, ValuesAreWordsOrPartsOfWordsAndVariables) {
  const auto made = order({{"path", "/var; rm -rf / $(x) `y` {param:Depth}"}, {"DEPTH", "-3"}, {"Note", "a\nb=c"}});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(made->arguments, ElementsAre("/bin/echo", "-n", "/var; rm -rf / $(x) `y` {param:Depth}", "--depth=-3"));
  EXPECT_THAT(made->environment, Contains("GREENGATE_PARAM_PATH=/var; rm -rf / $(x) `y` {param:Depth}"));
  EXPECT_THAT(made->environment, Contains("GREENGATE_PARAM_DEPTH=-3"));
  EXPECT_THAT(made->environment, Contains("GREENGATE_PARAM_NOTE=a\nb=c"));
  EXPECT_THAT(made->environment, Contains(std::string("GREENGATE_SCRIPT_GUID=") + guid));
}

TEST_F(OrderTest, OnlyNamedParametersWithinTheirBoundsAreTaken) {
  const std::pair<std::string, std::string> path{"Path", "/"}, depth{"Depth", "1"};
  EXPECT_EQ(code_of(order({path, depth})), "");
  EXPECT_EQ(code_of(order({path, depth, {"LD_PRELOAD", "x"}})), "task.script_parameter");
  EXPECT_EQ(code_of(order({path})), "task.script_parameter") << "the command needs Depth";
  EXPECT_EQ(code_of(order({path, depth, {"path", "/etc"}})), "task.script_parameter");
  EXPECT_EQ(code_of(order({{"Path", std::string("a\0b", 3)}, depth})), "task.script_parameter");
  EXPECT_EQ(code_of(order({{"Path", std::string(1'025, 'x')}, depth})), "task.script_parameter");
  EXPECT_EQ(code_of(order({{"Path", "--delete"}, depth})), "task.script_parameter") << "would be an option";
}

TEST_F(OrderTest, RefusalNeverTellsAValueOrAForeignName) {
  for (const auto& parameters : std::vector<std::vector<std::pair<std::string, std::string>>>{
           {{"Path", "-secret"}, {"Depth", "1"}}, {{"secret", "1"}}, {{"Path", std::string(2'000, 's') + "secret"}}}) {
    const auto made = order(parameters);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().message.find("secret"), std::string::npos) << made.error().message;
  }
}

TEST_F(OrderTest, BoundsAreTheEntrys) {
  script_.memory_bytes_max = 32 << 20;
  script_.processes_max = 5;
  script_.patience = std::chrono::milliseconds(2'500);
  script_.output_bytes_max = 7'000;
  const auto made = order({{"Path", "/"}, {"Depth", "1"}});
  ASSERT_TRUE(made);
  EXPECT_EQ(made->limits.memory_bytes, 32u << 20);
  EXPECT_EQ(made->limits.processes, 5u);
  EXPECT_EQ(made->limits.cpu_seconds, 3u);
  EXPECT_EQ(made->patience, std::chrono::milliseconds(2'500));
  EXPECT_EQ(made->output_bytes_max, 7'000u);
  EXPECT_EQ(made->output_kept_max, 4'096u);
  EXPECT_EQ(made->user.has_value(), geteuid() == 0);
}

TEST(RunUserTest, RootIsRefusedUnderWhateverName) {
  EXPECT_EQ(code_of(find_run_user("root")), "task.script_user");
  EXPECT_EQ(code_of(find_run_user("nobody-of-this-name")), "task.script_user");
  EXPECT_EQ(code_of(find_run_user("")), "task.script_user");
}

TEST(RunUserTest, OthersAreTakenAsTheyAre) {
  const auto user = find_run_user(some_user());
  ASSERT_TRUE(user) << user.error().message;
  EXPECT_NE(user->uid, 0u);
  EXPECT_THAT(user->groups, Not(testing::IsEmpty()));
}

TEST(TrustedProgramTest, FileAndFoldersMustBeRootsOrOursAndNobodyElsesToWrite) {
  OpenScratch scratch;
  const std::string good = scratch.script("good", "true\n");
  const auto found = trusted_program(good);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, std::filesystem::canonical(good));
  EXPECT_EQ(code_of(trusted_program(scratch.script("group", "", 0775))), "task.script_command");
  EXPECT_EQ(code_of(trusted_program(scratch.script("all", "", 0757))), "task.script_command");
  EXPECT_EQ(code_of(trusted_program(scratch.script("plain", "", 0644))), "task.script_command");
  EXPECT_EQ(code_of(trusted_program(scratch.file("absent"))), "task.script_command");
  EXPECT_EQ(code_of(trusted_program(scratch.path())), "task.script_command");
  EXPECT_EQ(code_of(trusted_program("/dev/null")), "task.script_command");
  chmod(scratch.path().c_str(), 0777);
  EXPECT_EQ(code_of(trusted_program(good)), "task.script_command") << "anybody could put another file in its place";
  std::filesystem::create_directory(scratch.file("folder"));
  chmod(scratch.path().c_str(), 0755);
  std::filesystem::create_symlink(good, scratch.file("link"));
  EXPECT_EQ(*trusted_program(scratch.file("link")), std::filesystem::canonical(good));
  if (geteuid() == 0) {
    ASSERT_EQ(chown(good.c_str(), getpwnam("nobody")->pw_uid, 0), 0);
    EXPECT_EQ(code_of(trusted_program(scratch.file("link"))), "task.script_command");
  }
}

}  // namespace
}  // namespace greengate::test
