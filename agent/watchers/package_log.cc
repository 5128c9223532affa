#include "agent/watchers/package_log.h"

#include "agent/collectors/text.h"

#include <ctime>

namespace greengate::agent {
namespace {

constexpr std::size_t begun_max = 4'096;
constexpr std::size_t word_bytes_max = 200;

int number_at(std::string_view text, std::size_t at, std::size_t count) {
  if (at + count > text.size()) return -1;
  const auto number = to_number(text.substr(at, count));
  return number ? static_cast<int>(*number) : -1;
}

// "2026-01-15 10:20:30", in the machine's own zone, as dpkg writes it.
std::optional<std::int64_t> local_time(std::string_view day, std::string_view hour) {
  if (day.size() != 10 || hour.size() != 8) return std::nullopt;
  std::tm parts{};
  parts.tm_year = number_at(day, 0, 4) - 1900;
  parts.tm_mon = number_at(day, 5, 2) - 1;
  parts.tm_mday = number_at(day, 8, 2);
  parts.tm_hour = number_at(hour, 0, 2);
  parts.tm_min = number_at(hour, 3, 2);
  parts.tm_sec = number_at(hour, 6, 2);
  parts.tm_isdst = -1;
  if (!utc_ms(parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec)) return std::nullopt;
  tzset();
  const std::time_t seconds = std::mktime(&parts);
  if (seconds == static_cast<std::time_t>(-1)) return std::nullopt;
  return static_cast<std::int64_t>(seconds) * 1'000;
}

// "2026-01-15T10:20:30+0100" or "…Z", as dnf writes it.
std::optional<std::int64_t> zoned_time(std::string_view text) {
  if (text.size() < 20 || text[10] != 'T') return std::nullopt;
  const auto base = utc_ms(number_at(text, 0, 4), number_at(text, 5, 2), number_at(text, 8, 2), number_at(text, 11, 2),
                           number_at(text, 14, 2), number_at(text, 17, 2));
  if (!base) return std::nullopt;
  const std::string_view zone = text.substr(19);
  if (zone == "Z") return base;
  if ((zone[0] != '+' && zone[0] != '-') || (zone.size() != 5 && zone.size() != 6)) return std::nullopt;
  const int hours = number_at(zone, 1, 2), minutes = number_at(zone, zone.size() - 2, 2);
  if (hours < 0 || hours > 15 || minutes < 0 || minutes > 59) return std::nullopt;
  const std::int64_t offset = (hours * 60 + minutes) * 60'000;
  return *base - (zone[0] == '-' ? -offset : offset);
}

std::string word_text(std::string_view word) {
  return clean_text(word, word_bytes_max);
}

// dpkg first writes what it is about to do ("upgrade nginx:amd64 1.22-8 1.22-9"), then every state on the way ("status unpacked …").
// It is over when the state is reached that the intention aims at.
class DpkgLog final : public PackageLog {
 public:
  const char* system() const override { return "dpkg"; }

  std::optional<PackageEvent> line(std::string_view line) override {
    const std::string_view day = next_word(line), hour = next_word(line), verb = next_word(line);
    if (verb == "install" || verb == "upgrade" || verb == "remove") {
      const std::string_view package = next_word(line), old_version = next_word(line), new_version = next_word(line);
      if (package.empty() || old_version.empty()) return std::nullopt;
      remember(package, {std::string(verb), known(old_version), known(new_version)});
      return std::nullopt;
    }
    if (verb != "status") return std::nullopt;
    const std::string_view state = next_word(line), package = next_word(line), version = next_word(line);
    const auto begun = begun_.find(std::string(package));
    if (begun == begun_.end()) return std::nullopt;
    const bool removing = begun->second.verb == "remove";
    const bool over = removing ? state == "config-files" || state == "not-installed" : state == "installed";
    if (!over) return std::nullopt;
    const Begun what = begun->second;
    begun_.erase(begun);
    const auto time = local_time(day, hour);
    if (!time) return std::nullopt;
    PackageEvent event;
    event.time_ms = *time;
    std::string_view architecture;
    event.name = word_text(cut_at(package, ':', &architecture));
    event.architecture = word_text(architecture);
    if (removing) {
      event.what = PackageEvent::What::removed;
      event.version = what.before;
    } else {
      event.what = what.verb == "upgrade" && what.before != what.after ? PackageEvent::What::upgraded : PackageEvent::What::installed;
      event.version = known(version).empty() ? what.after : known(version);
      if (event.what == PackageEvent::What::upgraded) event.previous_version = what.before;
    }
    return event;
  }

