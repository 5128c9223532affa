#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::agent {

/// How a program fared.
enum class Ran {
  well,    ///< Printed everything and ended with 0: the output is the whole answer.
  failed,  ///< Was stopped, or ended otherwise: the output is half an answer at best.
  absent,  ///< None of the places has it, or it may not be run.
};

/// Runs a program without a shell and reads its output, at most limits::command_bytes, in pieces.
///
/// `places` are absolute paths; the first that exists is run, with an environment of ours, no
/// input, no error output, and a process group of its own that is killed at the deadline, at the
/// bound, or when `take` returns false.
Ran run_program(const std::vector<std::string>& places, const std::vector<std::string>& arguments,
                std::chrono::milliseconds patience,
                const std::function<bool(std::string_view piece)>& take);

/// What a script of an administrator's may cost.
struct ScriptBounds {
  std::chrono::milliseconds patience{30'000};
  std::uint64_t output_bytes = 1 << 20;
  std::uint64_t memory_bytes = 256 << 20;  ///< Address space, of each process it starts.
};

/// How a script ended, for a person.
struct ScriptEnd {
  bool well = false;           ///< Ended by itself with 0 and within its bounds.
  const char* code = "";       ///< "script.timeout", "script.output", "script.exit", "script.signal", "script.start".
  std::string message = {};    ///< What happened, in a sentence.
  std::string first_line = {};  ///< Of its error output, when it wrote any.
};

/// Runs a script without a shell and without privileges beyond ours: lowest priority for processor and disk, bounded time,
/// memory, output and file size, an environment of ours, no input, no descriptor of ours. It and its process group are killed
/// at a bound, and when the thread that called goes. What it printed is in `output`, whole or cut at the bound.
ScriptEnd run_script(const std::string& program, const ScriptBounds& bounds, std::string& output);

/// What statvfs says of one mounted file system.
struct Space {
  std::uint64_t block_bytes = 0;
  std::uint64_t blocks = 0;
  std::uint64_t blocks_available = 0;  ///< To ordinary users.
  std::uint64_t name_bytes_max = 0;
};

/// Asks for all of `mount_points`, in a helper process, since statvfs on a dead
/// disk or server may never return. Those that do not answer within `patience`
/// stay empty; the others are answered all the same.
std::vector<std::optional<Space>> look_at_space(const std::vector<std::string>& mount_points,
                                                std::chrono::milliseconds patience);

}  // namespace greengate::agent
