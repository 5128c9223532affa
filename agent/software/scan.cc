#include "agent/software/scan.h"

#include "agent/collectors/facts.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/text.h"
#include "agent/software/owners.h"
#include "agent/trees/encoding.h"
#include "agent/trees/glob.h"
#include "agent/trees/sha256.h"
#include "core/log.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <set>
#include <unordered_map>

namespace greengate::agent {
namespace {

constexpr std::size_t folders_max = 200'000;
// A folder changed so shortly before the scan may change again without its time showing it.
constexpr std::int64_t settled_after_ns = 2'000'000'000;

// Kinds of file system that lie on this machine's own disks.
bool is_local(std::string_view type) {
  constexpr std::string_view local[] = {"ext2", "ext3",    "ext4", "xfs",      "btrfs",
                                        "zfs",  "f2fs",    "jfs",  "bcachefs", "reiserfs",
                                        "vfat", "overlay", "tmpfs"};
  return std::find(std::begin(local), std::end(local), type) != std::end(local);
}

// Of everything that decides which files are reported: another one makes the cache worthless.
std::string fingerprint_of(const SoftwareSettings& settings) {
  Encoder all;
  for (const auto* list : {&settings.paths, &settings.patterns, &settings.excludes}) {
    all.number(list->size());
    for (const std::string& text : *list) all.text(text);
  }
  all.number(settings.executables_only).number(settings.cross_file_systems);
  return sha256(all.bytes());
}

class Scan {
 public:
  Scan(const SoftwareSettings& settings, const Machine& machine, SoftwareCache& before, Pace& pace,
       const Clock& clock)
      : settings_(settings),
        before_(before),
        pace_(pace),
        clock_(clock),
        deadline_(clock.steady() + settings.time_max),
        now_ms_(to_millis(clock.wall())) {
    for (const Mount& mount : look_at_mounts(machine))
      mounts_[mount.mount_point] = settings.cross_file_systems && is_local(mount.type);
  }

  Result<void> walk_all() {
    for (const std::string& configured : settings_.paths) {
      std::string path = configured;
      while (path.size() > 1 && path.ends_with('/')) path.pop_back();
      const Descriptor folder = open_folder(path);
      if (!folder) {
        if (errno == ELOOP) {
          log_.warn("software path not scanned", kv("path", escaped_name(path)),
                    kv("why", "a part of it is a symbolic link; configure where it leads"));
        }
        if (auto fine = judge(errno, path); !fine) return fine;
        continue;
      }
      struct stat about {};
      if (fstat(folder.get(), &about) != 0) return disk(path);
      if (path != "/") path += '/';
      if (auto walked = walk(folder, about, path, 0); !walked) return walked;
    }
    return {};
  }

  std::map<std::string, SeenFolder>& seen() { return seen_; }
  const ScanCost& cost() const { return cost_; }

 private:
  // A folder's candidates, from the cache or from the disk.
  struct Names {
    std::vector<std::string> files, folders;
  };

  tl::unexpected<Error> disk(const std::string& path) {
    const int why = errno;
    return fail(Remedy::retry, "software.disk",
                escaped_name(path) + " cannot be read: " + std::strerror(why) + ".");
  }

  // What is not there, or not for us, is simply not reported; anything else ends the scan.
  Result<void> judge(int why, const std::string& path) {
    if (why == EACCES || why == EPERM) ++cost_.unreadable;
    const bool expected = why == ENOENT || why == ENOTDIR || why == ELOOP || why == EACCES ||
                          why == EPERM || why == ENAMETOOLONG;
    if (expected) return {};
    errno = why;
    return disk(path);
  }

  bool excluded(const std::string& path, const std::string& name) const {
    return std::any_of(settings_.excludes.begin(), settings_.excludes.end(),
                       [&](const std::string& pattern) {
                         return pattern.find('/') == std::string::npos
                                    ? glob_matches(pattern, name)
                                    : glob_path_matches(pattern, path + name);
                       });
  }
  bool wanted(const std::string& name) const {
    return std::any_of(
        settings_.patterns.begin(), settings_.patterns.end(),
        [&](const std::string& pattern) { return glob_matches(pattern, name); });
  }

  // Unchanged since the last scan read its names?
  bool still_true(const SeenFolder& old, const struct stat& about) const {
    const std::int64_t age = now_ms_ - old.read_at_ms;
    return old.changed_ns != 0 && old.changed_ns == standing_of(about).changed_ns &&
           old.inode == about.st_ino && old.device == about.st_dev && age >= 0 &&
           age < settings_.full_look.count();
  }

