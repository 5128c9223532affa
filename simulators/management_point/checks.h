#pragma once

#include "core/result.h"

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim {

enum class CheckLevel { off, warn, fail };

/// One thing a management point simulator looks at: a stable name, where the rule stands, what a
/// breach does by default.
struct Check {
  std::string_view code;
  std::string_view section;  ///< Of mp-protocol; "R n" is row n of the readings.
  CheckLevel level;
};

/// All checks in the order of mp-protocol 6.5.
std::span<const Check> all_checks();

/// The level of each check, as switched.
class CheckLevels {
 public:
  /// `NAME=off|warn|fail`; NAME may end in ".*". Errors: check.syntax, check.unknown.
  Result<void> set(std::string_view assignment);
  CheckLevel of(const Check& check) const;

 private:
  std::map<std::string_view, CheckLevel> changed_;
};

struct Violation {
  const Check* check;
  std::string text;
};

/// What was found wrong with one message. Limits: findings_max of each kind are kept, the rest
/// counted.
class Findings {
 public:
  static constexpr std::size_t findings_max = 32;
  explicit Findings(const CheckLevels& levels) : levels_(levels) {}

  /// Returns true when the message is refused for it. `code` is one of all_checks().
  bool add(std::string_view code, std::string text);
  bool failed() const { return failed_; }
  /// For what leaves the message unreadable: it is refused whatever the check's level is.
  void add_unreadable(std::string_view code, std::string text);
  const std::vector<Violation>& violations() const { return violations_; }
  const std::vector<Violation>& warnings() const { return warnings_; }
  std::size_t left_out() const { return left_out_; }

 private:
  void record(std::vector<Violation>& list, const Check& check, std::string text);

  const CheckLevels& levels_;
  std::vector<Violation> violations_, warnings_;
  std::size_t left_out_ = 0;
  bool failed_ = false;
};

/// Text of a stranger for a finding: in quotes, at most 80 characters, printable.
std::string shown(std::string_view text);

}  // namespace greengate::sim
