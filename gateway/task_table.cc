#include "gateway/task_table.h"

#include <toml++/toml.h>

#include <algorithm>
#include <fstream>
#include <limits>

namespace greengate::gateway {
namespace {

constexpr std::size_t rows_max = 1'024;
constexpr std::size_t file_bytes_max = 256 << 10;
// Numbers that nobody outside knows begin here, so that a guess is not mistaken for a fact.
constexpr std::uint32_t guessed_from = 900;

struct TaskWords {
  v1::Task task;
  std::string_view name;
  bool collapses, urgent;
};
constexpr TaskWords words[] = {
    {v1::TASK_MACHINE_POLICY, "machine_policy", true, false},
    {v1::TASK_HARDWARE_INVENTORY, "hardware_inventory", true, false},
    {v1::TASK_DISCOVERY, "discovery", true, false},
    {v1::TASK_SOFTWARE_INVENTORY, "software_inventory", true, false},
    {v1::TASK_FULL_SCAN, "full_scan", true, true},
    {v1::TASK_QUICK_SCAN, "quick_scan", true, true},
    {v1::TASK_UPDATE_SIGNATURES, "update_signatures", true, false},
    {v1::TASK_RESTART, "restart", true, true},
    {v1::TASK_VERBOSE_LOG_ON, "verbose_log_on", true, false},
    {v1::TASK_VERBOSE_LOG_OFF, "verbose_log_off", true, false},
    {v1::TASK_COLLECT_LOGS, "collect_logs", true, false},
    {v1::TASK_RUN_SCRIPT, "run_script", false, false},  // two scripts are two
    {v1::TASK_WIPE, "wipe", true, true},
};

const TaskWords* words_of(v1::Task task) {
  const auto found = std::find_if(std::begin(words), std::end(words), [&](const TaskWords& each) { return each.task == task; });
  return found == std::end(words) ? nullptr : found;
}

std::vector<TaskRow> built_in() {
  return {
      {1, v1::TASK_MACHINE_POLICY, "documented"},
      {2, v1::TASK_FULL_SCAN, "documented"},
      {3, v1::TASK_QUICK_SCAN, "documented"},
      {15, v1::TASK_RUN_SCRIPT, "documented"},
      {guessed_from + 3, v1::TASK_UPDATE_SIGNATURES, "guessed"},
      {guessed_from + 10, v1::TASK_DISCOVERY, "guessed"},
      {guessed_from + 11, v1::TASK_SOFTWARE_INVENTORY, "guessed"},
      {guessed_from + 12, v1::TASK_HARDWARE_INVENTORY, "guessed"},
      {guessed_from + 17, v1::TASK_RESTART, "guessed"},
      {guessed_from + 20, v1::TASK_VERBOSE_LOG_ON, "guessed"},
      {guessed_from + 21, v1::TASK_VERBOSE_LOG_OFF, "guessed"},
      {guessed_from + 22, v1::TASK_COLLECT_LOGS, "guessed"},
  };
}

std::string task_names_for_people() {
  std::string all;
  for (const TaskWords& each : words) {
    if (each.task == v1::TASK_WIPE) continue;
    all += (all.empty() ? "\"" : ", \"") + std::string(each.name) + "\"";
  }
  return all;
}

class Reading {
 public:
  explicit Reading(const std::string& path) : path_(path) {}

  Result<std::vector<TaskRow>> rows() {
    std::ifstream file(path_, std::ios::binary);
    if (!file) return bad(0, "it cannot be read; notifications.tasks_file names it, and \"\" there means the built-in table.");
    std::string text(file_bytes_max + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > file_bytes_max) return bad(0, "it is larger than 256 KiB.");
    toml::table root;
    try {
      root = toml::parse(text);
    } catch (const toml::parse_error& error) {
      return bad(error.source().begin.line, std::string(error.description()) + ".");
    }
    for (const auto& [key, node] : root) {
      if (key.str() != "task" || !node.is_array_of_tables())
        return bad(key.source().begin.line, "there is \"" + std::string(key.str()) + "\"; write rows as [[task]] with type, task and basis.");
    }
    std::vector<TaskRow> rows;
    const toml::array* given = root["task"].as_array();
    if (given == nullptr) return bad(0, "it has no [[task]]; an empty notifications.tasks_file means the built-in table.");
    if (given->size() > rows_max) return bad(0, "it has " + std::to_string(given->size()) + " rows; 1024 are the most.");
    for (const toml::node& node : *given) {
      auto row = row_of(*node.as_table());
      if (!row) return pass(row);
      const auto same = std::find_if(rows.begin(), rows.end(), [&](const TaskRow& each) { return each.task_type == row->task_type; });
      if (same != rows.end())
        return bad(node.source().begin.line, "type " + std::to_string(row->task_type) + " is there twice; a number can mean one task only.");
      rows.push_back(std::move(*row));
    }
    std::sort(rows.begin(), rows.end(), [](const TaskRow& a, const TaskRow& b) { return a.task_type < b.task_type; });
    return rows;
  }

