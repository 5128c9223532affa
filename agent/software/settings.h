#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate::agent {

/// What [software] in greengate-agent.toml says; deploy/greengate-agent.toml explains each key.
struct SoftwareSettings {
  bool enabled = true;
  std::vector<std::string> paths = {"/usr/bin", "/usr/sbin", "/usr/local", "/opt"};
  std::vector<std::string> patterns = {"*"};
  /// With a slash: the whole path; without: a name of a file or folder, wherever it is.
  std::vector<std::string> excludes;
  bool executables_only = true;
  bool cross_file_systems = false;
  std::uint32_t files_max = 20'000;
  std::uint32_t depth_max = 16;
  std::chrono::milliseconds time_max{240'000};
  std::uint32_t files_per_second = 2'000;         ///< 0: unbounded
  std::int64_t bytes_per_second = 8 << 20;        ///< Of package databases; 0: unbounded.
  std::chrono::milliseconds full_look{std::chrono::hours(24 * 28)};
};

}  // namespace greengate::agent
