#include "agent/collectors/classes.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <algorithm>
#include <unordered_map>

namespace greengate::agent {
namespace {

struct Package {
  std::string id, name, version, publisher;
  std::optional<std::int64_t> installed_ms;
};

bool add_package(Table& table, const Package& package) {
  std::optional<Row> row = table.add(limits::packages);
  if (!row) return false;
  row->text("ProdID", package.id)
      .text("DisplayName", package.name)
      .text("Version", package.version);
  row->text("Publisher", package.publisher).date("InstallDate", package.installed_ms);
  return true;
}

// "Debian OpenSSL Team <pkg-openssl@lists.example.test>" → the name.
std::string without_address(std::string_view maintainer) {
  return std::string(trimmed(cut_at(maintainer, '<')));
}

// dpkg's own text file, read as it streams by; dpkg itself is never asked.
bool dpkg_packages(const Machine& machine, Table& table) {
  // The file exists only where packages of several architectures may be installed; the machine's
  // own comes first.
  std::string native;
  machine.lines("/var/lib/dpkg/arch", [&](std::string_view line) {
    native = std::string(trimmed(line));
    return false;
  });

  std::string name, architecture, status, origin, maintainer, version;
  const auto finish = [&] {
    std::string_view rest = status;
    next_word(rest), next_word(rest);
    const std::string_view state = next_word(rest);
    // Unpacked and on the machine, though its scripts may still wait.
    const bool installed =
        state == "installed" || state == "half-configured" || state.starts_with("triggers-");
    bool more = true;
    if (installed && !name.empty()) {
      Package package;
      const bool foreign = !native.empty() && architecture != native && architecture != "all";
      package.name = name;
      package.id = foreign ? name + ":" + architecture : name;
      package.version = version;
      package.publisher = origin.empty() ? without_address(maintainer) : origin;
      const std::string info = "/var/lib/dpkg/info/" + name;
      if (name.find('/') == std::string::npos) {
        package.installed_ms = machine.modified_ms(info + ":" + architecture + ".list");
        if (!package.installed_ms) package.installed_ms = machine.modified_ms(info + ".list");
      }
      more = add_package(table, package);
    }
    for (std::string* field : {&name, &architecture, &status, &origin, &maintainer, &version})
      field->clear();
    return more;
  };
  bool more = true;
  const bool seen = machine.lines(
      "/var/lib/dpkg/status",
      [&](std::string_view line) {
        if (line.empty()) return more = finish();
        const auto take = [&](std::string_view key, std::string& into) {
          if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ':')
            into = std::string(trimmed(line.substr(key.size() + 1)).substr(0, limits::text_bytes));
        };
        switch (line.front()) {
          case 'P':
            take("Package", name);
            break;
          case 'A':
            take("Architecture", architecture);
            break;
          case 'S':
            take("Status", status);
            break;
          case 'O':
            take("Origin", origin);
            break;
          case 'M':
            take("Maintainer", maintainer);
            break;
          case 'V':
            take("Version", version);
            break;
          default:
            break;
        }
        return true;
      },
      limits::package_file_bytes);
  if (more) finish();
  return seen;
}

// rpm's database has had several forms; rpm itself reads them all.
Ran rpm_packages(const Machine& machine, Table& table) {
  if (machine.live()) {
    const auto has_entries = [&](const char* folder) {
      return !machine.list(folder, 1).value_or(std::vector<std::string>()).empty();
    };
    if (!has_entries("/var/lib/rpm") && !has_entries("/usr/lib/sysimage/rpm")) return Ran::absent;
  }
  // Several versions (kernels) and architectures of one name may be installed; then each id says
  // which it is.
  std::vector<Package> found;
  std::vector<std::string> architectures;
  const Ran ran = machine.command(
      "rpm-qa", "rpm",
      {"-qa", "--queryformat",
       "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\t%{VENDOR}\\t%{INSTALLTIME}\\n"},
      [&](std::string_view line) {
        const auto field = [&] {
          return std::string(cut_at(line, '\t', &line).substr(0, limits::text_bytes));
        };
        Package package;
        package.name = field();
        const std::string epoch = field();
        package.version = field();
        package.version += "-" + field();
        if (to_number(epoch).value_or(0) > 0) package.version = epoch + ":" + package.version;
        std::string architecture = field();
        package.publisher = field();
        if (package.publisher == "(none)") package.publisher.clear();
        const auto seconds = to_number(field());
        if (seconds && *seconds < 7'258'118'400)
          package.installed_ms = static_cast<std::int64_t>(*seconds) * 1'000;
        if (package.name.empty() || package.name == "gpg-pubkey")
          return true;                                     // a key, no software
        if (found.size() > limits::packages) return true;  // read on: half an answer counts as none
        found.push_back(std::move(package));
        architectures.push_back(std::move(architecture));
        return true;
      });
  if (ran != Ran::well) return ran;
  std::unordered_map<std::string_view, int> times;
  for (const Package& package : found) ++times[package.name];
  std::vector<std::size_t> order(found.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = 0; i < found.size(); ++i) {
    Package& package = found[i];
    package.id = times[package.name] > 1
                     ? package.name + "-" + package.version + "." + architectures[i]
                     : package.name;
  }
  // rpm's order changes from run to run; ours does not, so that a delta holds only what changed.
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return found[a].id < found[b].id; });
  for (const std::size_t i : order) {
    if (!add_package(table, found[i])) break;
  }
  return ran;
}

// Alpine's text file: one letter a field, a blank line between packages. It keeps no date of
// installation.
bool apk_packages(const Machine& machine, Table& table) {
  Package package;
  const auto finish = [&] {
    package.id = package.name;
    const bool more = package.name.empty() || add_package(table, package);
    package = {};
    return more;
  };
  bool more = true;
  for (const char* path : {"/lib/apk/db/installed", "/usr/lib/apk/db/installed"}) {
    const bool seen = machine.lines(
        path,
        [&](std::string_view line) {
          if (line.empty()) return more = finish();
          const std::string_view value =
              line.substr(std::min<std::size_t>(2, line.size())).substr(0, limits::text_bytes);
          if (line.starts_with("P:")) package.name = std::string(value);
          if (line.starts_with("V:")) package.version = std::string(value);
          if (line.starts_with("m:")) package.publisher = without_address(value);
          return true;
        },
        limits::package_file_bytes);
    if (more) finish();
    if (seen) return true;
  }
  return false;
}

}  // namespace

void collect_packages(const Machine& machine, const Facts&, v1::HardwareInventory& inventory) {
  Table table(inventory, "Win32Reg_AddRemovePrograms", cimv2, 1,
              {"ProdID", "DisplayName", "InstallDate", "Publisher", "Version"});
  const bool dpkg = dpkg_packages(machine, table);
  const Ran rpm = rpm_packages(machine, table);
  const bool apk = apk_packages(machine, table);
  // Without a list, or with half of one, the class is absent: it would look like software removed.
  const bool whole = rpm != Ran::failed && (dpkg || rpm == Ran::well || apk);
  if (!whole) inventory.mutable_classes()->RemoveLast();
}

}  // namespace greengate::agent
