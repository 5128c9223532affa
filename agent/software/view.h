#pragma once

#include "agent/software/scan.h"

#include <string>

namespace greengate::agent {

/// For people: what was found, folder by folder, then what the scan cost. Times in UTC.
std::string software_table(const ScanResult& found, bool full);

/// For scripts: {"collected_at": …, "files": [{…}], "scan": {…}}.
std::string software_json(const ScanResult& found);

}  // namespace greengate::agent
