#include "gateway/receipts.h"

#include <algorithm>

namespace greengate::gateway {

void add_receipt(std::vector<v1::Receipt>& receipts, const ReceiptNote& note) {
  if (!receipts.empty()) {
    v1::Receipt& last = receipts.back();
    const bool same = last.incarnation() == note.incarnation && last.status() == note.status &&
                      last.code() == note.code;
    const bool adjoining = note.first >= last.first_sequence() &&
                           note.first - 1 <= last.last_sequence();
    if (same && adjoining) {
      last.set_last_sequence(std::max(last.last_sequence(), note.last));
      last.set_retry_after_ms(std::max(last.retry_after_ms(),
                                       static_cast<std::uint32_t>(note.retry_after.count())));
      last.set_at_ms(note.at_ms);
      return;
    }
  }
  v1::Receipt& receipt = receipts.emplace_back();
  receipt.set_incarnation(note.incarnation);
  receipt.set_first_sequence(note.first);
  receipt.set_last_sequence(note.last);
  receipt.set_status(note.status);
  receipt.set_code(std::string(note.code));
  receipt.set_message(std::string(note.message));
  receipt.set_retry_after_ms(static_cast<std::uint32_t>(note.retry_after.count()));
  receipt.set_at_ms(note.at_ms);
}

}  // namespace greengate::gateway
