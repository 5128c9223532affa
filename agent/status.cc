#include "agent/status.h"

#include "agent/files/sender.h"
#include "agent/tasks/task_book.h"

#include <array>
#include <cstdio>
#include <ctime>

namespace greengate::agent {
namespace {

std::string time_text(std::int64_t millis) {
  if (millis <= 0) return "-";
  const std::time_t seconds = static_cast<std::time_t>(millis / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

const char* kind_text(v1::Kind kind) {
  switch (kind) {
    case v1::KIND_DISCOVERY:
      return "discovery";
    case v1::KIND_HARDWARE_INVENTORY:
      return "inventory";
    case v1::KIND_STATE_MESSAGES:
      return "state";
    case v1::KIND_SOFTWARE_INVENTORY:
      return "software";
    case v1::KIND_FILE_CHUNK:
      return "files";
    case v1::KIND_STATUS:
      return "status";
    case v1::KIND_METERING:
      return "metering";
    case v1::KIND_IDMIF:
      return "idmif";
    default:
      return "other";
  }
}

constexpr std::pair<v1::Lane, const char*> lanes[] = {{v1::LANE_CONTROL, "control"},
                                                      {v1::LANE_STATE, "state"},
                                                      {v1::LANE_DISCOVERY, "discovery"},
                                                      {v1::LANE_INVENTORY, "inventory"},
                                                      {v1::LANE_FILES, "files"}};

std::string padded(std::string text, std::size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text + "  ";
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      std::array<char, 8> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\u%04x", byte);
      out += escaped.data();
    } else {
      out += c;
    }
  }
  return out + '"';
}

// A field of JSON, with the comma that parts it from the next.
std::string field(const char* name, const std::string& text) {
  return quoted(name) + ": " + quoted(text) + ", ";
}
std::string field(const char* name, std::int64_t number) {
  return quoted(name) + ": " + std::to_string(number) + ", ";
}
std::string closed(std::string text, char bracket) {
  if (text.ends_with(", ")) text.resize(text.size() - 2);
  return text + bracket;
}

// What the running agent wrote down of its tasks.
class NotesToRead final : public Notebook {
 public:
  explicit NotesToRead(Outbox& outbox) : outbox_(outbox) {}
  std::string note(const std::string& name) override { return outbox_.note(name); }
  bool keep(const std::vector<Finding>&, const Notes&) override { return false; }

