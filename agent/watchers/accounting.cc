#include "agent/watchers/accounting.h"

#include "agent/collectors/text.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace greengate::agent {
namespace {

// Where linux/acct.h has what, and how large it is.
constexpr std::size_t version_at = 1, user_at = 8, process_at = 16, began_at = 24, ran_at = 28, command_at = 48, command_bytes = 16;
constexpr unsigned version_mask = 0x7f, big_endian_bit = 0x80;
constexpr float ticks_per_second = 100;  // AHZ

template <class T>
T value_at(std::string_view bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

std::optional<AccountingRecord> accounting_record(std::string_view bytes) {
  if (bytes.size() != accounting_record_bytes) return std::nullopt;
  const auto version = static_cast<unsigned char>(bytes[version_at]);
  const bool big = (version & big_endian_bit) != 0;
  if ((version & version_mask) != 3 || big != (std::endian::native == std::endian::big)) return std::nullopt;
  AccountingRecord record;
  const std::string_view command = bytes.substr(command_at, command_bytes);
  record.command = clean_text(command.substr(0, command.find('\0')), command_bytes);
  record.user_id = value_at<std::uint32_t>(bytes, user_at);
  record.process_id = value_at<std::uint32_t>(bytes, process_at);
  record.began_ms = static_cast<std::int64_t>(value_at<std::uint32_t>(bytes, began_at)) * 1'000;
  const float ran = value_at<float>(bytes, ran_at);
  // Ten years: a damaged file may hold any number, or none.
  if (!std::isfinite(ran) || ran < 0 || ran > ticks_per_second * 315'360'000.0f || record.command.empty()) return std::nullopt;
  record.ran_ms = static_cast<std::uint64_t>(ran * (1'000 / ticks_per_second));
  return record;
}

}  // namespace greengate::agent