  Result<Names> read_names(const Descriptor& folder, const std::string& path) {
    ++cost_.folders_read;
    Names names;
    // A descriptor of its own: reading moves the position that closedir would take away.
    const int own = openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    std::unique_ptr<DIR, int (*)(DIR*)> stream(own >= 0 ? fdopendir(own) : nullptr, closedir);
    if (!stream) {
      if (own >= 0) close(own);
      return disk(path);
    }
    for (std::size_t entries = 0;; ++entries) {
      errno = 0;
      const dirent* entry = readdir(stream.get());
      if (!entry) {
        if (errno != 0 && errno != ENOENT) return disk(path);
        break;
      }
      if (entries >= limits::directory_entries) {
        cost_.cut = true;
        log_.warn("folder with too many names", kv("path", escaped_name(path)));
        break;
      }
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      const bool perhaps_folder = entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN;
      const bool perhaps_file = entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN;
      if ((!perhaps_file && !perhaps_folder) || excluded(path, name)) continue;
      if (perhaps_file && wanted(name)) names.files.push_back(name);
      if (perhaps_folder) names.folders.push_back(name);
    }
    std::sort(names.files.begin(), names.files.end());
    std::sort(names.folders.begin(), names.folders.end());
    return names;
  }

  Result<void> in_time() const {
    if (clock_.steady() < deadline_) return {};
    return fail(Remedy::retry, "software.time",
                "The software scan took longer than software.time_max; it goes on from there.");
  }

  Result<void> walk(const Descriptor& folder, const struct stat& about, const std::string& path,
                    std::uint32_t depth) {
    ++cost_.folders;
    if (!visited_.emplace(about.st_dev, about.st_ino).second) return {};
    if (visited_.size() > folders_max) {
      cost_.cut = true;
      return {};
    }
    if (auto fine = in_time(); !fine) return fine;
    pace_.file();

    const auto old = before_.folders.find(path);
    const SeenFolder* known = old == before_.folders.end() ? nullptr : &old->second;
    SeenFolder& now = seen_[path];
    now.device = about.st_dev;
    now.inode = about.st_ino;
    Names names;
    // Believed by the next scan only once everything in it has been looked at.
    std::int64_t believed_ns = 0;
    if (known && still_true(*known, about)) {
      believed_ns = known->changed_ns;
      now.read_at_ms = known->read_at_ms;
      for (const SeenFile& file : known->files) names.files.push_back(file.name);
      names.folders = known->folders;
    } else {
      auto read = read_names(folder, path);
      if (!read) return pass(read);
      names = std::move(*read);
      const std::int64_t changed = standing_of(about).changed_ns;
      if (changed + settled_after_ns < now_ms_ * 1'000'000) believed_ns = changed;
      now.read_at_ms = now_ms_;
    }
    now.folders = names.folders;
    for (std::string& name : names.files) {
      if (files_ >= settings_.files_max) {
        cost_.cut = true;
        return {};
      }
      if (auto looked = look_at(folder, path, std::move(name), known, now); !looked) return looked;
    }
    now.changed_ns = believed_ns;
    for (const std::string& name : names.folders) {
      if (files_ >= settings_.files_max) {
        cost_.cut = true;
        break;
      }
      if (auto entered = enter(folder, about, path, name, depth); !entered) return entered;
    }
    return {};
  }

