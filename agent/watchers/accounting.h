#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::agent {

/// One ended process, as the kernel accounts for it.
struct AccountingRecord {
  std::string command;  ///< At most 15 characters.
  std::uint32_t user_id = 0, process_id = 0;
  std::int64_t began_ms = 0;  ///< Unix time, to the second.
  std::uint64_t ran_ms = 0;
};

constexpr std::size_t accounting_record_bytes = 64;

/// Exactly accounting_record_bytes of an accounting file; nothing when they are no record of version 3 in this machine's byte order.
/// Source    acct(5), struct acct_v3 of linux/acct.h
std::optional<AccountingRecord> accounting_record(std::string_view bytes);

}  // namespace greengate::agent
