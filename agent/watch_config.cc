// The settings of what happens between collections: [status], [metering], [mif], [custom]. Called by config.cc.
#include "agent/config.h"
#include "core/config_reader.h"

#include <algorithm>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;
using namespace std::chrono_literals;

void require_path(std::vector<ConfigProblem>& found, const std::string& key, const std::string& path, bool may_be_empty) {
  if ((path.empty() && may_be_empty) || path.starts_with('/')) return;
  found.push_back({key, key + " has \"" + path + "\"; give a full path" + (may_be_empty ? ", or \"\" for none." : ".")});
}

void require_time(std::vector<ConfigProblem>& found, const std::string& key, milliseconds value, milliseconds least, milliseconds most) {
  if (value >= least && value <= most) return;
  found.push_back({key, key + " is \"" + duration_text(value) + "\"; it can be \"" + duration_text(least) + "\" to \"" + duration_text(most) + "\"."});
}

void require_bytes(std::vector<ConfigProblem>& found, const std::string& key, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  found.push_back({key, key + " is " + std::to_string(value) + " bytes; it can be " + std::to_string(least) + " to " + std::to_string(most) + "."});
}

}  // namespace

void read_watch_settings(ConfigReader& reader, AgentConfig& config) {
  PackageWatchConfig& packages = config.watchers.packages;
  reader.read("status.packages", packages.enabled);
  reader.read("status.logs", packages.logs);
  reader.read("status.interval", packages.interval);
  reader.read("status.history", packages.history);
  reader.read("status.per_hour_max", packages.per_hour_max);
  reader.read("status.details", packages.details);

  MeterConfig& metering = config.watchers.metering;
  reader.read("metering.programs", metering.programs);
  reader.read("metering.sample_interval", metering.sample_interval);
  reader.read("metering.report_interval", metering.report_interval);
  reader.read("metering.accounting_file", metering.accounting_file);

  MifFolderConfig& mif = config.watchers.mif;
  reader.read("mif.folder", mif.folder);
  reader.read_bytes("mif.bytes_max", mif.bytes_max);
  reader.read("mif.header_required", mif.header_required);
  reader.read("mif.interval", mif.interval);
  reader.read("state_messages.mif_topic_type", mif.topic_type);
  reader.read("state_messages.mif_failed_state_id", mif.failed_state_id);

  CustomInventoryConfig& custom = config.custom;
  reader.read("custom.folder", custom.folder);
  reader.read("custom.patience", custom.script.patience);
  auto output = static_cast<std::int64_t>(custom.script.output_bytes), memory = static_cast<std::int64_t>(custom.script.memory_bytes);
  reader.read_bytes("custom.output_bytes_max", output);
  reader.read_bytes("custom.memory_bytes_max", memory);
  custom.script.output_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(output, 0));
  custom.script.memory_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(memory, 0));
  reader.read("state_messages.custom_topic_type", config.custom_topic_type);
  reader.read("state_messages.custom_failed_state_id", config.custom_failed_state_id);
  reader.read("state_messages.custom_mended_state_id", config.custom_mended_state_id);

  std::vector<ConfigProblem> found;
  if (packages.logs.size() > 8) found.push_back({"status.logs", "status.logs has more than 8 entries; give the package managers' logs."});
  for (const std::string& path : packages.logs) require_path(found, "status.logs", path, false);
  require_time(found, "status.interval", packages.interval, 10s, 24h);
  require_time(found, "status.history", packages.history, 0s, 24h * 90);
  if (packages.per_hour_max < 1 || packages.per_hour_max > 10'000)
    found.push_back({"status.per_hour_max", "status.per_hour_max is " + std::to_string(packages.per_hour_max) + "; it can be 1 to 10000."});
  if (metering.programs.size() > 64) found.push_back({"metering.programs", "metering.programs has more than 64 entries."});
  for (const std::string& path : metering.programs) {
    require_path(found, "metering.programs", path, false);
    if (path.find_first_of("\t\n") != std::string::npos)
      found.push_back({"metering.programs", "metering.programs has a path with a tab or line end; it cannot be metered."});
  }
  require_time(found, "metering.sample_interval", metering.sample_interval, 5s, 1h);
  require_time(found, "metering.report_interval", metering.report_interval, 1h, 24h * 90);
  require_path(found, "metering.accounting_file", metering.accounting_file, true);
  require_path(found, "mif.folder", mif.folder, true);
  require_bytes(found, "mif.bytes_max", mif.bytes_max, 1 << 10, 5'120 << 10);
  require_time(found, "mif.interval", mif.interval, 1s, 24h);
  require_path(found, "custom.folder", custom.folder, true);
  require_time(found, "custom.patience", custom.script.patience, 100ms, 10min);
  require_bytes(found, "custom.output_bytes_max", output, 1 << 10, 16 << 20);
  require_bytes(found, "custom.memory_bytes_max", memory, 16 << 20, std::int64_t{16} << 30);
  reader.add(std::move(found));
  // The built-in classes, and the gateway's answer, need their share of the whole collection's time.
  custom.together = config.collection_patience / 2;
}

}  // namespace greengate::agent
