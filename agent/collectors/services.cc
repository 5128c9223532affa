#include "agent/collectors/classes.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <algorithm>
#include <map>

namespace greengate::agent {
namespace {

// One service, whoever runs it. Empty and unset mean not known.
struct Service {
  std::string description, program, user, start_mode, state;
  std::optional<bool> started, accepts_stop;
  std::optional<std::uint64_t> process_id, exit_code;
  bool failed = false;
};

using Services = std::map<std::string, Service>;  // by name, without ".service"

// A place in `services`, or nothing at the bound.
Service* service_named(Services& services, std::string_view name) {
  const auto found = services.find(std::string(name));
  if (found != services.end()) return &found->second;
  if (services.size() >= limits::services) return nullptr;
  return &services[std::string(name)];
}

std::string_view without_suffix(std::string_view unit) {
  constexpr std::string_view suffix = ".service";
  return unit.ends_with(suffix) ? unit.substr(0, unit.size() - suffix.size()) : unit;
}

// systemd's word for how a unit file starts → Windows'. A masked unit cannot be started by anyone,
// as "Disabled" on Windows; a disabled one can still be started by hand.
std::string start_mode(std::string_view unit_file_state) {
  if (unit_file_state.starts_with("enabled") || unit_file_state == "alias" ||
      unit_file_state == "generated")
    return "Auto";
  if (unit_file_state.starts_with("masked")) return "Disabled";
  return unit_file_state.empty() || unit_file_state == "bad" ? "" : "Manual";
}

// Windows knows four states; "reloading" runs, "failed" does not.
std::string windows_state(std::string_view active_state) {
  if (active_state == "active" || active_state == "reloading" || active_state == "refreshing")
    return "Running";
  if (active_state == "activating") return "Start Pending";
  if (active_state == "deactivating") return "Stop Pending";
  if (active_state == "inactive" || active_state == "failed") return "Stopped";
  return {};
}

// "{ path=/usr/sbin/sshd ; argv[]=… }": the path alone; arguments may hold secrets.
std::string program_of(std::string_view exec) {
  const std::size_t at = exec.find("path=");
  if (at == std::string_view::npos) return {};
  return std::string(next_word(exec = exec.substr(at + 5)));
}

// Paragraphs of KEY=value, one a unit, as `systemctl show` prints them.
Ran running_units(const Machine& machine, Services& services) {
  std::string id, load_state;
  Service current;
  const auto finish = [&] {
    if (id.ends_with(".service") && load_state != "not-found") {
      if (Service* service = service_named(services, without_suffix(id))) *service = current;
    }
    id.clear();
    load_state.clear();
    current = {};
  };
  const Ran ran = machine.command("systemctl-show", "systemctl",
                                  {"show", "*.service", "--all", "--no-pager",
                                   "--property=Id,Description,LoadState,ActiveState,"
                                   "UnitFileState,MainPID,ExecStart,User,ExecMainStatus,CanStop"},
                                  [&](std::string_view line) {
                                    std::string_view value;
                                    const std::string_view key = cut_at(line, '=', &value);
                                    if (trimmed(line).empty()) {
                                      finish();
                                    } else if (key == "Id") {
                                      id = std::string(value);
                                    } else if (key == "LoadState") {
                                      load_state = std::string(value);
                                      if (load_state == "masked" && current.start_mode.empty())
                                        current.start_mode = "Disabled";
                                    } else if (key == "Description") {
                                      current.description = std::string(value);
                                    } else if (key == "ActiveState") {
                                      current.state = windows_state(value);
                                      current.failed = value == "failed";
                                      if (!current.state.empty())
                                        current.started = current.state == "Running";
                                    } else if (key == "UnitFileState") {
                                      if (!value.empty()) current.start_mode = start_mode(value);
                                    } else if (key == "MainPID") {
                                      current.process_id = to_number(value);
                                    } else if (key == "ExecMainStatus") {
                                      current.exit_code = to_number(value);
                                    } else if (key == "ExecStart" && current.program.empty()) {
                                      current.program = program_of(value);
                                    } else if (key == "User") {
                                      current.user = std::string(value);
                                    } else if (key == "CanStop") {
                                      current.accepts_stop = value == "yes";
                                    }
                                    return true;
                                  });
  finish();
  for (auto& [name, service] : services) {
    if (service.user.empty()) service.user = "root";
  }
  return ran;
}

// "ssh.service enabled enabled": what is installed but not loaded.
Ran installed_units(const Machine& machine, Services& services) {
  return machine.command(
      "systemctl-list-unit-files", "systemctl",
      {"list-unit-files", "--type=service", "--full", "--plain", "--no-legend", "--no-pager"},
      [&](std::string_view line) {
        const std::string_view unit = next_word(line);
        const std::string_view state = next_word(line);
        // A template ("getty@") is no service, an alias is another one's name.
        if (!unit.ends_with(".service") || unit.ends_with("@.service") || state == "alias")
          return true;
        const bool known = services.contains(std::string(without_suffix(unit)));
        Service* service = service_named(services, without_suffix(unit));
        if (!service) return true;
        if (service->start_mode.empty()) service->start_mode = start_mode(state);
        if (!known) {
          service->state = "Stopped";
          service->started = false;
        }
        return true;
      });
}

// Unit files as they lie on disk: what is installed and what starts by itself, but not what runs.
void units_on_disk(const Machine& machine, Services& services) {
  for (const char* folder :
       {"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}) {
    for (const std::string& file :
         machine.list(folder, 4 * limits::services).value_or(std::vector<std::string>())) {
      if (!file.ends_with(".service") || file.ends_with("@.service")) continue;
      const std::string path = std::string(folder) + "/" + file;
      const std::string target = machine.link(path);
      const bool masked = target == "/dev/null";
      if (!target.empty() && !masked && last_component(target) != file) continue;  // an alias
      if (services.contains(std::string(without_suffix(file)))) continue;  // /etc wins over /usr
      Service* service = service_named(services, without_suffix(file));
      if (!service) return;
      service->start_mode = masked ? "Disabled" : "Manual";
      machine.lines(path, [&](std::string_view line) {
        if (const auto text = assignment(line, "Description")) service->description = *text;
        if (const auto user = assignment(line, "User")) service->user = *user;
        if (const auto exec = assignment(line, "ExecStart"); exec && service->program.empty()) {
          std::string_view command = *exec;
          while (!command.empty() &&
                 std::string_view("@-:+!").find(command.front()) != std::string_view::npos)
            command.remove_prefix(1);
          service->program = std::string(next_word(command));
        }
        return true;
      });
      if (service->user.empty()) service->user = "root";
    }
  }
  // What a target pulls in starts by itself.
  for (const char* folder :
       {"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}) {
    for (const std::string& target :
         machine.list(folder, 4 * limits::services).value_or(std::vector<std::string>())) {
      if (!target.ends_with(".wants") && !target.ends_with(".requires")) continue;
      const std::string wants = std::string(folder) + "/" + target;
      for (const std::string& unit :
           machine.list(wants, limits::services).value_or(std::vector<std::string>())) {
        const auto found = services.find(std::string(without_suffix(unit)));
        if (found != services.end() && found->second.start_mode == "Manual")
          found->second.start_mode = "Auto";
      }
    }
  }
}

// System V scripts, and OpenRC's beside them.
void init_scripts(const Machine& machine, Services& services) {
  const auto scripts = machine.list("/etc/init.d", limits::services);
  if (!scripts) return;
  const bool open_rc = machine.exists("/run/openrc") || machine.exists("/etc/runlevels");
  std::map<std::string, bool> automatic;
  if (open_rc) {
    for (const char* level : {"sysinit", "boot", "default"}) {
      const auto names = machine.list(std::string("/etc/runlevels/") + level, limits::services);
      for (const std::string& name : names.value_or(std::vector<std::string>()))
        automatic[name] = true;
    }
  } else {
    for (const char* level : {"S", "2", "3", "5"}) {
      const auto names = machine.list(std::string("/etc/rc") + level + ".d", limits::services);
      for (const std::string& name : names.value_or(std::vector<std::string>())) {
        if (name.size() > 3 && name[0] == 'S') automatic[name.substr(3)] = true;  // "S01ssh"
      }
    }
  }
  for (const std::string& name : *scripts) {
    if (name == "README" || name == "skeleton" || name == "functions" || name.ends_with(".sh") ||
        name.starts_with('.') || name.find(".dpkg-") != std::string::npos ||
        services.contains(name))
      continue;
    Service* service = service_named(services, name);
    if (!service) return;
    service->program = "/etc/init.d/" + name;
    service->user = "root";
    service->start_mode = automatic.contains(name) ? "Auto" : "Manual";
    if (machine.exists("/run/openrc/started")) {
      service->started = machine.exists("/run/openrc/started/" + name);
      service->state = *service->started ? "Running" : "Stopped";
    }
    machine.lines(
        service->program,
        [&](std::string_view line) {
          constexpr std::string_view lsb = "# Short-Description:";
          if (line.starts_with(lsb))
            service->description = std::string(trimmed(line.substr(lsb.size())));
          if (const auto text = assignment(line, "description")) service->description = *text;
          return service->description.empty();
        },
        16'384);
  }
}

}  // namespace

void collect_services(const Machine& machine, const Facts& facts,
                      v1::HardwareInventory& inventory) {
  Services services;
  Ran ran = Ran::absent;
  if (machine.exists("/run/systemd/system")) {
    ran = running_units(machine, services);
    if (ran == Ran::well) ran = installed_units(machine, services);
  }
  if (ran == Ran::failed) return;  // half an answer would look like services removed
  if (ran == Ran::absent) {
    services.clear();
    units_on_disk(machine, services);
    init_scripts(machine, services);
  }
  if (services.empty() && !machine.exists("/etc")) return;
  Table table(inventory, "Win32_Service", cimv2, 1,
              {"Name", "AcceptStop", "Caption", "Description", "DisplayName", "ExitCode",
               "PathName", "ProcessId", "ServiceType", "Started", "StartMode", "StartName", "State",
               "Status", "SystemName"});
  table.churning({"ProcessId"});
  for (const auto& [name, service] : services) {
    std::optional<Row> added = table.add(limits::services);
    if (!added) break;
    Row& row = *added;
    const std::string& shown = service.description.empty() ? name : service.description;
    row.text("Name", name)
        .text("Caption", shown)
        .text("DisplayName", shown)
        .text("Description", service.description);
    row.flag("AcceptStop", service.accepts_stop).number("ExitCode", service.exit_code);
    row.text("PathName", service.program)
        .number("ProcessId", service.process_id)
        .text("ServiceType", "Own Process");
    row.flag("Started", service.started)
        .text("StartMode", service.start_mode)
        .text("StartName", service.user);
    row.text("State", service.state).text("SystemName", facts.host_name);
    if (!service.state.empty()) row.text("Status", service.failed ? "Error" : "OK");
  }
}

}  // namespace greengate::agent
