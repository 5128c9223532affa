#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <cstdint>
#include <optional>
#include <string>

namespace greengate::workers {

/// What makes a resend the same message: fixed before the first attempt, kept with the reports (ReportQueue::pin).
/// Source    readings: a resend after a lost answer has the same message ID, version and serial numbers.
struct DeliveryNote {
  std::string message_id;  ///< Braced upper-case GUID.
  WallTime made_at;
  std::uint32_t version_major = 1;
  std::uint32_t version_minor = 0;
  std::uint64_t first_serial = 0;  ///< State messages only.
  std::optional<WallTime> policy_date;  ///< Inventories: the site's policy had this date when they were numbered.
  /// Inventories only: version of the baseline the content follows from; 0.0 when there was none.
  std::uint64_t baseline_major = 0, baseline_minor = 0;
};

std::string write_note(const DeliveryNote& note);
/// Fails note.unreadable (reject).
Result<DeliveryNote> read_note(const std::string& text);

}  // namespace greengate::workers
