#pragma once

#include "core/clock.h"
#include "simulators/management_point/checks.h"
#include "simulators/management_point/envelope.h"

#include <pugixml.hpp>

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace greengate::sim {

enum class ReportKind { discovery, hardware, software, files, state, metering, mif, status };
const char* name_of(ReportKind kind);

struct ReportVersion {
  std::uint64_t major = 0, minor = 0;
  auto operator<=>(const ReportVersion&) const = default;
};
std::string to_text(const ReportVersion& version);
std::optional<ReportVersion> parse_version(std::string_view text);

/// One row of an inventory class.
struct Instance {
  std::string class_name;
  char content = 'N';  ///< N new, U updated, D deleted.
  std::string key;     ///< Of the class's key properties; empty for a class with one row.
  std::vector<std::pair<std::string, std::string>> properties;
};

struct StateMessage {
  std::optional<std::uint64_t> serial;
  std::string topic_id, time;
  std::uint64_t topic_type = 0, state_id = 0;
};

struct Report {
  ReportKind kind = ReportKind::discovery;
  bool delta = false;
  ReportVersion version;
  std::string client_id, netbios_name, client_version;
  std::vector<Instance> instances;
  std::vector<StateMessage> states;
  std::size_t collected_files = 0;

  std::map<std::string, std::size_t> instances_by_class() const;
};

struct ReportRules {
  WallTime now{};
  WallTime hardware_policy_date{};  ///< LastUpdateTime must not be later (readings 7).
};

/// Reads and checks the report of a Post, whichever endpoint it came to. What depends on earlier
/// messages (versions, serial numbers, whose client it is) is the Site's to check. `stream` is the
/// whole payload stream: attachments are ranges of it (mp-protocol 2.2).
std::optional<Report> read_report(const Envelope& envelope, std::string_view stream,
                                  std::string_view body, const ReportRules& rules,
                                  Findings& findings);

/// The XML declaration's rules (readings 18), then the parser. Returns false when there is nothing
/// to read.
enum class Declaration { required, forbidden, free };
bool parse_body(std::string_view body, Declaration declaration, pugi::xml_document& document,
                Findings& findings);

}  // namespace greengate::sim
