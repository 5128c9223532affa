#include "agent/files/plan.h"

#include "agent/collectors/facts.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/text.h"
#include "agent/trees/encoding.h"
#include "agent/trees/glob.h"
#include "agent/trees/sha256.h"
#include "core/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <set>

namespace greengate::agent {
namespace {

constexpr std::size_t folders_max = 20'000;
constexpr std::size_t depth_max = 32;
constexpr std::size_t placed_bytes_max = 4'096;
constexpr std::size_t read_bytes = 64 << 10;
constexpr std::uint64_t complaints_max = 10;  // lines about single files in one run

// Where a server or a device answers instead of a disk, reading may never return.
bool may_hold_files(std::string_view type) {
  constexpr std::string_view others[] = {
      "nfs",    "nfs4",     "cifs",    "smb3",   "smbfs",  "afs",       "ceph",      "9p",
      "autofs", "proc",     "sysfs",   "devpts", "mqueue", "debugfs",   "tracefs",   "configfs",
      "cgroup", "cgroup2",  "bpf",     "pstore", "fusectl", "efivarfs", "securityfs", "ncpfs",
      "coda",   "glusterfs", "lustre", "gfs2",   "ocfs2",  "devtmpfs",  "binfmt_misc", "fuse"};
  return std::find(std::begin(others), std::end(others), type) == std::end(others) &&
         !type.starts_with("fuse.");
}

class Planner {
 public:
  Planner(const FileSettings& settings, const std::string& state_directory,
          const FileLedger& ledger, const Machine& machine, Pace& pace)
      : settings_(settings), state_directory_(state_directory), ledger_(ledger), pace_(pace) {
    while (state_directory_.size() > 1 && state_directory_.ends_with('/'))
      state_directory_.pop_back();
    for (const Mount& mount : look_at_mounts(machine))
      mounts_[mount.mount_point] = may_hold_files(mount.type);
  }

  FilePlan plan() {
    for (const std::string& pattern : settings_.collect) match(pattern);
    std::uint64_t bytes = 0;
    for (const auto& [place, about] : matches_) consider(place, bytes);
    if (unsaid_ > 0) log_.warn("more files not collected", kv("unsaid", unsaid_));
    return std::move(plan_);
  }

 private:
  void complain(const std::string& path, const char* why) {
    if (++complaints_ > complaints_max) {
      ++unsaid_;
      return;
    }
    log_.warn("file not collected", kv("path", escaped_name(path)), kv("why", why));
  }

  bool behind_a_server(std::string path) const {
    for (;;) {
      if (const auto mount = mounts_.find(path.empty() ? "/" : path); mount != mounts_.end())
        return !mount->second;
      const std::size_t slash = path.rfind('/');
      if (path.empty() || slash == std::string::npos) return false;
      path.resize(slash);
    }
  }

  // "/etc/contoso/*/a.conf": the folder is "/etc/contoso", the rest is matched below it.
  void match(const std::string& pattern) {
    std::size_t cut = 0;
    for (std::size_t at = 1; at < pattern.size();) {
      const std::size_t slash = pattern.find('/', at);
      if (slash == std::string::npos || has_wildcard(pattern.substr(at, slash - at))) break;
      cut = slash;
      at = slash + 1;
    }
    const std::string folder = cut == 0 ? "/" : pattern.substr(0, cut);
    const std::string rest = pattern.substr(cut + 1);
    if (behind_a_server(folder)) return complain(folder, "its file system is no local disk");
    const Descriptor opened = open_folder(folder);
    if (opened) {
      folder_ = folder;
      walk(opened, rest, "", 0);
    } else if (errno == ELOOP) {
      complain(folder, "a part of it is a symbolic link; configure where it leads");
    } else if (errno == EACCES || errno == EPERM) {
      ++plan_.unreadable;
      complain(folder, "no permission");
    }
  }

