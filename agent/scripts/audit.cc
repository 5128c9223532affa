#include "agent/scripts/audit.h"

#include "agent/collectors/text.h"

#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace greengate::agent {
namespace {

constexpr std::size_t text_bytes_max = 128;
constexpr std::size_t parameters_shown = 16;

std::string utc(std::int64_t millis) {
  const std::time_t seconds = static_cast<std::time_t>(millis / 1'000);
  std::tm day{};
  gmtime_r(&seconds, &day);
  char text[80];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", day.tm_year + 1900, day.tm_mon + 1, day.tm_mday, day.tm_hour, day.tm_min,
                day.tm_sec, static_cast<int>(millis % 1'000));
  return text;
}

std::string line_of(const AuditRecord& record, std::int64_t now_ms) {
  boost::json::object line;
  line["time"] = utc(now_ms);
  line["event"] = record.event;
  // As text: a JSON reader may not have 64 bits.
  line["notification"] = std::to_string(record.notification);
  const auto text = [&](const char* key, const std::string& value) {
    if (!value.empty()) line[key] = clean_text(value, text_bytes_max);
  };
  text("site_task", record.site_task);
  text("task_guid", record.task_guid);
  text("script_guid", record.script_guid);
  text("script_hash", record.script_hash);
  text("name", record.name);
  text("user", record.user);
  text("code", record.code);
  if (!record.parameters.empty()) {
    boost::json::array names;
    for (const std::string& name : record.parameters) {
      if (names.size() < parameters_shown) names.emplace_back(clean_text(name, text_bytes_max));
    }
    line["parameters"] = std::move(names);
  }
  if (record.exit) line["exit"] = *record.exit;
  if (record.signal) line["signal"] = *record.signal;
  if (record.took_ms) line["took_ms"] = *record.took_ms;
  if (record.output_bytes) line["output_bytes"] = *record.output_bytes;
  return boost::json::serialize(line) + "\n";
}

}  // namespace

Result<void> Audit::write(const AuditRecord& record) {
  const auto failed = [&](const char* what) {
    return fail(Remedy::retry, "task.script_audit", std::string("The audit file cannot be ") + what + ": " + std::strerror(errno) + ".");
  };
  struct stat there {};
  if (lstat(file_.c_str(), &there) == 0 && S_ISREG(there.st_mode) && there.st_size >= bytes_max_ &&
      rename(file_.c_str(), (file_ + ".1").c_str()) != 0)
    return failed("renamed");
  const int fd = open(file_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
  if (fd < 0) return failed("opened");
  const std::string line = line_of(record, to_millis(clock_.wall()));
  // One write a line: lines of two agents in one file do not mix, and a reader never sees half of one that is whole.
  const bool regular = fstat(fd, &there) == 0 && S_ISREG(there.st_mode);
  const bool written = regular && ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) && fdatasync(fd) == 0;
  if (!regular) errno = EINVAL;
  const int why = errno;
  close(fd);
  errno = why;
  if (!written) return failed("written");
  return {};
}

}  // namespace greengate::agent
