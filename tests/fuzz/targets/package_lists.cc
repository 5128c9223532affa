// The package databases a software scan looks into: dpkg's list and status, apk's, and what rpm prints, parted by 0xFF bytes, in a machine
// of files of its own.
#include "agent/software/owners.h"
#include "core/clock.h"
#include "tests/fuzz/targets/check.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

using namespace greengate;
using namespace greengate::agent;
using fuzz::must;

namespace {

constexpr const char* files[] = {"var/lib/dpkg/info/nginx:amd64.list", "var/lib/dpkg/status", "lib/apk/db/installed", "recorded/rpm-files"};

// In memory where there is such a place; gone when the fuzzer ends.
class Folder {
 public:
  Folder() {
    const auto base = std::filesystem::exists("/dev/shm") ? std::filesystem::path("/dev/shm") : std::filesystem::temp_directory_path();
    std::string name = (base / "greengate-fuzz-XXXXXX").string();
    must(mkdtemp(name.data()) != nullptr, "there is room for a machine of files");
    path = name;
    for (const char* file : files) std::filesystem::create_directories((path / file).parent_path());
    std::filesystem::create_directory_symlink("usr/bin", path / "bin");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  static const SystemClock clock;
  static const std::vector<std::string> paths = {"/usr/bin/ls", "/usr/sbin/nginx", "/etc/passwd", "/usr/bin/apk", "/a", ""};
  std::string_view rest = fuzz::text_of(data, size);
  for (const char* file : files) {
    const std::string_view content = fuzz::piece(rest, '\xFF');
    std::ofstream(folder.path / file, std::ios::binary | std::ios::trunc).write(content.data(), static_cast<std::streamsize>(content.size()));
  }
  const Machine machine(MachineView{folder.path, false, std::chrono::milliseconds(1'000)});
  Pace pace(0, 0, clock);
  const auto found = look_up_owners(machine, paths, pace);
  must(found.owner_of.size() == paths.size(), "every path has its answer");
  must(!found.owners.empty() && found.owners.front() == Owner(), "the first owner is no package");
  must(found.owners.size() <= paths.size() + 1, "only packages that own something are remembered");
  for (const std::uint32_t owner : found.owner_of) must(owner < found.owners.size(), "every owner is known");
  for (const Owner& owner : found.owners)
    must(owner.name.size() <= 255 && owner.version.size() <= 255 + 21 && owner.vendor.size() <= 255, "a package's texts are bounded");
  must(found.bytes_read <= size + 64, "the lists are read once");
  return 0;
}