  std::string state() const override {
    std::string text;
    for (const auto& [package, what] : begun_) {
      text += package + " " + what.verb + " " + (what.before.empty() ? "-" : what.before) + " " + (what.after.empty() ? "-" : what.after) + "\n";
    }
    return text;
  }

  void restore(std::string_view text) override {
    begun_.clear();
    while (!text.empty()) {
      std::string_view rest;
      std::string_view line = cut_at(text, '\n', &rest);
      text = rest;
      const std::string_view package = next_word(line), verb = next_word(line), before = next_word(line), after = next_word(line);
      if (after.empty()) continue;
      remember(package, {std::string(verb), before == "-" ? "" : std::string(before), after == "-" ? "" : std::string(after)});
    }
  }

 private:
  struct Begun {
    std::string verb, before, after;
  };
  static std::string known(std::string_view version) {
    return version == "<none>" ? std::string() : word_text(version);
  }
  void remember(std::string_view package, Begun what) {
    // dpkg writes no such words, and state() could not: its own words end at a space.
    const bool plain = word_text(package) == package && what.before.find(' ') == std::string::npos && what.after.find(' ') == std::string::npos;
    if (!plain) return;
    // What was begun first and never ended is the least likely to end.
    if (begun_.size() >= begun_max && !begun_.contains(std::string(package))) begun_.erase(begun_.begin());
    begun_[std::string(package)] = std::move(what);
  }
  std::map<std::string, Begun> begun_;
};

class DnfLog final : public PackageLog {
 public:
  const char* system() const override { return "rpm"; }

  std::optional<PackageEvent> line(std::string_view line) override {
    const std::string_view when = next_word(line), level = next_word(line);
    std::string_view verb = next_word(line);
    if (level.empty() || verb.size() < 2 || verb.back() != ':') return std::nullopt;
    verb.remove_suffix(1);
    PackageEvent event;
    if (verb == "Installed" || verb == "Reinstall" || verb == "Obsolete") {
      event.what = PackageEvent::What::installed;
    } else if (verb == "Upgrade" || verb == "Downgrade") {
      event.what = PackageEvent::What::upgraded;
    } else if (verb == "Erase" || verb == "Removed" || verb == "Obsoleted") {
      event.what = PackageEvent::What::removed;
    } else {
      return std::nullopt;  // "Upgraded", "Cleanup": what "Upgrade" replaced
    }
    const auto time = zoned_time(when);
    const auto package = package_name(next_word(line));
    if (!time || !package) return std::nullopt;
    event.time_ms = *time;
    event.name = package->name;
    event.version = package->version;
    event.architecture = package->architecture;
    return event;
  }
};

}  // namespace

std::optional<PackageName> package_name(std::string_view text) {
  const std::size_t dot = text.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view architecture = text.substr(dot + 1);
  std::string_view rest = text.substr(0, dot);
  const std::size_t release = rest.rfind('-');
  if (release == std::string_view::npos || release == 0) return std::nullopt;
  const std::size_t version = rest.rfind('-', release - 1);
  if (version == std::string_view::npos || version == 0 || architecture.empty()) return std::nullopt;
  PackageName found{word_text(rest.substr(0, version)), word_text(rest.substr(version + 1)), word_text(architecture)};
  if (found.version.starts_with("0:")) found.version.erase(0, 2);
  return found;
}

std::unique_ptr<PackageLog> package_log_for(const std::string& path) {
  const std::string_view file = last_component(path);
  if (file.find("dnf") != std::string_view::npos || file.find("rpm") != std::string_view::npos) return std::make_unique<DnfLog>();
  return std::make_unique<DpkgLog>();
}

}  // namespace greengate::agent
