// The management objects a device has (10, 14) and what its Execs do (S-26).
#include "simulators/common/text.h"
#include "simulators/mdm_device/device.h"

#include <array>

namespace greengate::sim::mdm {
namespace {

DmNode fixed(std::string value, std::string format = "chr") {
  DmNode node;
  node.format = std::move(format);
  node.value = std::move(value);
  return node;
}

}  // namespace

void Device::plant() {
  tree_.put("DevInfo/DevId", fixed(device_id_));
  tree_.put("DevInfo/Man", fixed("Simulated Test Works"));
  tree_.put("DevInfo/Mod", fixed("Bench 7"));
  tree_.put("DevInfo/DmV", fixed("1.3"));
  tree_.put("DevInfo/Lang", fixed("en-GB"));
  tree_.put("DevDetail/DevTyp", fixed("Simulated PC"));
  tree_.put("DevDetail/OEM", fixed("Simulated Test Works"));
  tree_.put("DevDetail/FwV", fixed("1.0"));
  tree_.put("DevDetail/SwV", fixed(build == "1511" ? "10.0.10586.0" : build == "1607" ? "10.0.14393.0" : "10.0.26100.4000"));
  tree_.put("DevDetail/HwV", fixed("Bench 7"));
  tree_.put("DevDetail/LrgObj", fixed("false", "bool"));
  tree_.put("DevDetail/Ext/Microsoft/DeviceName", fixed(name_));
  tree_.put("DevDetail/Ext/Microsoft/OSPlatform", fixed("Windows 11 Simulated"));
  tree_.put("DevDetail/Ext/Microsoft/TotalRAM", fixed("8192", "int"));
  tree_.put("DevDetail/Ext/Microsoft/TotalStorage", fixed("262144", "int"));
  const std::string status = "Vendor/MSFT/DeviceStatus/";
  tree_.put(status + "SecureBootState", fixed("1", "int"));
  tree_.put(status + "OS/Edition", fixed("4", "int"));
  tree_.put(status + "OS/Mode", fixed("0", "int"));
  tree_.put(status + "Antivirus/Status", fixed("0", "int"));
  tree_.put(status + "Antivirus/SignatureStatus", fixed("1", "int"));
  tree_.put(status + "Compliance/EncryptionCompliance", fixed("0", "int"));
  tree_.put(status + "DomainName", fixed("simulated.example"));
  tree_.put("cimv2/Win32_OperatingSystem", fixed("Win32_OperatingSystem", "chr"));
  tree_.put("cimv2/Win32_BIOS", fixed("Win32_BIOS", "chr"));
  plant_push();
  plant_poll();
  plant_defender();
  plant_execs();
}

void Device::plant_push() {
  const std::string provider = "Vendor/MSFT/DMClient/Provider/" + world_.settings.provider_id + "/";
  DmNode push;
  push.format = "node";
  push.verbs = can_get | can_add | can_delete;
  push.present = false;
  push.on_set = [this](const std::string&, bool) {
    show_push_nodes("");
    return 200;
  };
  push.on_delete = [this] { return unregister(); };
  tree_.put(provider + "Push", push);
  DmNode pfn;
  pfn.verbs = can_get | can_add | can_delete | can_replace;
  pfn.present = false;
  pfn.on_set = [this](const std::string& data, bool add) { return set_pfn(data, add); };
  pfn.on_delete = [this] { return unregister(); };
  tree_.put(provider + "Push/PFN", pfn);
  DmNode uri;
  uri.present = false;
  uri.on_get = [this](std::string& out) { return read_uri(out); };
  tree_.put(provider + "Push/ChannelURI", uri);
  DmNode state;
  state.format = "int";
  state.present = false;
  state.on_get = [this](std::string& out) {
    out = std::to_string(push_status());
    return 200;
  };
  tree_.put(provider + "Push/Status", state);
}

void Device::plant_poll() {
  const std::string poll = "Vendor/MSFT/DMClient/Provider/" + world_.settings.provider_id + "/Poll/";
  constexpr std::array<const char*, 3> intervals{"IntervalForFirstSetOfRetries", "IntervalForSecondSetOfRetries", "IntervalForRemainingScheduledRetries"};
  constexpr std::array<const char*, 3> numbers{"NumberOfFirstRetries", "NumberOfSecondRetries", "NumberOfRemainingScheduledRetries"};
  for (std::size_t i = 0; i < 3; ++i)
    for (const bool interval : {true, false}) {
      DmNode node;
      node.format = "int";
      node.verbs = can_get | can_add | can_replace | can_delete;
      node.on_get = [this, i, interval](std::string& out) {
        const auto& set = schedule_.sets()[i];
        out = std::to_string(interval ? set.minutes : set.number);
        return 200;
      };
      node.on_set = [this, i, interval](const std::string& data, bool) {
        const auto value = parse_number(data);
        if (!value || *value > 1'000'000) return 400;
        auto& set = schedule_.sets()[i];
        (interval ? set.minutes : set.number) = static_cast<std::int64_t>(*value);
        set_poll(schedule_);
        return 200;
      };
      tree_.put(poll + (interval ? intervals[i] : numbers[i]), node);
    }
  for (const char* name : {"PollOnLogin", "AllUsersPollOnFirstLogin"}) {
    DmNode node = fixed("false", "bool");
    node.verbs = can_get | can_add | can_replace | can_delete;
    tree_.put(poll + name, node);
  }
}

void Device::plant_defender() {
  const std::string defender = "Vendor/MSFT/Defender/";
  const auto health = [defender](const char* name) { return defender + "Health/" + name; };
  tree_.put(health("QuickScanTime"), fixed(""));
  tree_.put(health("FullScanTime"), fixed(""));
  tree_.put(health("ComputerState"), fixed("0", "int"));
  tree_.put(health("SignatureVersion"), fixed("1.400.1.0"));
  tree_.put(health("SignatureOutOfDate"), fixed("true", "bool"));
  tree_.put(health("QuickScanOverdue"), fixed("true", "bool"));
  tree_.put(health("DefenderEnabled"), fixed("true", "bool"));
  DmNode scan;
  scan.verbs = can_get | can_exec;
  scan.on_exec = [this, health](const std::string& data) {
    if (faults_.exec_fails) return 500;
    if (data != "1" && data != "2") return 400;
    const bool quick = data == "1";
    if (DmNode* state = tree_.find(health("ComputerState"))) state->value = quick ? "0" : "1";
    later(quick ? world_.settings.quick_scan_ms : world_.settings.full_scan_ms, [quick, health](Device& self) {
      self.tree_.find(health(quick ? "QuickScanTime" : "FullScanTime"))->value = to_iso_utc(self.world_.clock.wall());
      if (quick) self.tree_.find(health("QuickScanOverdue"))->value = "false";
      if (!quick) self.tree_.find(health("ComputerState"))->value = "0";
    });
    return 202;  // only begun: the result is in Health, in a later session
  };
  tree_.put(defender + "Scan", scan);
  DmNode update;
  update.verbs = can_get | can_exec;
  update.on_exec = [this, health](const std::string&) {
    if (faults_.exec_fails) return 500;
    later(world_.settings.signature_ms, [health](Device& self) {
      DmNode* version = self.tree_.find(health("SignatureVersion"));
      version->value = "1.400." + std::to_string(self.world_.clock.now_ms() / 1000 % 100'000) + ".0";
      self.tree_.find(health("SignatureOutOfDate"))->value = "false";
    });
    return 202;
  };
  tree_.put(defender + "UpdateSignature", update);
  DmNode offline;
  offline.verbs = can_get | can_exec;
  offline.supported = build == "11";
  offline.on_exec = [this](const std::string&) {
    if (faults_.exec_fails) return 500;
    off_after_session_ms_ = world_.settings.reboot_ms;
    return 202;
  };
  tree_.put(defender + "OfflineScan", offline);
}

void Device::plant_execs() {
  DmNode reboot;
  reboot.format = "null";
  reboot.verbs = can_get | can_exec;
  reboot.on_exec = [this](const std::string&) {
    if (faults_.exec_fails) return 500;
    off_after_session_ms_ = world_.settings.reboot_ms;
    return 200;
  };
  tree_.put("Vendor/MSFT/Reboot/RebootNow", reboot);
  for (const char* name : {"Single", "DailyRecurrent"}) {
    DmNode node;
    node.verbs = can_get | can_add | can_replace | can_delete;
    node.present = false;
    tree_.put("Vendor/MSFT/Reboot/Schedule/" + std::string(name), node);
  }
  struct Row {
    const char* name;
    bool old_builds;
  };
  for (const Row& row : {Row{"doWipe", true}, Row{"doWipePersistProvisionedData", true}, Row{"doWipeProtected", false},
                         Row{"doWipePersistUserData", false}, Row{"doWipeCloud", false}}) {
    DmNode wipe;
    wipe.format = "null";
    wipe.verbs = can_get | can_exec;
    wipe.supported = edition != "se";
    wipe.on_exec = [this](const std::string&) {
      if (faults_.exec_fails) return 500;
      wiped_ = true;
      return 202;
    };
    if (build == "11" || row.old_builds) tree_.put("Vendor/MSFT/RemoteWipe/" + std::string(row.name), wipe);
  }
  DmNode lock;
  lock.format = "null";
  lock.verbs = can_get | can_exec;
  lock.supported = edition == "mobile";
  lock.on_exec = [this](const std::string&) { return pin_set ? 200 : 405; };
  tree_.put("Vendor/MSFT/RemoteLock/Lock", lock);
}

}  // namespace greengate::sim::mdm
