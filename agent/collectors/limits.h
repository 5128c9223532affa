#pragma once

#include <cstddef>
#include <cstdint>

namespace greengate::agent {

/// What a machine may show us, at most. A hostile or broken machine costs a bounded amount of time
/// and memory.
namespace limits {

constexpr std::size_t text_bytes = 255;  ///< One property; the site's columns are VARCHAR(255).
constexpr std::size_t file_name_bytes = 255;  ///< As written out; no gateway takes a longer one.
constexpr std::size_t file_path_bytes =
    1'024;  ///< As the kernel has it; written out, at most four times as long.
constexpr std::size_t list_items = 64;   ///< One multi-valued property.
constexpr std::size_t value_file_bytes =
    4'096;                                 ///< A file that holds one value, as most of /sys does.
constexpr std::size_t line_bytes = 8'192;  ///< A longer line is cut; its rest is skipped.
constexpr std::uint64_t lines_file_bytes =
    4u << 20;  ///< A file read line by line: mountinfo, cpuinfo, leases…
constexpr std::uint64_t package_file_bytes =
    64u << 20;  ///< dpkg's or apk's list; the largest seen in the field is 12 MB.
constexpr std::uint64_t command_bytes = 16u << 20;  ///< What one command may print.
constexpr std::size_t directory_entries = 65'536;   ///< Looked at in one directory.

constexpr std::size_t processors = 64;  ///< Rows: physical packages.
constexpr std::size_t logical_processors = 8'192;
constexpr std::size_t disks = 512;
constexpr std::size_t partitions = 2'048;
constexpr std::size_t file_systems = 512;
constexpr std::size_t adapters = 256;
constexpr std::size_t addresses = 1'024;
constexpr std::size_t processes = 2'000;  ///< The oldest ones, by process id.
constexpr std::size_t services = 2'000;
constexpr std::size_t packages = 10'000;
constexpr std::size_t sessions = 256;
constexpr std::size_t helpers_stuck =
    8;  ///< Helper processes the kernel does not let go of; then no new ones.

}  // namespace limits
}  // namespace greengate::agent