  void walk(const Descriptor& folder, const std::string& rest, const std::string& below,
            std::size_t depth) {
    if (++folders_ > folders_max || depth > depth_max || CollectedPlace{folder_, below}.whole().size() > limits::file_path_bytes) {
      ++plan_.left;
      return;
    }
    const std::string whole = CollectedPlace{folder_, below}.whole();
    if (below.empty() ? folder_ == state_directory_ : whole == state_directory_ + "/") return;
    const std::size_t slash = rest.find('/');
    const std::string here = rest.substr(0, slash);
    const std::string after = slash == std::string::npos ? "" : rest.substr(slash + 1);
    for (const std::string& name : names_in(folder)) {
      pace_.file();
      const bool fits = here == "**" ? false : glob_matches(here, name);
      struct stat about {};
      if (here != "**" && !fits) continue;
      const auto mount = mounts_.find(CollectedPlace{folder_, below + name}.whole());
      if (mount != mounts_.end() && !mount->second) continue;
      if (fstatat(folder.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0)
        continue;  // gone meanwhile
      if (here == "**") {
        // None of the folders, or this one and perhaps more below it.
        if (S_ISDIR(about.st_mode)) descend(folder, name, rest, below, depth);
      } else if (after.empty()) {
        if (S_ISREG(about.st_mode)) found({folder_, below + name}, about);
      } else if (S_ISDIR(about.st_mode)) {
        descend(folder, name, after, below, depth);
      }
    }
    // "a/**/b" is also "a/b", and a "**" at the end is every file below.
    if (here == "**") walk(folder, after.empty() ? "*" : after, below, depth);
  }

  void descend(const Descriptor& folder, const std::string& name, const std::string& rest,
               const std::string& below, std::size_t depth) {
    const Descriptor opened(openat(folder.get(), name.c_str(),
                                   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (opened) return walk(opened, rest, below + name + "/", depth + 1);
    if (errno == EACCES) ++plan_.unreadable;
  }

  std::vector<std::string> names_in(const Descriptor& folder) {
    std::vector<std::string> names;
    const int own = openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(own >= 0 ? fdopendir(own) : nullptr, closedir);
    if (!stream) {
      if (own >= 0) close(own);
      return names;
    }
    while (const dirent* entry = readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (names.size() >= limits::directory_entries) {
        log_.warn("folder with too many names", kv("path", escaped_name(folder_)));
        break;
      }
      names.emplace_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  void found(CollectedPlace place, const struct stat& about) {
    if (matches_.size() < settings_.files_max || matches_.contains(place)) {
      matches_.try_emplace(std::move(place), about);
    } else {
      ++plan_.left;
    }
  }

  void consider(const CollectedPlace& place, std::uint64_t& bytes) {
    const std::string whole = place.whole();
    const auto known = ledger_.files.find(whole);
    const struct stat& about = matches_.at(place);
    // By different ways the same file.
    if (!planned_.insert(whole).second) return;
    if (known != ledger_.files.end() && known->second.standing == standing_of(about)) {
      plan_.files.push_back({place, known->second.standing, known->second.sha256, false});
      return;
    }
    if (about.st_size > settings_.file_bytes_max) {
      ++plan_.too_large;
      return complain(whole, "it is larger than files.file_bytes_max");
    }
    const auto size = static_cast<std::uint64_t>(about.st_size);
    if (bytes + size > static_cast<std::uint64_t>(settings_.run_bytes_max)) {
      ++plan_.left;
      return;
    }
    if (auto file = read(place, known == ledger_.files.end() ? "" : known->second.sha256)) {
      if (file->changed) bytes += file->standing.size;
      plan_.files.push_back(std::move(*file));
    }
  }

  std::optional<PlannedFile> read(const CollectedPlace& place, const std::string& sent_sha256) {
    const std::string whole = place.whole();
    struct stat before {};
    const Descriptor folder = open_folder(place.folder);
    const Descriptor file =
        folder ? open_regular(folder.get(), place.below, before) : Descriptor();
    if (!file) {
      if (errno == EACCES || errno == EPERM) {
        ++plan_.unreadable;
        complain(whole, "no permission");
      }
      return std::nullopt;  // gone, or no plain file any more
    }
    Sha256 hash;
    std::array<char, read_bytes> buffer;
    std::uint64_t seen = 0;
    const auto size = static_cast<std::uint64_t>(before.st_size);
    while (seen <= size) {  // one read beyond the end tells that it grew
      const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      seen += static_cast<std::uint64_t>(got);
      hash.add({buffer.data(), static_cast<std::size_t>(got)});
      pace_.bytes(static_cast<std::uint64_t>(got));
    }
    struct stat after {};
    if (fstat(file.get(), &after) != 0 || seen != size ||
        standing_of(after) != standing_of(before) || before.st_size > settings_.file_bytes_max) {
      ++plan_.unsettled;
      return std::nullopt;
    }
    PlannedFile planned{place, standing_of(before), hash.digest(), true};
    planned.changed = planned.sha256 != sent_sha256;
    return planned;
  }

  const FileSettings& settings_;
  std::string state_directory_;
  const FileLedger& ledger_;
  Pace& pace_;
  Log log_{"files"};
  std::map<std::string, bool> mounts_;  // by path: whether what lies there may be read
  std::map<CollectedPlace, struct stat> matches_;
  std::set<std::string> planned_;
  std::string folder_;
  std::size_t folders_ = 0;
  std::uint64_t complaints_ = 0, unsaid_ = 0;
  FilePlan plan_;
};

}  // namespace

std::string FilePlan::encode() const {
  Encoder out;
  out.number(unreadable).number(too_large).number(left).number(unsettled).number(files.size());
  for (const PlannedFile& file : files) {
    out.text(file.place.folder).text(file.place.below);
    out.number(file.standing.size).number(file.standing.inode);
    out.signed_number(file.standing.modified_ns).signed_number(file.standing.changed_ns);
    out.text(file.sha256).number(file.changed);
  }
  return out.take();
}

std::optional<FilePlan> FilePlan::decode(std::string_view bytes) {
  Decoder in(bytes);
  FilePlan plan;
  plan.unreadable = in.number();
  plan.too_large = in.number();
  plan.left = in.number();
  plan.unsettled = in.number();
  const std::size_t files = in.count(FileLedger::files_max);
  for (std::size_t i = 0; i < files && in.good(); ++i) {
    PlannedFile& file = plan.files.emplace_back();
    file.place.folder = in.text(placed_bytes_max);
    file.place.below = in.text(placed_bytes_max);
    file.standing = {in.number(), in.number(), in.signed_number(), in.signed_number()};
    file.sha256 = in.text(Sha256::size);
    file.changed = in.number() != 0;
    if (file.sha256.size() != Sha256::size) in.spoil();
  }
  if (!in.at_end()) return std::nullopt;
  return plan;
}

FilePlan plan_files(const FileSettings& settings, const std::string& state_directory,
                    const FileLedger& ledger, const Machine& machine, Pace& pace) {
  return Planner(settings, state_directory, ledger, machine, pace).plan();
}

}  // namespace greengate::agent
