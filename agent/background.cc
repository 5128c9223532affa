#include "agent/background.h"

#include "agent/files/plan.h"
#include "agent/state_directory.h"
#include "core/log.h"

namespace greengate::agent {
namespace {

// Of what is hashed; a run's bytes are bounded anyway.
constexpr std::uint64_t hashed_bytes_per_second = 16 << 20;
constexpr std::uint64_t planned_files_per_second = 2'000;

}  // namespace

Result<std::string> collect_software(const AgentConfig& config, const MachineView& view,
                                     const Clock& clock) {
  const Log log("software");
  const Machine machine(view);
  const SoftwareSettings& settings = config.software;
  Pace pace(settings.files_per_second, static_cast<std::uint64_t>(settings.bytes_per_second),
            clock);
  const SteadyTime started = clock.steady();
  SoftwareCache cache = SoftwareCache::load(config.software_cache_file());
  const auto found = scan_software(settings, machine, cache, pace, clock);
  // Also after half a scan: the next one goes on from there.
  if (auto saved = cache.save(config.software_cache_file()); !saved) {
    log.warn("software cache not written", kv("code", saved.error().code),
             kv("why", saved.error().message));
  }
  StateDirectory::hand_over(config.state_directory, config.software_cache_file());
  if (!found) return tl::unexpected<Error>(found.error());
  const ScanCost& cost = found->cost;
  log.info("software scanned", kv("files", found->inventory.files_size()),
           kv("folders", cost.folders), kv("folders_read", cost.folders_read),
           kv("files_looked_at", cost.files_looked_at), kv("owners_asked", cost.owners_asked),
           kv("bytes", cost.package_bytes), kv("unreadable", cost.unreadable),
           kv("too_deep", cost.too_deep), kv("cut", cost.cut),
           kv("took_ms", std::chrono::floor<std::chrono::milliseconds>(clock.steady() - started)));
  if (cost.cut) {
    log.warn("software inventory cut at its bound",
             kv("consequence", "software.files_max or a folder's names are more than it may hold"));
  }
  return found->inventory.SerializeAsString();
}

Result<ScanResult> look_at_software(const AgentConfig& config, const MachineView& view,
                                    const Clock& clock) {
  const Machine machine(view);
  Pace pace(0, 0, clock);
  SoftwareCache cache;
  return scan_software(config.software, machine, cache, pace, clock);
}

std::string collect_file_plan(const AgentConfig& config, const MachineView& view,
                              const Clock& clock) {
  const Machine machine(view);
  Pace pace(planned_files_per_second, hashed_bytes_per_second, clock);
  const FileLedger ledger = FileLedger::load(config.ledger_file());
  return plan_files(config.files, config.state_directory, ledger, machine, pace).encode();
}

}  // namespace greengate::agent
