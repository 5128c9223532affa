#include "agent/watchers/mif_folder.h"

#include "agent/collectors/text.h"
#include "agent/watchers/mif_text.h"
#include "core/log.h"
#include "greengate/v1/report.pb.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <vector>

namespace greengate::agent {
namespace {

constexpr std::size_t files_max = 256;
constexpr std::size_t entries_looked_at = 4'096;
constexpr std::uint32_t told_per_hour = 20;
constexpr const char* note_name = "mif";

const Log& watch_log() {
  static const Log log("watch");
  return log;
}

bool is_mif_name(std::string_view name) {
  return name.size() > 4 && name.size() <= 128 && name.front() != '.' && upper(name.substr(name.size() - 4)) == ".MIF";
}

// What becomes a file name on the site's side.
bool is_plain_name(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
  });
}

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::uint64_t sum_of(std::string_view bytes) {
  std::uint64_t sum = 14'695'981'039'346'656'037ull;
  for (const char c : bytes) sum = (sum ^ static_cast<unsigned char>(c)) * 1'099'511'628'211ull;
  return sum;
}

std::optional<std::string> content(const std::string& path, std::size_t bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return std::nullopt;
  std::optional<std::string> bytes;
  struct stat facts {};
  if (fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode)) {
    bytes.emplace(bytes_max + 1, '\0');
    std::size_t have = 0;
    for (ssize_t got = 1; got > 0 && have < bytes->size();) {
      got = read(fd, bytes->data() + have, bytes->size() - have);
      if (got < 0 && errno == EINTR) got = 1;
      else if (got > 0) have += static_cast<std::size_t>(got);
    }
    bytes->resize(have);
  }
  close(fd);
  return bytes;
}

}  // namespace

MifFolder::MifFolder(MifFolderConfig config, Notebook& notebook, const Clock& clock)
    : config_(std::move(config)), notebook_(notebook), clock_(clock), budget_(told_per_hour, clock), due_(clock.steady()) {
  if (config_.folder.empty()) due_ = SteadyTime::max();
}

// A line a file: "sent|bad bytes modified sum name".
void MifFolder::remember_from_note() {
  const std::string note = notebook_.note(note_name);
  std::string_view text = note;
  while (!text.empty() && memory_.size() < files_max) {
    std::string_view rest;
    std::string_view line = cut_at(text, '\n', &rest);
    text = rest;
    const std::string_view known = next_word(line);
    const auto bytes = to_signed(next_word(line)), modified = to_signed(next_word(line));
    const auto sum = to_number(next_word(line));
    const std::string name(trimmed(line));
    if (!bytes || !modified || !sum || name.empty()) continue;
    memory_[name] = {known == "sent" ? Known::sent : Known::bad, *bytes, *modified, *sum};
  }
}

Notes MifFolder::notes() const {
  std::string text;
  for (const auto& [name, memory] : memory_) {
    if (memory.known == Known::nothing) continue;
    text += std::string(memory.known == Known::sent ? "sent " : "bad ") + std::to_string(memory.bytes) + " " + std::to_string(memory.modified_ns) +
            " " + std::to_string(memory.sum) + " " + name + "\n";
  }
  return {{note_name, text}};
}

void MifFolder::tick() {
  if (clock_.steady() < due_) return;
  if (!begun_) remember_from_note();
  begun_ = true;
  due_ = clock_.steady() + config_.interval;
  DIR* folder = opendir(config_.folder.c_str());
  if (!folder) return;  // it may be made later
  std::set<std::string> names;
  bool too_many = false;
  std::size_t looked = 0;
  for (const dirent* entry = readdir(folder); entry && ++looked <= entries_looked_at; entry = readdir(folder)) {
    if (!is_mif_name(entry->d_name)) continue;
    too_many = too_many || names.size() >= files_max;
    if (names.size() < files_max) names.insert(entry->d_name);
  }
  closedir(folder);
  if (too_many && !told_too_many_) watch_log().warn("more MIF files than are looked at", kv("file", config_.folder), kv("rows", files_max));
  told_too_many_ = too_many;

  std::erase_if(seen_, [&](const auto& entry) { return !names.contains(entry.first); });
  if (std::erase_if(memory_, [&](const auto& entry) { return !names.contains(entry.first); }) > 0 && !too_many) notebook_.keep({}, notes());
  for (const std::string& name : names) {
    struct stat facts {};
    if (lstat((config_.folder + "/" + name).c_str(), &facts) != 0 || !S_ISREG(facts.st_mode)) continue;
    const Seen now{facts.st_size, nanoseconds(facts.st_mtim), clock_.steady()};
    const Memory& memory = memory_[name];
    if (memory.known != Known::nothing && memory.bytes == now.bytes && memory.modified_ns == now.modified_ns) continue;
    Seen& seen = seen_[name];
    if (seen.since == SteadyTime{} || seen.bytes != now.bytes || seen.modified_ns != now.modified_ns) seen = now;
    if (clock_.steady() < seen.since + config_.settled) {
      due_ = std::min(due_, seen.since + config_.settled);  // perhaps somebody is still writing
      continue;
    }
    if (!take(name, seen)) return;
    seen_.erase(name);
  }
  std::erase_if(memory_, [](const auto& entry) { return entry.second.known == Known::nothing; });
}

