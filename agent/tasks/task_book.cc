#include "agent/tasks/task_book.h"

#include "agent/collectors/text.h"
#include "agent/trees/encoding.h"
#include "core/check.h"

#include <algorithm>
#include <cctype>

namespace greengate::agent {
namespace {

constexpr const char* open_name = "tasks-open";
constexpr const char* past_name = "tasks-past";
constexpr std::uint64_t note_version = 1;
constexpr std::size_t code_bytes_max = 64;

}  // namespace

std::string task_name(v1::Task task) {
  if (task == v1::TASK_UNSPECIFIED || !v1::Task_IsValid(task)) return "";
  std::string name = v1::Task_Name(task).substr(std::string_view("TASK_").size());
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

std::uint64_t print_of(const v1::Notification& asked) {
  v1::Notification plain;
  plain.set_task(asked.task());
  plain.set_site_task_id(asked.site_task_id());
  if (asked.has_restart()) *plain.mutable_restart() = asked.restart();
  if (asked.has_run_script()) *plain.mutable_run_script() = asked.run_script();
  std::uint64_t print = 14'695'981'039'346'656'037u;  // FNV-1a; nobody gains by a collision
  for (const char c : plain.SerializeAsString()) print = (print ^ static_cast<unsigned char>(c)) * 1'099'511'628'211u;
  return print;
}

TaskBook::TaskBook(Notebook& notebook) : notebook_(notebook) {
  read_open(notebook_.note(open_name));
  read_past(notebook_.note(past_name));
}

OpenTask* TaskBook::find_open(std::uint64_t id) {
  const auto found = std::find_if(open_.begin(), open_.end(), [&](const OpenTask& each) { return each.id == id; });
  return found == open_.end() ? nullptr : &*found;
}

const PastTask* TaskBook::find_past(std::uint64_t id) const {
  const auto found = std::find_if(past_.rbegin(), past_.rend(), [&](const PastTask& each) { return each.id == id; });
  return found == past_.rend() ? nullptr : &*found;
}

bool TaskBook::has_room_for(const v1::Notification& asked) const {
  std::size_t bytes = asked.ByteSizeLong();
  for (const OpenTask& each : open_) bytes += each.asked.ByteSizeLong() + each.memory.size();
  return open_.size() < open_max && bytes <= open_bytes_max;
}

bool TaskBook::add(OpenTask task) {
  open_.push_back(std::move(task));
  if (notebook_.keep({}, {{open_name, open_note()}})) return true;
  open_.pop_back();
  return false;
}

bool TaskBook::begin(OpenTask& task, std::string memory) {
  GREENGATE_CHECK(memory.size() <= memory_bytes_max, "a work remembers little");
  std::swap(task.memory, memory);
  ++task.starts;
  if (notebook_.keep({}, {{open_name, open_note()}})) return true;
  task.memory = std::move(memory);
  --task.starts;
  return false;
}

bool TaskBook::end(PastTask task, const std::vector<Finding>& reports) {
  task.message = clean_text(task.message, message_bytes_max);
  task.code.resize(std::min(task.code.size(), code_bytes_max));
  const auto at = std::find_if(open_.begin(), open_.end(), [&](const OpenTask& each) { return each.id == task.id; });
  const bool was_open = at != open_.end();
  const auto place = at - open_.begin();
  OpenTask leaving;
  if (was_open) {
    leaving = std::move(*at);
    open_.erase(at);
  }
  past_.push_back(std::move(task));
  Notes notes{{past_name, past_note()}};
  if (was_open) notes.emplace_back(open_name, open_note());
  if (notebook_.keep(reports, notes)) {
    if (past_.size() > past_max) past_.pop_front();
    return true;
  }
  past_.pop_back();
  if (was_open) open_.insert(open_.begin() + place, std::move(leaving));
  return false;
}

// Nothing open: no note at all.
std::string TaskBook::open_note() const {
  if (open_.empty()) return "";
  Encoder out;
  out.number(note_version).number(open_.size());
  for (const OpenTask& each : open_) {
    out.number(each.id).number(each.print).signed_number(each.due_at_ms).signed_number(each.expires_at_ms).number(each.starts);
    out.text(each.memory).text(each.asked.SerializeAsString());
  }
  return to_hex(out.bytes());
}

std::string TaskBook::past_note() const {
  const std::size_t kept = std::min(past_.size(), past_max);
  Encoder out;
  out.number(note_version).number(kept);
  for (std::size_t i = past_.size() - kept; i < past_.size(); ++i) {
    const PastTask& each = past_[i];
    out.number(each.id).number(each.print).number(static_cast<std::uint64_t>(each.task));
    out.number(static_cast<std::uint64_t>(each.outcome)).signed_number(each.ended_at_ms).text(each.code).text(each.message);
  }
  return to_hex(out.bytes());
}

void TaskBook::read_open(const std::string& note) {
  if (note.empty()) return;
  const std::string bytes = from_hex(note);
  Decoder in(bytes);
  if (in.number() != note_version) in.spoil();
  const std::size_t count = in.count(open_max);
  for (std::size_t i = 0; i < count && in.good(); ++i) {
    OpenTask task;
    task.id = in.number();
    task.print = in.number();
    task.due_at_ms = in.signed_number();
    task.expires_at_ms = in.signed_number();
    task.starts = in.number();
    task.memory = in.text(memory_bytes_max);
    if (!task.asked.ParseFromString(std::string(in.text(open_bytes_max)))) in.spoil();
    if (in.good()) open_.push_back(std::move(task));
  }
  if (in.at_end()) return;
  log_.warn("notes of tasks cannot be read", kv("consequence", "what was asked for before is forgotten"));
  open_.clear();
}

void TaskBook::read_past(const std::string& note) {
  if (note.empty()) return;
  const std::string bytes = from_hex(note);
  Decoder in(bytes);
  if (in.number() != note_version) in.spoil();
  const std::size_t count = in.count(past_max);
  for (std::size_t i = 0; i < count && in.good(); ++i) {
    PastTask task;
    task.id = in.number();
    task.print = in.number();
    task.task = static_cast<v1::Task>(in.number() & 0xffff);
    task.outcome = static_cast<v1::TaskOutcome>(in.number() & 0xff);
    task.ended_at_ms = in.signed_number();
    task.code = in.text(code_bytes_max);
    task.message = in.text(message_bytes_max);
    if (in.good()) past_.push_back(std::move(task));
  }
  if (in.at_end()) return;
  log_.warn("notes of tasks cannot be read", kv("consequence", "a task sent again is done again"));
  past_.clear();
}

}  // namespace greengate::agent
