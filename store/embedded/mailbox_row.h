#pragma once

#include "store/embedded/database.h"
#include "store/mailbox.h"

#include <libdeflate.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

// How actions and entries lie in the file: their columns and checksums, shared by what writes and what reads them.

namespace greengate::store {

#define GREENGATE_ENTRY_COLUMNS "e.id, e.device, e.action, e.state, e.changed_at, e.checksum, e.code, e.message"
#define GREENGATE_ACTION_COLUMNS \
  "a.id, a.task, a.urgent, a.created_at, a.expires_at, a.checksum, a.collapse, a.origin, a.origin_key, a.parameters"
inline constexpr int kEntryColumns = 8;

/// By device and state: what is over of a device is not touched.
inline constexpr const char* kOpenEntriesSql =
    "SELECT " GREENGATE_ENTRY_COLUMNS ", " GREENGATE_ACTION_COLUMNS
    " FROM entries e INDEXED BY entries_of_device LEFT JOIN actions a ON a.id = e.action WHERE e.device = ?1 AND e.state < 3"
    " AND coalesce(a.stage <> 1 AND a.expires_at > ?2, 1) ORDER BY a.urgent DESC, e.id LIMIT ?3";
inline constexpr const char* kEntryWaitsSql =
    "SELECT 1 FROM entries e INDEXED BY entries_of_device CROSS JOIN actions a ON a.id = e.action WHERE e.device = ?1 AND e.state < 3 AND a.stage <> 1"
    " AND a.expires_at > ?2"
    " LIMIT 1";

inline std::uint32_t entry_checksum(std::uint64_t id, std::string_view device, std::uint64_t action) {
  const std::array<std::uint64_t, 2> facts{id, action};
  const std::uint32_t crc = libdeflate_crc32(0, facts.data(), sizeof facts);
  return libdeflate_crc32(crc, device.data(), device.size());
}

inline std::uint32_t action_checksum(const Action& action) {
  const std::array<std::uint64_t, 8> facts{action.id,
                                           action.task,
                                           action.urgent,
                                           static_cast<std::uint64_t>(to_millis(action.created_at)),
                                           static_cast<std::uint64_t>(to_millis(action.expires_at)),
                                           action.collapse.size(),
                                           action.origin.size(),
                                           action.origin_key.size()};
  std::uint32_t crc = libdeflate_crc32(0, facts.data(), sizeof facts);
  for (const std::string* text : {&action.collapse, &action.origin, &action.origin_key, &action.parameters})
    crc = libdeflate_crc32(crc, text->data(), text->size());
  return crc;
}

/// Nothing when its bytes are not what was written.
inline std::optional<Entry> read_entry(const Statement& row, int first = 0) {
  Entry entry;
  entry.id = row.number_unsigned(first);
  entry.device = AgentId(row.text(first + 1));
  entry.action = row.number_unsigned(first + 2);
  const std::int64_t state = row.number(first + 3);
  entry.changed_at = from_millis(row.number(first + 4));
  entry.code = row.text(first + 6);
  entry.message = row.text(first + 7);
  if (state < 1 || state > static_cast<int>(EntryState::collapsed) ||
      entry_checksum(entry.id, entry.device.raw(), entry.action) != static_cast<std::uint32_t>(row.number(first + 5)))
    return std::nullopt;
  entry.state = static_cast<EntryState>(state);
  return entry;
}

inline std::optional<Action> read_action(const Statement& row, int first = 0) {
  Action action;
  action.id = row.number_unsigned(first);
  action.task = static_cast<std::uint32_t>(row.number(first + 1));
  action.urgent = row.number(first + 2) != 0;
  action.created_at = from_millis(row.number(first + 3));
  action.expires_at = from_millis(row.number(first + 4));
  action.collapse = row.text(first + 6);
  action.origin = row.text(first + 7);
  action.origin_key = row.text(first + 8);
  action.parameters = row.text(first + 9);
  if (action.id == 0 || action_checksum(action) != static_cast<std::uint32_t>(row.number(first + 5))) return std::nullopt;
  return action;
}

}  // namespace greengate::store