bool MifFolder::take(const std::string& name, const Seen& facts) {
  Memory memory{Known::bad, facts.bytes, facts.modified_ns, 0};
  const auto reject = [&](const char* code, std::string message) {
    return refuse(name, memory, Error{Remedy::reject, code, std::move(message), {}});
  };
  if (!is_plain_name(name)) return reject("mif.name", "Its name may have letters, digits, dots, hyphens and underscores.");
  const auto bytes_max = static_cast<std::size_t>(config_.bytes_max);
  const auto bytes = content(config_.folder + "/" + name, bytes_max);
  if (!bytes) return reject("mif.unreadable", "It cannot be read.");
  if (bytes->size() > bytes_max) return reject("mif.too_large", "It is larger than the " + std::to_string(bytes_max) + " bytes of mif.bytes_max.");
  memory.sum = sum_of(*bytes);
  const Memory before = memory_[name];
  if (before.known != Known::nothing && before.sum == memory.sum && before.bytes == memory.bytes) {
    memory_[name] = memory;  // touched, not changed
    memory_[name].known = before.known;
    return notebook_.keep({}, notes());
  }
  const auto checked = check_mif(*bytes, config_.header_required);
  if (!checked) return refuse(name, memory, checked.error());

  v1::IdMif report;
  report.set_file_name(name);
  report.set_text(*bytes);
  report.set_modified_ms(facts.modified_ns / 1'000'000);
  memory.known = Known::sent;
  memory_[name] = memory;
  if (!notebook_.keep({{v1::LANE_FILES, v1::KIND_IDMIF, report.SerializeAsString()}}, notes())) {
    memory_[name] = before;
    return false;
  }
  watch_log().info("MIF file kept", kv("file", name), kv("bytes", bytes->size()));
  return true;
}

bool MifFolder::refuse(const std::string& name, const Memory& memory, const Error& why) {
  const Memory before = memory_[name];
  memory_[name] = memory;
  std::vector<Finding> findings;
  if (config_.topic_type != 0 && budget_.left() > 0) {
    v1::StateMessages messages;
    v1::StateMessage& message = *messages.add_messages();
    message.set_time_ms(to_millis(clock_.wall()));
    message.set_topic_type(config_.topic_type);
    message.set_topic_id("greengate:mif:" + clean_text(name, 128));
    message.set_state_id(config_.failed_state_id);
    message.add_parameters(why.code);
    message.add_parameters(clean_text(why.message, 255));
    findings.push_back({v1::LANE_STATE, v1::KIND_STATE_MESSAGES, messages.SerializeAsString()});
  }
  if (!notebook_.keep(findings, notes())) {
    memory_[name] = before;
    return false;
  }
  budget_.use(static_cast<std::uint32_t>(findings.size()));
  watch_log().warn("MIF file refused", kv("file", name), kv("code", why.code), kv("why", why.message));

  const std::string bad = config_.folder + "/bad", target = bad + "/" + name;
  if (mkdir(bad.c_str(), 0700) != 0 && errno != EEXIST) return true;  // it stays, and is remembered
  if (rename((config_.folder + "/" + name).c_str(), target.c_str()) != 0) return true;
  const int reason = open((target + ".reason").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (reason < 0) return true;
  const std::string text = std::string(why.code) + "\n" + why.message + "\n";
  // The same is in the log; a reason that does not fit on the disk is no reason to stop.
  [[maybe_unused]] const ssize_t written = write(reason, text.data(), text.size());
  ::close(reason);
  return true;
}

}  // namespace greengate::agent
