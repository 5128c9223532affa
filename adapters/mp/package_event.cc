#include "adapters/mp/package_event.h"

#include "greengate/v1/report.pb.h"

#include <string>
#include <string_view>
#include <utility>

namespace greengate::adapters {
namespace {

constexpr std::string_view prefix = "package_";

constexpr std::pair<std::string_view, const char*> actions[] = {{"package_installed", "Installed"}, {"package_upgraded", "Upgraded"}, {"package_removed", "Removed"}};

constexpr std::pair<std::string_view, const char*> names[] = {{"previous_version", "PreviousVersion"}, {"architecture", "Architecture"}, {"package_system", "PackageSystem"}};

void add(v1::StatusMessage& to, const char* name, const std::string& value) {
  v1::NamedText& one = *to.add_properties();
  one.set_name(name);
  one.set_value(value);
}

}  // namespace

v1::StatusMessage as_site_event(const v1::StatusMessage& event) {
  const char* action = nullptr;
  for (const auto& [type, said] : actions) {
    if (event.type() == type) action = said;
  }
  if (!event.type().starts_with(prefix) || !action) return event;
  std::string name, version;
  for (const v1::NamedText& property : event.properties()) {
    if (property.name() == "package_name") name = property.value();
    if (property.name() == "package_version") version = property.value();
  }
  v1::StatusMessage told;
  told.set_time_ms(event.time_ms());
  told.set_type("SoftwareDistributionPackageEvent");
  add(told, "PackageId", name);
  add(told, "PackageName", name);
  add(told, "PackageVersion", version);
  add(told, "Action", action);
  for (const v1::NamedText& property : event.properties()) {
    if (property.name() == "package_name" || property.name() == "package_version") continue;
    const char* known = nullptr;
    for (const auto& [ours, theirs] : names) {
      if (property.name() == ours) known = theirs;
    }
    add(told, known ? known : property.name().c_str(), property.value());
  }
  *told.mutable_qualifiers() = event.qualifiers();
  return told;
}

}  // namespace greengate::adapters
