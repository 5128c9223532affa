#pragma once

#include "greengate/v1/frame.pb.h"

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace greengate::gateway {

/// What is to be said of a run of reports.
struct ReceiptNote {
  std::uint64_t incarnation = 0;
  std::uint64_t first = 0, last = 0;  ///< Sequences, both included.
  v1::ReceiptStatus status = v1::RECEIPT_STATUS_UNSPECIFIED;
  std::string_view code, message;
  std::chrono::milliseconds retry_after{0};
  std::int64_t at_ms = 0;
};

/// Appends the note, or stretches the last receipt when it says the same of the sequences just before or around it: a round of
/// a thousand stored reports is one receipt of forty bytes.
void add_receipt(std::vector<v1::Receipt>& receipts, const ReceiptNote& note);

}  // namespace greengate::gateway
