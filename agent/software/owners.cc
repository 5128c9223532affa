#include "agent/software/owners.h"

#include "agent/collectors/limits.h"
#include "agent/collectors/text.h"

#include <unordered_map>

namespace greengate::agent {
namespace {

constexpr std::string_view dpkg_info = "/var/lib/dpkg/info/";
constexpr std::string_view dpkg_status = "/var/lib/dpkg/status";
constexpr const char* apk_databases[] = {"/lib/apk/db/installed", "/usr/lib/apk/db/installed"};
constexpr const char* rpm_databases[] = {
    "/var/lib/rpm/rpmdb.sqlite",         "/var/lib/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages",             "/var/lib/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "/usr/lib/sysimage/rpm/Packages.db"};
constexpr std::size_t paced_bytes = 256 << 10;
constexpr std::size_t folders_max = 100'000;  // of one rpm package

/// Finds the asked-for paths among those that stream by.
class Asked {
 public:
  Asked(const Machine& machine, const std::vector<std::string>& paths, Pace& pace)
      : pace_(pace) {
    found_.owner_of.resize(paths.size(), 0);
    for (std::size_t i = 0; i < paths.size(); ++i) places_.emplace(paths[i], i);
    // Where /bin is a link to usr/bin, older packages still say /bin/ls.
    for (const char* folder : {"/bin", "/sbin", "/lib", "/lib64", "/lib32"}) {
      if (machine.link(folder).ends_with(std::string("usr") + folder))
        moved_.push_back(std::string(folder) + "/");
    }
  }

  /// A new package; files() that follow are its own until the next.
  void package(std::string name) {
    pending_ = {std::move(name), "", ""};
    current_ = 0;
  }
  void describe(std::string version, std::string vendor) {
    pending_.version = std::move(version);
    pending_.vendor = std::move(vendor);
    if (current_ != 0) found_.owners[current_] = pending_;
  }
  void file(std::string_view path) {
    auto place = places_.find(path);
    if (place == places_.end()) {
      for (const std::string& folder : moved_) {
        if (path.starts_with(folder)) place = places_.find("/usr" + std::string(path));
      }
    }
    // A file that two packages claim is the first one's: else owners would grow with the lists.
    if (place == places_.end() || found_.owner_of[place->second] != 0) return;
    if (current_ == 0) {
      current_ = static_cast<std::uint32_t>(found_.owners.size());
      found_.owners.push_back(pending_);
    }
    found_.owner_of[place->second] = current_;
  }
  void read(std::size_t bytes) {
    found_.bytes_read += bytes;
    unpaid_ += bytes;
    if (unpaid_ >= paced_bytes) pace_.bytes(std::exchange(unpaid_, 0));
  }
  OwnersFound& found() { return found_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  Pace& pace_;
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> places_;
  std::vector<std::string> moved_;
  Owner pending_;
  std::uint32_t current_ = 0;
  std::size_t unpaid_ = 0;
  OwnersFound found_;
};

std::string vendor_of(std::string_view maintainer) {
  return std::string(trimmed(cut_at(maintainer, '<')));
}

// Versions and vendors of the packages that own something: one pass over dpkg's status file.
void describe_dpkg_packages(const Machine& machine, Asked& asked,
                            const std::unordered_map<std::string, std::uint32_t>& owners) {
  std::string name, architecture, version, origin, maintainer;
  const auto finish = [&] {
    // The lists of packages that may be installed for several architectures are named with theirs.
    for (const std::string& key : {name, name + ":" + architecture}) {
      const auto owner = owners.find(key);
      if (owner == owners.end()) continue;
      Owner& known = asked.found().owners[owner->second];
      known = {name, version, origin.empty() ? vendor_of(maintainer) : origin};
    }
    for (std::string* field : {&name, &architecture, &version, &origin, &maintainer})
      field->clear();
  };
  machine.lines(
      std::string(dpkg_status),
      [&](std::string_view line) {
        asked.read(line.size() + 1);
        const auto take = [&](std::string_view label, std::string& into) {
          if (line.starts_with(label))
            into = std::string(trimmed(line.substr(label.size())).substr(0, limits::text_bytes));
        };
        if (line.empty()) finish();
        take("Package:", name);
        take("Architecture:", architecture);
        take("Version:", version);
        take("Origin:", origin);
        take("Maintainer:", maintainer);
        return true;
      },
      limits::package_file_bytes);
  finish();
}

void ask_dpkg(const Machine& machine, Asked& asked) {
  std::vector<std::string> lists;
  machine.each_name(std::string(dpkg_info), [&](std::string_view name) {
    if (name.ends_with(".list") && name.size() <= limits::text_bytes) lists.emplace_back(name);
    return lists.size() < limits::packages;
  });
  std::unordered_map<std::string, std::uint32_t> owners;
  for (const std::string& list : lists) {
    std::string package = list.substr(0, list.size() - std::string_view(".list").size());
    asked.package(package);
    const auto before = static_cast<std::uint32_t>(asked.found().owners.size());
    machine.lines(
        std::string(dpkg_info) + list,
        [&](std::string_view line) {
          asked.read(line.size() + 1);
          asked.file(line);
          return true;
        },
        limits::package_file_bytes);
    if (asked.found().owners.size() > before) owners.emplace(std::move(package), before);
  }
  if (!owners.empty()) describe_dpkg_packages(machine, asked, owners);
}

// "P:" package, "V:" version, "m:" maintainer, then "F:" a folder and "R:" the files in it.
void ask_apk(const Machine& machine, Asked& asked) {
  for (const char* database : apk_databases) {
    std::string name, version, maintainer, folder;
    const bool seen = machine.lines(
        database,
        [&](std::string_view line) {
          asked.read(line.size() + 1);
          const std::string value(line.substr(std::min<std::size_t>(2, line.size())));
          if (line.starts_with("P:")) {
            name = value.substr(0, limits::text_bytes);
            version.clear(), maintainer.clear();
            asked.package(name);
          } else if (line.starts_with("V:") || line.starts_with("m:")) {
            (line.front() == 'V' ? version : maintainer) = value.substr(0, limits::text_bytes);
            asked.describe(version, vendor_of(maintainer));
          } else if (line.starts_with("F:")) {
            folder = "/" + value + (value.empty() ? "" : "/");
          } else if (line.starts_with("R:")) {
            asked.file(folder + value);
          }
          return true;
        },
        limits::package_file_bytes);
    if (seen) return;
  }
}

// One line for each package, then its folders ("=…"), then its files ("<folder's place>\t<name>"):
// far shorter than whole paths, which would not fit in what a command may print.
void ask_rpm(const Machine& machine, Asked& asked) {
  bool present = !machine.live();
  for (const char* database : rpm_databases) present = present || machine.exists(database);
  if (!present) return;
  std::vector<std::string> folders;
  std::string path;
  const Ran ran = machine.command(
      "rpm-files", "rpm",
      {"-qa", "--queryformat",
       "@%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}-%{RELEASE}\\t%{VENDOR}\\n[=%{DIRNAMES}\\n]"
       "[%{DIRINDEXES}\\t%{BASENAMES}\\n]"},
      [&](std::string_view line) {
        asked.read(line.size() + 1);
        if (line.starts_with('@')) {
          line.remove_prefix(1);
          asked.package(std::string(cut_at(line, '\t', &line).substr(0, limits::text_bytes)));
          const std::string_view epoch = cut_at(line, '\t', &line);
          std::string version(cut_at(line, '\t', &line).substr(0, limits::text_bytes));
          if (to_number(epoch).value_or(0) > 0) version = std::string(epoch) + ":" + version;
          const std::string_view vendor = line.substr(0, limits::text_bytes);
          asked.describe(std::move(version),
                         vendor == "(none)" ? std::string() : std::string(vendor));
          folders.clear();
        } else if (line.starts_with('=')) {
          if (folders.size() < folders_max) folders.emplace_back(line.substr(1));
        } else {
          std::string_view name;
          const auto place = to_number(cut_at(line, '\t', &name));
          if (!place || *place >= folders.size() || name.empty()) return true;
          path.assign(folders[static_cast<std::size_t>(*place)]).append(name);
          asked.file(path);
        }
        return true;
      });
  if (ran == Ran::failed) asked.found().whole = false;
}

}  // namespace

std::string package_stamp(const Machine& machine) {
  std::string stamp;
  const auto add = [&](const std::string& path) {
    if (const auto time = machine.modified_ms(path))
      stamp += path + "=" + std::to_string(*time) + ";";
  };
  add(std::string(dpkg_status));
  for (const char* database : apk_databases) add(database);
  for (const char* database : rpm_databases) add(database);
  return stamp;
}

OwnersFound look_up_owners(const Machine& machine, const std::vector<std::string>& paths,
                           Pace& pace) {
  Asked asked(machine, paths, pace);
  ask_dpkg(machine, asked);
  ask_apk(machine, asked);
  ask_rpm(machine, asked);
  return std::move(asked.found());
}

}  // namespace greengate::agent
