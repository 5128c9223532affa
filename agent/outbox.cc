#include "agent/outbox.h"

#include "agent/outbox_inside.h"

#include <cstdlib>

namespace greengate::agent {

std::uint64_t Outbox::last_sequence() {
  return std::strtoull(meta("last_sequence").c_str(), nullptr, 10);
}

Result<void> Outbox::insert(v1::Lane lane, v1::Kind kind, const std::string& body,
                            std::int64_t collected_at_ms, std::uint32_t ttl_s) {
  const auto size = static_cast<std::int64_t>(body.size()) + row_overhead_bytes;
  if (size > config_.bytes_max) {
    return fail(
        Remedy::reject, "outbox.too_large",
        "A report of " + std::to_string(body.size()) + " bytes is larger than outbox.bytes_max.");
  }
  Statement insert(db_, "INSERT INTO report VALUES (?, ?, ?, ?, ?, ?, ?)");
  const std::uint64_t sequence = last_sequence() + 1;
  insert.bind(signed_of(sequence))
      .bind(lane)
      .bind(kind)
      .bind(collected_at_ms)
      .bind(ttl_s)
      .bind(size)
      .bind_blob(body);
  insert.step();
  if (insert.failed()) return disk_error("Writing");
  return set_meta("last_sequence", std::to_string(sequence));
}

Result<std::uint64_t> Outbox::put(v1::Lane lane, v1::Kind kind, const std::string& body,
                                  std::int64_t collected_at_ms, std::uint32_t ttl_s,
                                  const NoteMaker& together) {
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return pass(begun);
  if (auto kept = insert(lane, kind, body, collected_at_ms, ttl_s); !kept) return pass(kept);
  if (together) {
    if (auto kept = keep_note(together(last_sequence())); !kept) return pass(kept);
  }
  // The new report is inside already, so what it supersedes is known.
  if (auto room = make_room(); !room) return pass(room);
  const std::uint64_t given = last_sequence();
  if (auto committed = transaction.commit(); !committed) return pass(committed);
  return given;
}

Result<std::uint64_t> Outbox::put_together(
    const std::vector<Draft>& reports, std::int64_t collected_at_ms,
    const std::vector<OutboxNote>& notes) {
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return pass(begun);
  for (const Draft& report : reports) {
    if (auto kept = insert(report.lane, report.kind, report.body, collected_at_ms, 0); !kept)
      return pass(kept);
    if (auto room = make_room(); !room) return pass(room);
  }
  for (const OutboxNote& note : notes) {
    if (auto kept = keep_note(note); !kept) return pass(kept);
  }
  const std::uint64_t given = last_sequence();
  if (auto committed = transaction.commit(); !committed) return pass(committed);
  return given;
}

Result<std::vector<v1::Report>> Outbox::next(std::uint64_t after, std::size_t count_max,
                                             std::size_t bytes_max) {
  if (auto expired = expire(); !expired) return pass(expired);
  std::vector<v1::Report> reports;
  std::size_t bytes = 0;
  Statement find(db_,
                 "SELECT sequence, lane, kind, collected_at_ms, ttl_s, bytes, body FROM report "
                 "WHERE sequence > ? "
                 "ORDER BY sequence LIMIT ?");
  find.bind(signed_of(after)).bind(static_cast<std::int64_t>(count_max));
  while (find.step()) {
    bytes += static_cast<std::size_t>(find.number(5));
    if (!reports.empty() && bytes > bytes_max) return reports;
    v1::Report& report = reports.emplace_back();
    report.set_sequence(static_cast<std::uint64_t>(find.number(0)));
    report.set_lane(static_cast<v1::Lane>(find.number(1)));
    report.set_kind(static_cast<v1::Kind>(find.number(2)));
    report.set_collected_at_ms(find.number(3));
    report.set_ttl_s(static_cast<std::uint32_t>(find.number(4)));
    report.set_body(find.bytes(6));
  }
  if (find.failed()) return disk_error("Reading");
  return reports;
}

bool Outbox::has_waiting(v1::Kind kind) {
  Statement find(db_, "SELECT 1 FROM report WHERE kind = ? LIMIT 1");
  find.bind(kind);
  return find.step();
}

std::optional<std::uint64_t> Outbox::first_after(std::uint64_t after) {
  Statement find(db_, "SELECT sequence FROM report WHERE sequence > ? ORDER BY sequence LIMIT 1");
  find.bind(signed_of(after));
  if (!find.step()) return std::nullopt;
  return static_cast<std::uint64_t>(find.number(0));
}

void Outbox::note_sent(std::uint64_t sequence, std::int64_t at_ms) {
  sent_at_ms_[sequence] = at_ms;
}

Result<void> Outbox::stored(std::uint64_t first, std::uint64_t last, std::int64_t at_ms) {
  if (auto waiting = first_after(first ? first - 1 : 0); !waiting || *waiting > last) return {};
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  if (auto moved = move_to_history(first, last, "stored", "", "", at_ms, 0); !moved) return moved;
  return transaction.commit();
}

Result<void> Outbox::settled(std::uint64_t first, std::uint64_t last, const std::string& status,
                             const std::string& code, const std::string& message,
                             std::int64_t at_ms) {
  Transaction transaction(*this);
  if (auto begun = transaction.begun(); !begun) return begun;
  if (auto moved = move_to_history(first, last, status, code, message, 0, at_ms); !moved)
    return moved;
  {
    Statement update(db_,
                     "UPDATE history SET status = ?, code = ?, message = ?, settled_at_ms = ? "
                     "WHERE sequence BETWEEN ? AND ? AND status = 'stored'");
    update.bind(status)
        .bind(code.substr(0, text_characters_max))
        .bind(message.substr(0, text_characters_max))
        .bind(at_ms);
    update.bind(signed_of(first)).bind(signed_of(last));
    update.step();
    if (update.failed()) return disk_error("Writing");
  }
  return transaction.commit();
}

Fate Outbox::fate(std::uint64_t sequence) {
  {
    Statement waiting(db_, "SELECT 1 FROM report WHERE sequence = ?");
    waiting.bind(signed_of(sequence));
    // What cannot be read now is not lost for that.
    if (waiting.step() || waiting.failed()) return Fate::waiting;
  }
  Statement past(db_, "SELECT status FROM history WHERE sequence = ? ORDER BY id DESC LIMIT 1");
  past.bind(signed_of(sequence));
  if (!past.step()) return past.failed() ? Fate::waiting : Fate::lost;
  const std::string status = past.bytes(0);
  if (status == "rejected") return Fate::rejected;
  return status == "dropped" || status == "expired" ? Fate::lost : Fate::kept;
}

OutboxCount Outbox::count(std::optional<v1::Lane> lane) {
  Statement sum(
      db_, lane ? "SELECT count(*), sum(bytes), min(collected_at_ms) FROM report WHERE lane = ?"
                : "SELECT count(*), sum(bytes), min(collected_at_ms) FROM report");
  if (lane) sum.bind(*lane);
  if (!sum.step()) return {};
  return {sum.number(0), sum.number(1), sum.number(2)};
}

std::vector<HistoryEntry> Outbox::history(std::size_t count_max) {
  std::vector<HistoryEntry> entries;
  const auto limit = static_cast<std::int64_t>(count_max);
  {
    Statement waiting(
        db_,
        "SELECT sequence, kind, bytes, collected_at_ms FROM report ORDER BY sequence DESC LIMIT ?");
    waiting.bind(limit);
    while (waiting.step()) {
      HistoryEntry& entry = entries.emplace_back();
      entry.sequence = static_cast<std::uint64_t>(waiting.number(0));
      entry.kind = static_cast<v1::Kind>(waiting.number(1));
      entry.bytes = waiting.number(2) - row_overhead_bytes;
      entry.collected_at_ms = waiting.number(3);
      entry.status = "waiting";
    }
  }
  Statement past(db_,
                 "SELECT sequence, kind, bytes, collected_at_ms, sent_at_ms, stored_at_ms, "
                 "settled_at_ms, status, code, message "
                 "FROM history ORDER BY id DESC LIMIT ?");
  past.bind(limit - static_cast<std::int64_t>(entries.size()));
  while (past.step()) {
    HistoryEntry& entry = entries.emplace_back();
    entry.sequence = static_cast<std::uint64_t>(past.number(0));
    entry.kind = static_cast<v1::Kind>(past.number(1));
    entry.bytes = past.number(2);
    entry.collected_at_ms = past.number(3);
    entry.sent_at_ms = past.number(4);
    entry.stored_at_ms = past.number(5);
    entry.settled_at_ms = past.number(6);
    entry.status = past.bytes(7);
    entry.code = past.bytes(8);
    entry.message = past.bytes(9);
  }
  return entries;
}

}  // namespace greengate::agent
