#include "core/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>

namespace greengate {
namespace {

std::atomic<LogLevel> lowest{LogLevel::info};
std::atomic<void (*)(std::string_view)> test_sink{nullptr};

spdlog::logger& backend() {
  static spdlog::logger logger = [] {
    spdlog::logger made("greengate", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc);
    made.set_level(spdlog::level::trace);
    made.flush_on(spdlog::level::trace);
    return made;
  }();
  return logger;
}

const char* name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warn: return "warn";
    case LogLevel::error: return "error";
  }
  return "error";
}

// logfmt: plain when it can be, quoted when it must be, and never a second line: fields may hold what a peer sent.
void append_value(std::string& line, std::string_view value) {
  bool plain = !value.empty();
  for (const unsigned char c : value) plain = plain && c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
  if (plain) {
    line += value;
    return;
  }
  constexpr char hex[] = "0123456789abcdef";
  line += '"';
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      line += "\\x";
      line += hex[byte >> 4];
      line += hex[byte & 15];
    } else {
      line += c;
    }
  }
  line += '"';
}

}  // namespace

void set_log_level(LogLevel level) { lowest = level; }

bool parse_log_level(std::string_view text, LogLevel& level) {
  for (const LogLevel candidate : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error}) {
    if (text != name_of(candidate)) continue;
    level = candidate;
    return true;
  }
  return false;
}

void set_log_sink(void (*sink)(std::string_view)) { test_sink = sink; }

bool Log::enabled(LogLevel level) { return level >= lowest.load(std::memory_order_relaxed); }

void Log::write(LogLevel level, std::string_view event, std::vector<Field> fields) const {
  std::string line = "level=";
  line += name_of(level);
  line += " component=";
  append_value(line, component_);
  line += " event=";
  append_value(line, event);
  for (const Field& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  if (auto* sink = test_sink.load()) {
    sink(line);
    return;
  }
  backend().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace greengate
