#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate::agent {

/// What [files] in greengate-agent.toml says; deploy/greengate-agent.toml explains each key.
struct FileSettings {
  std::vector<std::string> collect;  ///< "/etc/contoso/*.conf"; empty: nothing is collected.
  std::chrono::milliseconds interval{std::chrono::hours(24 * 7)};
  std::int64_t file_bytes_max = 1 << 20;
  std::int64_t run_bytes_max = 32 << 20;
  std::uint32_t files_max = 500;
  std::int64_t chunk_bytes = 256 << 10;
  std::int64_t bytes_per_second = 1 << 20;
};

}  // namespace greengate::agent
