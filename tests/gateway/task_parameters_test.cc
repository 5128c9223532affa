// Goal: what a push says beyond its task reaches an agent only where the operator allows it, whole and in our own words.
#include "gateway/task_parameters.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <fstream>
#include <iterator>

namespace greengate::test {
namespace {

using gateway::TaskParameters;
using gateway::TaskParametersConfig;

const AgentId agent("a1");

std::string sample(const std::string& name) {
  std::ifstream file(GREENGATE_SOURCE_DIR "/tests/data/bgb/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string base64(const std::string& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  text.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                                       reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()))));
  return text;
}

adapters::BgbPush push_of(const std::string& name) {
  return {14, 15, "7A1B2C3D-4E5F-4061-8293-A4B5C6D7E8F9", 15, base64(sample(name))};
}

const char* const a_script = "09-taskparam-script-decoded.xml";
const char* const a_query = "10-taskparam-cmpivot-decoded.xml";

struct TaskParametersTest : testing::Test {
  Metrics metrics;

  std::string code(TaskParametersConfig config, const adapters::BgbPush& push) {
    const auto made = TaskParameters(std::move(config), metrics).of(agent, v1::TASK_RUN_SCRIPT, push);
    return made ? "" : made.error().code;
  }
  bool counted(const std::string& outcome) {
    return metrics.render().find("greengate_fanout_script_tasks_total{outcome=\"" + outcome + "\"} 1\n") != std::string::npos;
  }
};

TEST_F(TaskParametersTest, ScriptsAndQueriesAreRefusedUnlessAllowedEachByItsOwnSetting) {
  EXPECT_EQ(code({}, push_of(a_script)), "notify.script_refused");
  EXPECT_EQ(code({.scripts = "refuse", .live_queries = "allow"}, push_of(a_script)), "notify.script_refused");
  EXPECT_EQ(code({}, push_of(a_query)), "notify.live_query_refused");
  EXPECT_EQ(code({.scripts = "allow"}, push_of(a_query)), "notify.live_query_refused");
  EXPECT_EQ(code({.scripts = "allow"}, push_of(a_script)), "");
  EXPECT_EQ(code({.live_queries = "allow"}, push_of(a_query)), "");
}

TEST_F(TaskParametersTest, AllowedScriptBecomesANotificationsParametersAndNothingElse) {
  const auto made = TaskParameters({.scripts = "allow"}, metrics).of(agent, v1::TASK_RUN_SCRIPT, push_of(a_script));
  ASSERT_TRUE(made);
  v1::Notification notification;
  ASSERT_TRUE(notification.ParseFromString(*made));
  EXPECT_EQ(notification.notification_id(), 0u);
  EXPECT_EQ(notification.task(), v1::TASK_UNSPECIFIED);
  const v1::RunScript& script = notification.run_script();
  EXPECT_EQ(script.script_guid(), "3F0E9A54-2D61-4C77-9B18-6E5D4C3B2A19");
  EXPECT_EQ(script.script_version(), "1");
  EXPECT_EQ(script.script_hash(), "e2d7550e8c36f89af671fb4465413998cf5d5277e1d45ccf1cdc7ae3e73f9979");
  EXPECT_EQ(script.task_guid(), "7A1B2C3D-4E5F-4061-8293-A4B5C6D7E8F9");
  EXPECT_EQ(script.parameters_size(), 0);
}

TEST_F(TaskParametersTest, AllowedQueryCarriesItsDecodedParameters) {
  const auto made = TaskParameters({.live_queries = "allow"}, metrics).of(agent, v1::TASK_RUN_SCRIPT, push_of(a_query));
  ASSERT_TRUE(made);
  v1::Notification notification;
  ASSERT_TRUE(notification.ParseFromString(*made));
  ASSERT_EQ(notification.run_script().parameters_size(), 3);
  EXPECT_EQ(notification.run_script().parameters(2).value(), "OS | project Name, Version");
}

TEST_F(TaskParametersTest, TamperedParametersAreRefusedUnlessTheCheckIsLoose) {
  adapters::BgbPush push = push_of(a_query);
  // The name of a group is hashed, and nothing else depends on it.
  std::string xml = sample(a_query);
  push.task_param = base64(xml.replace(xml.find("PG_"), 3, "PH_"));
  EXPECT_EQ(code({.scripts = "allow", .live_queries = "allow"}, push), "bgb.script_parameters_hash");
  EXPECT_EQ(code({.live_queries = "allow", .scripts_parameter_hash = "loose"}, push), "");
}

TEST_F(TaskParametersTest, PushWithoutTaskGuidOrTaskParamIsRefused) {
  adapters::BgbPush push = push_of(a_script);
  push.task_guid = "";
  EXPECT_EQ(code({.scripts = "allow"}, push), "notify.script_task_guid");
  push.task_guid = "{7a1b2c3d-4e5f-4061-8293-a4b5c6d7e8f9}";
  EXPECT_EQ(code({.scripts = "allow"}, push), "");
  push.task_param = "";
  EXPECT_EQ(code({.scripts = "allow"}, push), "bgb.script_empty");
}

TEST_F(TaskParametersTest, EachOutcomeIsCounted) {
  (void)code({}, push_of(a_script));
  EXPECT_TRUE(counted("refused"));
  (void)code({.scripts = "allow"}, push_of(a_script));
  EXPECT_TRUE(counted("passed"));
  (void)code({.scripts = "allow"}, {1, 2, "", 15, "%"});
  EXPECT_TRUE(counted("invalid"));
}

TEST_F(TaskParametersTest, OtherTasksHaveNoParametersWhateverThePushCarries) {
  for (const v1::Task task : {v1::TASK_RESTART, v1::TASK_MACHINE_POLICY}) {
    const auto made = TaskParameters({}, metrics).of(agent, task, {1, 2, "", 910, "%%%"});
    ASSERT_TRUE(made);
    EXPECT_EQ(*made, "");
  }
}

TEST(TaskParametersConfigTest, TakesOnlyItsWords) {
  EXPECT_TRUE(TaskParametersConfig{}.problems().empty());
  const TaskParametersConfig wrong{.scripts = "yes", .live_queries = "", .scripts_parameter_hash = "lax"};
  EXPECT_EQ(wrong.problems().size(), 3u);
}

}  // namespace
}  // namespace greengate::test
