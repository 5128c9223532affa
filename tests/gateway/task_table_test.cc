#include "gateway/task_table.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace greengate::test {
namespace {

using gateway::TaskRow;
using gateway::TaskTable;

class TaskTableTest : public ::testing::Test {
 protected:
  ~TaskTableTest() override { std::filesystem::remove(path_); }
  // What is wrong with a file of this text; empty when nothing is.
  std::string complaint(const std::string& text) {
    std::ofstream(path_, std::ios::binary) << text;
    const auto table = TaskTable::read(path_);
    if (table) return "";
    EXPECT_STREQ(table.error().code, "config.tasks");
    EXPECT_EQ(table.error().message.substr(0, path_.size() + 1), path_ + ":");
    return table.error().message.substr(path_.size() + 1);
  }
  static std::string row(const std::string& type, const std::string& task, const std::string& basis = "captured") {
    return "[[task]]\ntype = " + type + "\ntask = \"" + task + "\"\nbasis = \"" + basis + "\"\n";
  }

  const std::string path_ = (std::filesystem::temp_directory_path() / ("greengate-tasks-" + std::to_string(getpid()) + ".toml")).string();
};

TEST_F(TaskTableTest, TheShippedFileIsTheBuiltInTable) {
  const auto shipped = TaskTable::read(GREENGATE_SOURCE_DIR "/deploy/tasks.toml");
  ASSERT_TRUE(shipped) << shipped.error().message;
  const auto built_in = TaskTable::read("");
  ASSERT_TRUE(built_in);
  const auto plain = [](const TaskTable& table) {
    std::vector<std::string> lines;
    for (const TaskRow& each : table.rows())
      lines.push_back(std::to_string(each.task_type) + " " + std::string(gateway::task_name(each.task)) + " " + each.basis);
    return lines;
  };
  EXPECT_EQ(plain(*shipped), plain(*built_in));
}

TEST_F(TaskTableTest, HasTheDocumentedNumbersAndGuessesOnlyFrom900) {
  const auto table = TaskTable::read("");
  ASSERT_TRUE(table);
  const std::pair<std::uint32_t, v1::Task> documented[] = {
      {1, v1::TASK_MACHINE_POLICY}, {2, v1::TASK_FULL_SCAN}, {3, v1::TASK_QUICK_SCAN}, {15, v1::TASK_RUN_SCRIPT}};
  for (const auto& [type, task] : documented) {
    const TaskRow* found = table->find(type);
    ASSERT_NE(found, nullptr) << type;
    EXPECT_EQ(found->task, task);
    EXPECT_EQ(found->basis, "documented");
  }
  for (const TaskRow& each : table->rows()) EXPECT_EQ(each.task_type >= 900, each.basis == "guessed") << each.task_type;
  for (const std::uint32_t type : {0u, 4u, 14u, 16u, 899u, 999u, 4'294'967'295u}) EXPECT_EQ(table->find(type), nullptr) << type;
}

TEST_F(TaskTableTest, AFileReplacesTheTable) {
  std::ofstream(path_) << row("77", "restart") << row("5", "quick_scan") << "source = \"seen at our site\"\n";
  const auto table = TaskTable::read(path_);
  ASSERT_TRUE(table) << table.error().message;
  ASSERT_EQ(table->rows().size(), 2u);
  ASSERT_NE(table->find(77), nullptr);
  EXPECT_EQ(table->find(77)->task, v1::TASK_RESTART);
  EXPECT_EQ(table->find(77)->basis, "captured");
  ASSERT_NE(table->find(5), nullptr);
  EXPECT_EQ(table->find(1), nullptr);
}

TEST_F(TaskTableTest, SaysWhatIsWrongAndWhere) {
  const std::pair<std::string, std::string> cases[] = {
      {"", " it has no [[task]]"},
      {"[[task]\n", "1: "},
      {"tasks = 1\n", "1: there is \"tasks\"; write rows as [[task]]"},
      {"task = [1, 2]\n", "1: there is \"task\"; write rows as [[task]]"},
      {row("1", "machine_policy") + row("1", "restart"), "5: type 1 is there twice"},
      {row("-1", "restart"), "2: type is no number from 0"},
      {row("4294967296", "restart"), "2: type is no number from 0"},
      {row("\"1\"", "restart"), "2: type is no number from 0"},
      {row("1", "format_disk"), "3: task is \"format_disk\"; it can be \"machine_policy\", "},
      {row("1", "wipe"), "3: task is \"wipe\"; no push can ask for that."},
      {row("1", "restart", "surely"), "4: basis can be \"documented\""},
      {row("1", "restart") + "grace = 4\n", "5: there is \"grace\"; a row has type, task, basis"},
      {"[[task]]\ntask = \"restart\"\nbasis = \"guessed\"\n", "1: a [[task]] has no type"},
      {"[[task]]\ntype = 1\nbasis = \"guessed\"\n", "1: a [[task]] has no task"},
      {"[[task]]\ntype = 1\ntask = \"restart\"\n", "1: a [[task]] has no basis"},
      {"#" + std::string(300'000, 'x'), " it is larger than 256 KiB."},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(complaint(text).substr(0, expected.size()), expected) << text.substr(0, 200);
}

TEST_F(TaskTableTest, TakesAThousandRowsAndNotEndlesslyMore) {
  std::string many;
  for (int i = 0; i < 1'024; ++i) many += row(std::to_string(i), "discovery");
  EXPECT_EQ(complaint(many), "");
  EXPECT_EQ(complaint(many + row("5000", "discovery")), " it has 1025 rows; 1024 are the most.");
}

TEST_F(TaskTableTest, EveryTaskHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int number = v1::Task_MIN + 1; number <= v1::Task_MAX; ++number) {
    const auto task = static_cast<v1::Task>(number);
    const std::string name(gateway::task_name(task));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(gateway::task_named(name), task) << name;
  }
  EXPECT_EQ(gateway::task_name(v1::TASK_UNSPECIFIED), "unknown");
  EXPECT_EQ(gateway::task_named("unknown"), std::nullopt);
}

TEST_F(TaskTableTest, OnlyScriptsDoNotCollapseAndOnlyScansRestartsAndWipesAreUrgent) {
  std::set<std::string> urgent, single;
  for (int number = v1::Task_MIN; number <= v1::Task_MAX; ++number) {
    const auto task = static_cast<v1::Task>(number);
    if (gateway::is_urgent(task)) urgent.emplace(gateway::task_name(task));
    if (!gateway::collapses(task)) single.emplace(gateway::task_name(task));
  }
  EXPECT_EQ(urgent, (std::set<std::string>{"full_scan", "quick_scan", "restart", "wipe"}));
  EXPECT_EQ(single, (std::set<std::string>{"run_script", "unknown"}));
}

}  // namespace
}  // namespace greengate::test
