#pragma once

#include "adapters/mp/policy.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/result.h"

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// What a part of policy is about, by the site's action and message ids: …01 hardware, …02 software inventory, …03 discovery
/// (D: InventoryAction class; the same ids name the scheduled messages).
enum class PolicyArea { other, hardware, software, discovery };

/// An InventoryAction: a kind of inventory the site wants, and how (D: class and properties).
struct InventoryAction {
  PolicyArea area = PolicyArea::other;
  std::string id;                       ///< "{00000000-0000-0000-0000-000000000001}"
  std::string report_type;              ///< "Full", "Delta", "Resync", as sent.
  std::optional<WallTime> last_update;  ///< InventoryActionLastUpdateTime.

  bool wants_everything_again() const;  ///< Report type Resync (D 6.4).
};

/// An InventoryDataItem: one class of an inventory (D).
struct InventoryItem {
  PolicyArea area = PolicyArea::other;
  std::string class_name;               ///< "Win32_OperatingSystem"
  std::string name_space;               ///< "root\cimv2", lower case, without the machine in front.
  std::vector<std::string> properties;  ///< Empty: all.
};

/// When a client agent does something, as an interval; the moment within it is the agent's own slot.
struct PolicySchedule {
  PolicyArea area = PolicyArea::other;
  std::chrono::minutes every{};
};

/// What one policy's body says, as far as it concerns a gateway.
struct PolicyBody {
  std::vector<InventoryAction> actions;
  std::vector<InventoryItem> items;
  std::vector<PolicySchedule> schedules;
  bool conditional = false;  ///< A rule has a condition with a text. None is evaluated: every rule is taken to hold.

  bool empty() const { return actions.empty() && items.empty() && schedules.empty(); }
  std::size_t bytes() const;  ///< About what it costs in memory.
};

/// Does a body match what its assignment says of it? Over the bytes as sent (readings 15).
enum class HashCheck { matches, unverified, differs };
/// PolicyHashEx decides (SHA256:, SHA1:, or bare hex of that length), then PolicyHash (MD5), then the SHA256 in the location's
/// query. A hash that cannot be read is one that differs; none at all leaves the body unverified.
HashCheck check_policy_hash(const PolicyAssignment& assignment, std::string_view body);

/// Reads a body that was fetched and hash-checked.
///
/// The classes, their properties and the schedule token are documented; that a body is `instance class` with `property name` and
/// `value` has been printed by public tools (M), the inventory bodies themselves have not: so names are matched without regard
/// to case, properties may be elements, attributes or text, and what is not understood is passed over (I).
///
/// Limits    MpSettings::policy_body_bytes_max, also after inflating a body with flag 64; reply_depth_max; 100,000 elements,
///           4,096 instances; no DTD, no entities.
/// Errors    mp.policy_too_large, mp.policy_encrypted (CMS), mp.policy_page (HTML), mp.policy_body, mp.reply_xml, mp.inflate,
///           mp.inflate_too_large (all reject).
Result<PolicyBody> read_policy_body(const MpSettings& settings, const PolicyAssignment& assignment, std::string_view body);

/// The interval of a trigger: "SimpleInterval;Minutes=60;…" (M), or one with a schedule token of 16 hex digits, whose layout is
/// documented (D: SMS_ScheduleMethods.ReadFromString). Nothing for what happens once or is no schedule.
std::optional<std::chrono::minutes> trigger_interval(std::string_view trigger);

}  // namespace greengate::adapters
