#include "agent/outbox_inside.h"

#include <string_view>
#include <vector>

namespace greengate::agent {

Result<void> Outbox::make_room() {
  const OutboxCount now = count();
  std::int64_t bytes = now.bytes, reports = now.reports;
  const auto newest = signed_of(last_sequence());
  // In the order in which things may go; each finds the next victim, never the report just put.
  const struct {
    const char* sql;
    const char* why;
  } steps[] = {
      {"SELECT sequence, bytes FROM report r WHERE kind = 2 AND EXISTS (SELECT 1 FROM report n "
       "WHERE n.kind = 2 AND n.sequence > "
       "r.sequence) AND sequence < ? ORDER BY sequence LIMIT 1",
       "outbox.superseded"},
      {"SELECT sequence, bytes FROM report r WHERE kind = 4 AND EXISTS (SELECT 1 FROM report n "
       "WHERE n.kind = 4 AND n.sequence > "
       "r.sequence) AND sequence < ? ORDER BY sequence LIMIT 1",
       "outbox.superseded"},
      {"SELECT sequence, bytes FROM report r WHERE kind = 1 AND EXISTS (SELECT 1 FROM report n "
       "WHERE n.kind = 1 AND n.sequence > "
       "r.sequence) AND sequence < ? ORDER BY sequence LIMIT 1",
       "outbox.superseded"},
      {"SELECT sequence, bytes FROM report WHERE lane >= 3 AND sequence < ? ORDER BY sequence "
       "LIMIT 1",
       "outbox.full"},
      {"SELECT sequence, bytes FROM report WHERE sequence < ? ORDER BY lane DESC, sequence LIMIT 1",
       "outbox.full"},
  };
  std::int64_t dropped = 0;
  for (const auto& step : steps) {
    while (bytes > config_.bytes_max || reports > config_.reports_max) {
      std::uint64_t victim = 0;
      {
        Statement find(db_, step.sql);
        find.bind(newest);
        if (!find.step()) {
          if (find.failed()) return disk_error("Reading");
          break;
        }
        victim = static_cast<std::uint64_t>(find.number(0));
        bytes -= find.number(1);
        --reports;
      }
      const bool superseded = std::string_view(step.why) == "outbox.superseded";
      auto moved = move_to_history(
          victim, victim, superseded ? "superseded" : "dropped", step.why,
          superseded ? "A newer one was waiting and the outbox was full." : "The outbox was full.",
          0, to_millis(clock_.wall()));
      if (!moved) return moved;
      dropped += superseded ? 0 : 1;
    }
  }
  if (dropped == 0) return {};
  return set_meta(name_of(Fact::dropped_total),
                  std::to_string(number(Fact::dropped_total) + dropped));
}

Result<void> Outbox::move_to_history(std::uint64_t first, std::uint64_t last,
                                     const std::string& status, const std::string& code,
                                     const std::string& message, std::int64_t stored_at_ms,
                                     std::int64_t settled_at_ms) {
  struct Row {
    std::int64_t sequence, kind, bytes, collected_at_ms;
  };
  // A few rows at a time: a receipt's range is the gateway's word, and the outbox may hold very
  // many.
  constexpr int rows_at_once = 256;
  std::vector<Row> rows;
  do {
    rows.clear();
    {
      Statement find(db_,
                     "SELECT sequence, kind, bytes, collected_at_ms FROM report WHERE sequence "
                     "BETWEEN ? AND ? "
                     "ORDER BY sequence LIMIT ?");
      find.bind(signed_of(first)).bind(signed_of(last)).bind(rows_at_once);
      while (find.step())
        rows.push_back({find.number(0), find.number(1), find.number(2), find.number(3)});
      if (find.failed()) return disk_error("Reading");
    }
    for (const Row& row : rows) {
      const auto sent = sent_at_ms_.find(static_cast<std::uint64_t>(row.sequence));
      Statement insert(db_,
                       "INSERT INTO history (sequence, kind, bytes, collected_at_ms, sent_at_ms, "
                       "stored_at_ms, settled_at_ms, "
                       "status, code, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
      insert.bind(row.sequence)
          .bind(row.kind)
          .bind(row.bytes - row_overhead_bytes)
          .bind(row.collected_at_ms);
      insert.bind(sent == sent_at_ms_.end() ? 0 : sent->second)
          .bind(stored_at_ms)
          .bind(settled_at_ms);
      insert.bind(status)
          .bind(code.substr(0, text_characters_max))
          .bind(message.substr(0, text_characters_max));
      insert.step();
      if (insert.failed()) return disk_error("Writing");
      Statement remove(db_, "DELETE FROM report WHERE sequence = ?");
      remove.bind(row.sequence);
      remove.step();
      if (remove.failed()) return disk_error("Writing");
      if (sent != sent_at_ms_.end()) sent_at_ms_.erase(sent);
    }
  } while (rows.size() == static_cast<std::size_t>(rows_at_once));
  return trim_history();
}

Result<void> Outbox::trim_history() {
  Statement trim(db_, "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?");
  trim.bind(config_.history_max);
  trim.step();
  if (trim.failed()) return disk_error("Writing");
  return {};
}

Result<void> Outbox::expire() {
  const std::int64_t now = to_millis(clock_.wall());
  constexpr const char* which =
      "SELECT sequence FROM report WHERE ttl_s > 0 AND collected_at_ms + ttl_s * 1000 < ? LIMIT 1";
  {
    Statement any(db_, which);
    any.bind(now);
    if (!any.step()) return {};
  }
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  for (;;) {
    std::uint64_t sequence = 0;
    {
      Statement find(db_, which);
      find.bind(now);
      if (!find.step()) break;
      sequence = static_cast<std::uint64_t>(find.number(0));
    }
    auto moved =
        move_to_history(sequence, sequence, "expired", "outbox.expired",
                        "Its time to live ended before the gateway could take it.", 0, now);
    if (!moved) return moved;
  }
  return transaction.commit();
}

}  // namespace greengate::agent
