#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::agent {

/// Something happened to a package, and is over.
struct PackageEvent {
  enum class What { installed, removed, upgraded };  ///< upgraded: replaced by another version, usually newer
  What what = What::installed;
  std::int64_t time_ms = 0;
  std::string name, version, previous_version, architecture;
};

/// The lines of one package manager's log, in order.
///
/// Promise   Tells of what was completed, not of what was begun: an installation that fails is no event.
/// Limits    What is begun and not over is remembered, 4,096 packages at most.
/// Source    dpkg.log(5) and dpkg's own logging of intentions and states; dnf's dnf.rpm.log ("SUBDEBUG Installed: …").
class PackageLog {
 public:
  virtual ~PackageLog() = default;
  virtual const char* system() const = 0;  ///< "dpkg", "rpm"
  virtual std::optional<PackageEvent> line(std::string_view line) = 0;
  /// What is begun and not over, to be remembered over a restart.
  virtual std::string state() const { return ""; }
  virtual void restore(std::string_view) {}
};

/// By the file's name: dnf's when it holds "dnf" or "rpm", else dpkg's.
std::unique_ptr<PackageLog> package_log_for(const std::string& path);

/// "nginx-1:1.20.1-14.el9.x86_64" taken apart; nothing when it is no such name.
struct PackageName {
  std::string name, version, architecture;
};
std::optional<PackageName> package_name(std::string_view text);

}  // namespace greengate::agent
