#pragma once

#include "agent/watchers/notebook.h"
#include "agent/watchers/package_log.h"
#include "agent/watchers/tail.h"

#include <memory>
#include <string>
#include <vector>

namespace greengate::agent {

struct PackageWatchConfig {
  bool enabled = true;                                                                ///< status.packages
  std::vector<std::string> logs = {"/var/log/dpkg.log", "/var/log/dnf.rpm.log"};      ///< status.logs
  std::chrono::milliseconds interval{300'000};                                        ///< status.interval
  std::chrono::milliseconds history{0};  ///< status.history: of the time before the first look
  std::uint32_t per_hour_max = 200;      ///< status.per_hour_max
  bool details = true;                   ///< status.details
};

/// Makes a status report of every package that was installed, upgraded or removed.
///
/// Promise   Each event once, also over restarts, rotations and kill -9: reports and position are kept together. At the first look
///           on a machine only `history` back. Beyond per_hour_max events wait in the log; they are late, not lost.
/// Limits    A tick reads 256 KiB of each log and makes 200 reports at most; when there is more, the next tick is due at once.
/// Threads   One.
/// Source    docs/reference/status-and-metering.md
class PackageWatch final : public Watcher {
 public:
  PackageWatch(PackageWatchConfig config, Notebook& notebook, const Clock& clock);

  SteadyTime next_due() const override { return due_; }
  void tick() override;

 private:
  struct Source {
    Tail tail;
    std::unique_ptr<PackageLog> log;
    TailPosition position;
    std::int64_t since_ms = 0;  // older events are history
    bool complained = false;
  };
  void begin(Source& source);
  // True when there is more at once.
  bool look_at(Source& source);
  std::string note_text(const Source& source) const;
  Finding finding(const PackageEvent& event, const char* system) const;

  PackageWatchConfig config_;
  Notebook& notebook_;
  const Clock& clock_;
  std::vector<Source> sources_;
  HourlyBudget budget_;
  SteadyTime due_;
  bool begun_ = false;
};

}  // namespace greengate::agent