 private:
  tl::unexpected<Error> bad(std::uint32_t line, const std::string& what) const {
    return fail(Remedy::reject, "config.tasks", path_ + (line > 0 ? ":" + std::to_string(line) : "") + ": " + what);
  }

  Result<TaskRow> row_of(const toml::table& table) const {
    const std::uint32_t line = table.source().begin.line;
    TaskRow row;
    for (const auto& [key, node] : table) {
      const std::string_view name = key.str();
      const std::uint32_t at = key.source().begin.line;
      if (name == "type") {
        const auto number = node.value_exact<std::int64_t>();
        if (!number || *number < 0 || *number > std::numeric_limits<std::uint32_t>::max())
          return bad(at, "type is no number from 0 to 4294967295.");
        row.task_type = static_cast<std::uint32_t>(*number);
      } else if (name == "task") {
        const auto text = node.value_exact<std::string>();
        const auto task = text ? task_named(*text) : std::nullopt;
        if (task == v1::TASK_WIPE) return bad(at, "task is \"wipe\"; no push can ask for that.");
        if (!task) return bad(at, "task is " + (text ? "\"" + *text + "\"" : std::string("no text")) + "; it can be " + task_names_for_people() + ".");
        row.task = *task;
      } else if (name == "basis") {
        const auto text = node.value_exact<std::string>();
        if (!text || (*text != "documented" && *text != "captured" && *text != "guessed"))
          return bad(at, R"(basis can be "documented", "captured" (seen at your site) or "guessed".)");
        row.basis = *text;
      } else if (name != "source" || !node.is_string()) {
        return bad(at, "there is \"" + std::string(name) + "\"; a row has type, task, basis, and if you like source, a text.");
      }
    }
    if (!table.contains("type")) return bad(line, "a [[task]] has no type; give the site's number.");
    if (!table.contains("task")) return bad(line, "a [[task]] has no task; give one of " + task_names_for_people() + ".");
    if (!table.contains("basis")) return bad(line, R"(a [[task]] has no basis; give "documented", "captured" or "guessed".)");
    return row;
  }

  const std::string& path_;
};

}  // namespace

Result<TaskTable> TaskTable::read(const std::string& path) {
  TaskTable table;
  if (path.empty()) {
    table.rows_ = built_in();
    return table;
  }
  auto rows = Reading(path).rows();
  if (!rows) return pass(rows);
  table.rows_ = std::move(*rows);
  return table;
}

const TaskRow* TaskTable::find(std::uint32_t task_type) const {
  const auto found = std::lower_bound(rows_.begin(), rows_.end(), task_type,
                                      [](const TaskRow& row, std::uint32_t type) { return row.task_type < type; });
  return found == rows_.end() || found->task_type != task_type ? nullptr : &*found;
}

std::string_view task_name(v1::Task task) {
  const TaskWords* found = words_of(task);
  return found == nullptr ? "unknown" : found->name;
}

std::optional<v1::Task> task_named(std::string_view name) {
  for (const TaskWords& each : words) {
    if (each.name == name) return each.task;
  }
  return std::nullopt;
}

bool collapses(v1::Task task) {
  const TaskWords* found = words_of(task);
  return found != nullptr && found->collapses;
}

bool is_urgent(v1::Task task) {
  const TaskWords* found = words_of(task);
  return found != nullptr && found->urgent;
}

}  // namespace greengate::gateway
