#include "workers/next_identity.h"

#include "adapters/mp/message.h"
#include "adapters/mp/signing_key.h"

namespace greengate::workers {
namespace {

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

// "1 <SMSID, or -> <hex>"
std::string write_next_identity(const NextIdentity& next) {
  return "1 " + (next.sms_id.raw().empty() ? "-" : next.sms_id.raw()) + " " + adapters::upper_hex(next.sealed);
}

Result<NextIdentity> read_next_identity(const std::string& text) {
  const auto broken = [] {
    return fail(Remedy::reject, "identity.next_unreadable", "the next certificate kept for this agent cannot be read.");
  };
  const auto space = text.find(' ', 2);
  if (!text.starts_with("1 ") || space == std::string::npos) return broken();
  NextIdentity next;
  if (const std::string id = text.substr(2, space - 2); id != "-") {
    const auto sms_id = adapters::parse_sms_id(id);
    if (!sms_id) return broken();
    next.sms_id = *sms_id;
  }
  const std::string hex = text.substr(space + 1);
  if (hex.empty() || hex.size() % 2 != 0) return broken();
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const int high = nibble(hex[i]), low = nibble(hex[i + 1]);
    if (high < 0 || low < 0) return broken();
    next.sealed += static_cast<char>(high * 16 + low);
  }
  return next;
}

}  // namespace greengate::workers
