#pragma once

#include "agent/watchers/accounting.h"
#include "agent/watchers/notebook.h"
#include "agent/watchers/process_table.h"
#include "agent/watchers/tail.h"

#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace greengate::agent {

struct MeterConfig {
  std::vector<std::string> programs;                       ///< metering.programs, full paths; empty: nothing is metered
  std::chrono::milliseconds sample_interval{60'000};       ///< metering.sample_interval
  std::chrono::milliseconds report_interval{604'800'000};  ///< metering.report_interval
  std::string accounting_file;                             ///< metering.accounting_file; empty: samples only
  std::string process_root = "/proc";
  std::chrono::milliseconds save_interval{900'000};  ///< Between writings of what was counted.
  /// A user's name by number; the test's own, or the system's.
  std::function<std::string(std::uint32_t)> user_name;
};

/// Counts how often and how long configured programs run, for each user, and reports it once every report_interval.
///
/// Promise   What was counted survives a restart up to save_interval back, with accounting wholly. A jump of the wall clock changes no
///           duration: time is counted on the machine's own clock, and dates are put right when they are reported.
///           A stretch in which nothing ran is no report.
/// Limits    64 programs, 512 users of each (the rest count under the empty name), 16,384 running processes of theirs.
///           Without accounting a process that lives and dies between two samples is not seen, and an end is the last sample.
/// Threads   One.
/// Source    docs/reference/status-and-metering.md
class Meter final : public Watcher {
 public:
  Meter(MeterConfig config, Notebook& notebook, const Clock& clock);

  SteadyTime next_due() const override { return due_; }
  void tick() override;
  void close() override;

 private:
  struct Program {
    std::string path, real_path;  // as configured, and where it leads
    std::string short_name, real_short_name;
    bool is_script = false;
  };
  struct Use {
    std::uint32_t runs = 0;
    std::uint64_t ran_ms = 0;
    std::int64_t first_start_ms = 0, last_end_ms = 0;
  };
  struct Live {
    std::uint64_t start_ticks = 0;
    int program = -1;  // -1: looked at, and not metered
    std::string user;
    std::int64_t counted_to_boot_ms = 0;
    bool seen = false;
  };

  void begin();
  void resolve_programs();
  void read_accounting();
  void sample();
  int program_of(const RunningProcess& process) const;
  int program_named(const std::string& command) const;
  Use& use_of(int program, const std::string& user);
  void count(int program, const std::string& user, bool begun, std::uint64_t ran_ms, std::int64_t start_ms, std::int64_t end_ms);
  std::string name_of_user(std::uint32_t id);
  std::int64_t wall_ms() const { return to_millis(clock_.wall()); }
  bool report_is_due() const;
  bool report();
  std::string note_text() const;
  void restore(std::string_view note);
  void save();

  MeterConfig config_;
  Notebook& notebook_;
  const Clock& clock_;
  ProcessTable table_;
  Tail accounting_;
  TailPosition accounting_position_;
  std::vector<Program> programs_;
  std::map<std::pair<int, std::string>, Use> uses_;
  std::unordered_map<std::uint32_t, Live> live_;
  std::unordered_map<std::uint32_t, std::string> user_names_;

  std::int64_t from_ms_ = 0;        // wall time of the stretch's beginning
  std::int64_t elapsed_ms_ = 0;     // of the stretch, on clocks that do not jump
  std::int64_t sampled_boot_ms_ = 0;  // when was last looked, on the machine's clock; 0: never
  std::int64_t sampled_wall_ms_ = 0;
  bool first_sample_ = true;  // since we were started
  SteadyTime counted_at_{};
  SteadyTime due_, save_due_;
  bool begun_ = false, complained_ = false;
};

/// The system's name of a user, or its number.
std::string system_user_name(std::uint32_t id);

}  // namespace greengate::agent