  Result<void> look_at(const Descriptor& folder, const std::string& path, std::string name,
                       const SeenFolder* known, SeenFolder& now) {
    pace_.file();
    if (++cost_.files_looked_at % 1'024 == 0) {
      if (auto fine = in_time(); !fine) return fine;
    }
    if (mounts_.contains(path + name)) return {};  // a file mounted over a file
    struct stat about {};
    if (fstatat(folder.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0)
      return judge(errno, path + name);
    if (!S_ISREG(about.st_mode)) return {};
    if (settings_.executables_only && (about.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0)
      return {};
    SeenFile file{std::move(name), standing_of(about)};
    if (known) {
      const auto same = std::lower_bound(
          known->files.begin(), known->files.end(), file.name,
          [](const SeenFile& one, const std::string& other) { return one.name < other; });
      if (same != known->files.end() && same->name == file.name &&
          same->standing == file.standing && same->owner < before_.owners.size()) {
        file.owner = same->owner;
        file.owner_known = true;
      }
    }
    now.files.push_back(std::move(file));
    ++files_;
    return {};
  }

  Result<void> enter(const Descriptor& folder, const struct stat& parent, const std::string& path,
                     const std::string& name, std::uint32_t depth) {
    const std::string below = path + name;
    // Not even looked at: a mounted server that is gone would hold us.
    const auto mount = mounts_.find(below);
    if (mount != mounts_.end() && !mount->second) return {};
    struct stat about {};
    if (fstatat(folder.get(), name.c_str(), &about, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0)
      return judge(errno, below);
    if (!S_ISDIR(about.st_mode)) return {};
    if (about.st_dev != parent.st_dev && !settings_.cross_file_systems) return {};
    if (depth + 1 > settings_.depth_max || below.size() + 1 > limits::file_path_bytes) {
      ++cost_.too_deep;
      return {};
    }
    const Descriptor opened(openat(folder.get(), name.c_str(),
                                   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!opened) return judge(errno, below);
    struct stat really {};
    if (fstat(opened.get(), &really) != 0) return disk(below);
    // Another folder, perhaps of another file system, has taken its place.
    if (really.st_dev != about.st_dev || really.st_ino != about.st_ino) return {};
    return walk(opened, really, below + "/", depth + 1);
  }

  const SoftwareSettings& settings_;
  const SoftwareCache& before_;
  Pace& pace_;
  const Clock& clock_;
  const SteadyTime deadline_;
  const std::int64_t now_ms_;
  Log log_{"software"};
  std::unordered_map<std::string, bool> mounts_;  // by path: whether it may be entered
  std::set<std::pair<std::uint64_t, std::uint64_t>> visited_;
  std::map<std::string, SeenFolder> seen_;
  ScanCost cost_;
  std::size_t files_ = 0;
};

// The packages of all files that changed, or of all files when a database did.
void find_owners(const Machine& machine, const SoftwareCache& before, SoftwareCache& after,
                 Pace& pace, ScanCost& cost) {
  const std::string stamp = package_stamp(machine);
  const bool same_databases = stamp == before.package_stamp;
  std::vector<std::string> paths;
  std::vector<SeenFile*> files;
  for (auto& [path, folder] : after.folders) {
    for (SeenFile& file : folder.files) {
      if (same_databases && file.owner_known) continue;
      paths.push_back(path + file.name);
      files.push_back(&file);
    }
  }
  after.package_stamp = stamp;
  if (paths.empty() || stamp.empty()) {
    for (SeenFile* file : files) file->owner = 0;
    return;
  }
  const OwnersFound found = look_up_owners(machine, paths, pace);
  cost.owners_asked = paths.size();
  cost.package_bytes = found.bytes_read;
  // Half an answer is used, but not believed the next time.
  if (!found.whole) after.package_stamp.clear();
  const auto first = static_cast<std::uint32_t>(after.owners.size());
  after.owners.insert(after.owners.end(), found.owners.begin() + 1, found.owners.end());
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::uint32_t owner = found.owner_of[i];
    if (owner != 0) {
      files[i]->owner = first + owner - 1;
    } else if (found.whole) {
      files[i]->owner = 0;
    }
  }
}

// Packages nobody belongs to any more leave the table, and equal ones become one.
void tidy_owners(SoftwareCache& cache) {
  std::map<std::tuple<std::string, std::string, std::string>, std::uint32_t> places;
  std::vector<Owner> used = {Owner()};
  for (auto& [path, folder] : cache.folders) {
    for (SeenFile& file : folder.files) {
      if (file.owner == 0) continue;
      const Owner& owner = cache.owners[file.owner];
      const auto [place, fresh] =
          places.try_emplace({owner.name, owner.version, owner.vendor}, used.size());
      if (fresh) used.push_back(owner);
      file.owner = place->second;
    }
  }
  cache.owners = std::move(used);
}

void report(const SoftwareCache& cache, const Clock& clock, v1::SoftwareInventory& inventory) {
  inventory.set_collected_at_ms(to_millis(clock.wall()));
  for (const auto& [path, folder] : cache.folders) {
    const std::string shown_path = escaped_name(path);
    // Two names that look alike once written out would be one file to the site.
    std::set<std::string> shown;
    for (const SeenFile& file : folder.files) {
      std::string name = escaped_name(file.name, limits::file_name_bytes);
      if (!shown.insert(name).second) continue;
      v1::SoftwareFile& row = *inventory.add_files();
      row.set_name(std::move(name));
      row.set_path(shown_path);
      row.set_size(file.standing.size);
      row.set_modified_ms(file.standing.modified_ns / 1'000'000);
      const Owner& owner = cache.owners[file.owner];
      row.set_product_name(clean_text(owner.name, limits::text_bytes));
      row.set_product_version(clean_text(owner.version, limits::text_bytes));
      row.set_company_name(clean_text(owner.vendor, limits::text_bytes));
    }
  }
}

}  // namespace

Result<ScanResult> scan_software(const SoftwareSettings& settings, const Machine& machine,
                                 SoftwareCache& cache, Pace& pace, const Clock& clock) {
  const std::string fingerprint = fingerprint_of(settings);
  if (cache.fingerprint != fingerprint) cache = {};
  Scan scan(settings, machine, cache, pace, clock);
  const Result<void> walked = scan.walk_all();
  SoftwareCache after;
  after.fingerprint = fingerprint;
  after.folders = std::move(scan.seen());
  if (!walked) {
    // What was not reached is kept as it was known; a folder left half-way is read again. Nobody
    // asked for the packages of what is new: the next scan asks for all.
    after.owners = std::move(cache.owners);
    for (auto& [path, folder] : cache.folders)
      after.folders.try_emplace(path, std::move(folder));
    cache = std::move(after);
    return tl::unexpected<Error>(walked.error());
  }
  after.owners = cache.owners;
  ScanResult result;
  result.cost = scan.cost();
  find_owners(machine, cache, after, pace, result.cost);
  tidy_owners(after);
  report(after, clock, result.inventory);
  cache = std::move(after);
  return result;
}

}  // namespace greengate::agent
