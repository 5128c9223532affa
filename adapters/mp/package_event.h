#pragma once

namespace greengate::v1 {
class StatusMessage;
}

namespace greengate::adapters {

/// An agent's "package_installed", "package_upgraded" or "package_removed" in the words of the one documented package event:
/// SoftwareDistributionPackageEvent with PackageId, PackageName and PackageVersion first, then Action and what else the agent told.
/// Linux packages have no id of the site's: the name stands for it (inferred). Every other message is returned as it is.
/// Source    D 5.10, docs/reference/status-and-metering.md
v1::StatusMessage as_site_event(const v1::StatusMessage& event);

}  // namespace greengate::adapters
