#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace greengate {

/// One field of a log line. Names are one vocabulary: docs/reference/logs.md. Never a secret.
struct Field {
  std::string_view key;
  std::string value;
};

inline Field kv(std::string_view key, std::string_view value) { return {key, std::string(value)}; }
inline Field kv(std::string_view key, const char* value) { return {key, value}; }
inline Field kv(std::string_view key, bool value) { return {key, value ? "true" : "false"}; }
template <std::integral T>
Field kv(std::string_view key, T value) {
  return {key, std::to_string(value)};
}
inline Field kv(std::string_view key, std::chrono::milliseconds value) { return {key, std::to_string(value.count())}; }

enum class LogLevel { debug, info, warn, error };

/// Where lines go: stderr, one line each, logfmt. Call once, early; until then info and above are written.
void set_log_level(LogLevel level);
/// "debug", "info", "warn", "error"; false when it is none of them.
bool parse_log_level(std::string_view text, LogLevel& level);
/// Tests read lines instead of printing them. An empty function restores stderr.
void set_log_sink(void (*sink)(std::string_view line));

/// A component's own voice: `log.warn("post postponed", kv("code", error.code))`. The phrase is constant, the fields vary.
/// Levels: debug for us · info for an operator's timeline · warn odd, nothing lost · error lost, or a person is needed.
/// Threads   Any.
class Log {
 public:
  explicit Log(std::string_view component) : component_(component) {}

  template <class... F>
  void debug(std::string_view event, F&&... fields) const {
    if (enabled(LogLevel::debug)) write(LogLevel::debug, event, {std::forward<F>(fields)...});
  }
  template <class... F>
  void info(std::string_view event, F&&... fields) const {
    if (enabled(LogLevel::info)) write(LogLevel::info, event, {std::forward<F>(fields)...});
  }
  template <class... F>
  void warn(std::string_view event, F&&... fields) const {
    if (enabled(LogLevel::warn)) write(LogLevel::warn, event, {std::forward<F>(fields)...});
  }
  template <class... F>
  void error(std::string_view event, F&&... fields) const {
    write(LogLevel::error, event, {std::forward<F>(fields)...});
  }
  static bool enabled(LogLevel level);

 private:
  void write(LogLevel level, std::string_view event, std::vector<Field> fields) const;
  std::string component_;
};

}  // namespace greengate
