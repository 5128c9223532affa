#pragma once

#include "core/clock.h"
#include "core/ids.h"

#include <cstdint>
#include <optional>

namespace greengate::v1 {
class HardwareInventory;
}

namespace greengate::workers {

/// What the site's policy says about an agent's inventories, as far as it is known; the planner's question.
/// Threads   Any; answers from memory.
class InventoryPolicy {
 public:
  virtual ~InventoryPolicy() = default;

  /// When the site last changed what this kind of inventory (a v1::Kind) holds. A report must not name a later date (D 5.1).
  virtual std::optional<WallTime> last_update(const AgentId& agent, std::uint32_t kind) const = 0;
  /// Takes out the classes the site did not ask for, where that is wanted and known. True when something was taken out.
  virtual bool keep_wanted(const AgentId& agent, v1::HardwareInventory& inventory) const = 0;
};

}  // namespace greengate::workers