 private:
  Outbox& outbox_;
};

struct TaskLine {
  std::uint64_t id;
  std::string task, state;
  std::int64_t at_ms;  // of its end; of an open one, when it is to begin
  std::string code, message;
};

constexpr std::size_t past_tasks_shown = 10;

// Open ones first, then the newest that ended.
std::vector<TaskLine> tasks_of(Outbox& outbox) {
  NotesToRead notes(outbox);
  const TaskBook book(notes);
  std::vector<TaskLine> lines;
  for (const OpenTask& open : book.open())
    lines.push_back({open.id, task_name(open.asked.task()), open.starts > 0 ? "under way" : "waiting", open.due_at_ms, "", ""});
  for (auto past = book.past().rbegin(); past != book.past().rend() && past - book.past().rbegin() < std::ptrdiff_t{past_tasks_shown}; ++past) {
    const char* state = past->outcome == v1::TASK_OUTCOME_COMPLETED       ? "completed"
                        : past->outcome == v1::TASK_OUTCOME_NOT_COMPLETED ? "not completed"
                                                                          : "refused";
    lines.push_back({past->id, task_name(past->task), state, past->ended_at_ms, past->code, past->message});
  }
  return lines;
}

}  // namespace

std::string status_text(Outbox& outbox, std::size_t count) {
  const auto fact_or = [&](Fact which, const char* otherwise) {
    const std::string value = outbox.fact(which);
    return value.empty() ? std::string(otherwise) : value;
  };
  std::string text;
  text += "agent        " + fact_or(Fact::agent_id, "not enrolled") + "\n";
  text += "link         " + fact_or(Fact::link_state, "never connected") + " since " +
          time_text(outbox.number(Fact::link_since_ms)) + "\n";
  if (const std::string error = outbox.fact(Fact::link_error); !error.empty())
    text += "             " + error + "\n";
  text += "incarnation  " + std::to_string(outbox.incarnation()) + ", " +
          std::to_string(outbox.last_sequence()) + " reports so far\n";
  text += "discovery    " + time_text(outbox.number(Fact::last_discovery_ms)) + "\n";
  text += "inventory    " + time_text(outbox.number(Fact::last_inventory_ms)) + "\n";
  if (const std::int64_t last = outbox.number(Fact::last_software_ms))
    text += "software     " + time_text(last) + "\n";
  if (const std::int64_t last = outbox.number(Fact::last_files_ms))
    text += "files        " + time_text(last) + "\n";
  if (const std::string file = FileSender::progress_text(outbox); !file.empty())
    text += "             sending " + file + "\n";
  const OutboxCount all = outbox.count();
  text += "waiting      " + std::to_string(all.reports) + " reports, " + std::to_string(all.bytes) +
          " bytes";
  for (const auto& [lane, name] : lanes) {
    if (const OutboxCount in_lane = outbox.count(lane); in_lane.reports)
      text += ", " + std::to_string(in_lane.reports) + " " + name;
  }
  text += "\n";
  if (const std::int64_t dropped = outbox.number(Fact::dropped_total)) {
    text +=
        "dropped      " + std::to_string(dropped) + " reports, ever, because the outbox was full\n";
  }
  for (const TaskLine& task : tasks_of(outbox)) {
    text += "task         " + task.task + " " + task.state + ", " + time_text(task.at_ms);
    if (!task.code.empty()) text += " (" + task.code + ")";
    if (!task.message.empty()) text += " " + task.message;
    text += "\n";
  }
  const auto entries = outbox.history(count);
  if (entries.empty()) return text;
  text += "\n" + padded("report", 8) + padded("kind", 9) + padded("bytes", 9) +
          padded("collected", 20) + padded("sent", 20) + padded("stored", 20) +
          padded("settled", 20) + "status\n";
  for (const HistoryEntry& entry : entries) {
    text += padded(std::to_string(entry.sequence), 8) + padded(kind_text(entry.kind), 9) +
            padded(std::to_string(entry.bytes), 9) + padded(time_text(entry.collected_at_ms), 20) +
            padded(time_text(entry.sent_at_ms), 20) + padded(time_text(entry.stored_at_ms), 20) +
            padded(time_text(entry.settled_at_ms), 20) + entry.status;
    if (!entry.code.empty()) text += " (" + entry.code + ") " + entry.message;
    text += "\n";
  }
  return text;
}

std::string status_json(Outbox& outbox, std::size_t count) {
  const OutboxCount all = outbox.count();
  std::string json = "{" + field("agent_id", outbox.fact(Fact::agent_id)) +
                     field("link_state", outbox.fact(Fact::link_state)) +
                     field("link_since_ms", outbox.number(Fact::link_since_ms)) +
                     field("link_error", outbox.fact(Fact::link_error)) +
                     field("incarnation", std::to_string(outbox.incarnation())) +
                     field("last_sequence", static_cast<std::int64_t>(outbox.last_sequence())) +
                     field("last_discovery_ms", outbox.number(Fact::last_discovery_ms)) +
                     field("last_inventory_ms", outbox.number(Fact::last_inventory_ms)) +
                     field("last_software_ms", outbox.number(Fact::last_software_ms)) +
                     field("last_files_ms", outbox.number(Fact::last_files_ms)) +
                     field("sending_file", FileSender::progress_text(outbox)) +
                     field("dropped_total", outbox.number(Fact::dropped_total)) +
                     field("waiting_reports", all.reports) + field("waiting_bytes", all.bytes) +
                     "\"tasks\": [";
  std::string tasks;
  for (const TaskLine& task : tasks_of(outbox)) {
    tasks += closed("{" + field("notification_id", std::to_string(task.id)) + field("task", task.task) + field("state", task.state) +
                        field("at_ms", task.at_ms) + field("code", task.code) + field("message", task.message),
                    '}') +
             ", ";
  }
  json += closed(tasks, ']') + ", \"reports\": [";
  std::string reports;
  for (const HistoryEntry& entry : outbox.history(count)) {
    reports +=
        closed("{" + field("sequence", static_cast<std::int64_t>(entry.sequence)) +
                   field("kind", kind_text(entry.kind)) + field("bytes", entry.bytes) +
                   field("collected_at_ms", entry.collected_at_ms) +
                   field("sent_at_ms", entry.sent_at_ms) +
                   field("stored_at_ms", entry.stored_at_ms) +
                   field("settled_at_ms", entry.settled_at_ms) + field("status", entry.status) +
                   field("code", entry.code) + field("message", entry.message),
               '}') +
        ", ";
  }
  return json + closed(reports, ']') + "}\n";
}

}  // namespace greengate::agent
