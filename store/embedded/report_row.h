#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "store/embedded/database.h"
#include "store/report_queue.h"

#include <libdeflate.h>

#include <cstdint>
#include <string_view>

// A report's row on disk: the checksum over it, and reading the facts that every table has of it.

namespace greengate::store {

/// CRC-32 over the report's name and facts, then its body: a row that swapped bodies is damaged
/// too.
inline std::uint32_t checksum(const AgentId& agent, std::uint64_t incarnation,
                              std::uint64_t sequence, std::uint32_t lane, std::uint32_t kind,
                              std::string_view body) {
  struct {
    std::uint64_t incarnation, sequence;
    std::uint32_t lane, kind;
  } facts{incarnation, sequence, lane, kind};
  static_assert(sizeof facts == 24);
  std::uint32_t crc = libdeflate_crc32(0, &facts, sizeof facts);
  crc = libdeflate_crc32(crc, agent.raw().data(), agent.raw().size());
  return libdeflate_crc32(crc, body.data(), body.size());
}

/// Reads into a LeasedReport or a ReportTrace what both say of a report. The row's columns begin
/// incarnation, sequence, lane, kind, collected_at, kept_at.
template <class Report>
void read_facts(Report& report, const AgentId& agent, std::uint64_t id, const Statement& row) {
  report.id = ItemId(id);
  report.name = {agent, row.number_unsigned(0), row.number_unsigned(1)};
  report.lane = static_cast<Lane>(row.number(2));
  report.kind = static_cast<std::uint32_t>(row.number(3));
  report.collected_at = from_millis(row.number(4));
  report.kept_at = from_millis(row.number(5));
}

}  // namespace greengate::store
