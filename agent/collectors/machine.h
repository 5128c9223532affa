#pragma once

#include "agent/collectors/collectors.h"
#include "agent/collectors/helper_process.h"
#include "agent/collectors/limits.h"

#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::agent {

/// One address of one interface, as the kernel has it.
struct InterfaceAddress {
  std::string interface = {};
  std::uint32_t interface_index = 0;
  std::string address = {};  ///< IPv4 or IPv6 text.
  std::string subnet = {};   ///< Its network address.
  std::uint32_t prefix_length = 0;
  bool v6 = false;
  bool global = false;  ///< Not link-local, not loopback.
  bool leased =
      false;  ///< Has a lifetime: given by DHCP or router advertisement, not configured for good.
};

/// Everything a collector may ask of a machine, live or recorded. Paths are absolute, as seen on that machine.
///
/// Promise   No call blocks on a pipe or device, follows a link out of a recording, or reads past its bound.
/// Threads   The collecting thread only.
class Machine {
 public:
  explicit Machine(const MachineView& view);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  bool live() const { return live_; }

  /// A small file's content, not trimmed. Nothing when it cannot be read.
  std::optional<std::string> bytes(const std::string& path,
                                   std::size_t bytes_max = limits::value_file_bytes) const;
  /// The same, trimmed; empty when it cannot be read.
  std::string value(const std::string& path) const;
  std::optional<std::uint64_t> number(const std::string& path) const;

  /// Each line in turn, without its end, until `take` returns false. False when the file cannot be
  /// opened.
  bool lines(const std::string& path, const std::function<bool(std::string_view)>& take,
             std::uint64_t bytes_max = limits::lines_file_bytes) const;
  /// The value of the first "KEY=value" line, or empty.
  std::string assigned(const std::string& path, std::string_view key) const;

  /// Names in a directory, sorted, without "." and "..". Nothing when it cannot be opened.
  std::optional<std::vector<std::string>> list(
      const std::string& path, std::size_t names_max = limits::directory_entries) const;
  /// Visits names in the kernel's own order until `take` returns false.
  bool each_name(const std::string& path, const std::function<bool(std::string_view)>& take) const;
  std::string link(const std::string& path) const;  ///< A symbolic link's text, or empty.
  bool exists(const std::string& path) const;
  std::optional<std::int64_t> modified_ms(const std::string& path) const;

  /// The lines `program` prints. `name` is the file in recorded/ that stands for it; without that
  /// file it is absent.
  Ran command(const std::string& name, const std::string& program,
              const std::vector<std::string>& arguments,
              const std::function<bool(std::string_view)>& take) const;
  std::vector<std::optional<Space>> space(const std::vector<std::string>& mount_points) const;
  std::vector<InterfaceAddress> addresses() const;
  std::string architecture() const;  ///< "x86_64", as uname names it.
  /// Minutes east of UTC at `time_ms`, and whether that is summer time.
  struct Zone {
    int offset_minutes;
    bool summer;
  };
  std::optional<Zone> zone(std::int64_t time_ms) const;
  std::uint64_t ticks_per_second() const;
  std::uint64_t page_bytes() const;
  /// The hypervisor's own signature ("KVMKVMKVM"); only the live processor can be asked.
  std::string hypervisor_signature() const;

 private:
  int open(const std::string& path, int flags) const;
  bool live_;
  bool may_run_commands_;
  std::chrono::milliseconds patience_;
  int root_ = -1;
};

/// Cuts a stream of pieces into lines of at most limits::line_bytes.
class LineCutter {
 public:
  /// False once `take` has returned false.
  bool feed(std::string_view piece, const std::function<bool(std::string_view)>& take);
  /// The last line, if it had no end.
  void finish(const std::function<bool(std::string_view)>& take);

 private:
  std::string line_;
  bool stopped_ = false;
};

/// The kernel's addresses over rtnetlink; nothing when it does not answer.
std::vector<InterfaceAddress> kernel_addresses();
/// Fills `subnet`, `global` and `v6` from address and prefix. False when the text is no address.
bool complete_address(InterfaceAddress& address);

}  // namespace greengate::agent
