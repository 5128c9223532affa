#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace greengate {

/// One complaint about one key: "delivery.url", its value as written, and what would do instead.
struct ConfigProblem {
  std::string key;
  std::string message;  ///< What is wrong and what would do; the key itself may be left out in front.
};

/// Reads a TOML file into plain structs and collects every mistake instead of stopping at the first.
///
/// Usage     read() every key there is, add() what the structs' own problems() say, then ask problems(): keys nobody
///           read are reported there with the nearest name that was.
/// Durations are written as "250ms", "30s", "15min", "4h", "7d"; sizes as "64KiB", "16MiB", "2GiB" or a plain number of bytes.
/// Threads   One.
class ConfigReader {
 public:
  /// A file that cannot be read or parsed is a problem like any other; reading then leaves every default.
  static ConfigReader from_file(const std::string& path);
  static ConfigReader from_text(const std::string& text, const std::string& name_in_messages);
  ConfigReader(ConfigReader&&) noexcept;
  ~ConfigReader();

  /// Each leaves `value` as it is when the key is absent or of the wrong kind (which is then a problem).
  void read(const std::string& key, std::string& value);
  void read(const std::string& key, bool& value);
  void read(const std::string& key, std::int64_t& value);
  void read(const std::string& key, std::uint32_t& value);
  void read(const std::string& key, double& value);
  void read(const std::string& key, std::chrono::milliseconds& value);
  void read(const std::string& key, std::vector<std::string>& value);
  void read_bytes(const std::string& key, std::int64_t& value);
  /// How many tables [[key]] there are. Their keys are read as "key[0].name", and are not among known_keys() of a file without them.
  std::size_t table_count(const std::string& key);

  /// The names of the tables directly below `key`, sorted: "a", "b" for [key.a] and [key.b].
  std::vector<std::string> tables(const std::string& key) const;

  void add(std::vector<ConfigProblem> problems);

  /// Everything wrong, in file order where a line is known: "greengate.toml:12: delivery.url is …".
  std::vector<std::string> problems() const;
  /// Every key somebody asked for.
  std::set<std::string> known_keys() const;

 private:
  ConfigReader();
  struct State;
  std::unique_ptr<State> state_;
};

/// "250ms", "30s", "15min", "4h", "7d" as the file has it; the inverse of reading, for messages and --print-config.
std::string duration_text(std::chrono::milliseconds value);
/// A time as the file has it; nothing when it is none.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace greengate
