// Dead letters: looks at them, puts them back in their lanes, forgets them, and keeps them within their bounds.

#include "store/embedded/report_queue.h"

#include "core/log.h"
#include "store/embedded/report_queue_errors.h"
#include "store/embedded/report_row.h"
#include "store/embedded/waited_change.h"

#include <algorithm>
#include <limits>

namespace greengate::store {

namespace {

const Log log("store");

// One transaction's share, so that the writer never stands still for a long list.
constexpr std::size_t kReplayedAtOnce = 64;
constexpr std::size_t kDiscardedAtOnce = 1'000;
constexpr std::int64_t kTrimmedAtOnce = 1'000;

tl::unexpected<Error> no_letter(const char* why) {
  return fail(Remedy::reject, "queue.no_letter", why);
}

/// Calls `some(first, last)` for a long list's parts and adds up; ends at the first failure.
template <class Some>
Result<std::uint32_t> in_parts(const std::vector<ItemId>& all, std::size_t part, const Some& some) {
  std::uint32_t sum = 0;
  for (std::size_t first = 0; first < all.size(); first += part) {
    auto done = some(all.data() + first, all.data() + std::min(all.size(), first + part));
    if (!done) return pass(done);
    sum += *done;
  }
  return sum;
}

}  // namespace

Result<std::vector<DeadLetter>> EmbeddedReportQueue::dead_letters(const DeadLetterFilter& filter,
                                                                  std::uint32_t count_max) {
  std::vector<DeadLetter> letters;
  const std::uint32_t no = filter.agent ? number_of(*filter.agent) : 0;
  if (filter.agent && no == 0) return letters;
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(queue_error(reader.error()));
  Database& database = (*reader)->database;
  auto row = database.prepare(
      "SELECT incarnation, sequence, lane, kind, collected_at, kept_at, id, bytes, buried_at, attempts, "
      "code, message, (SELECT agents.id FROM agents WHERE no = buried.agent), "
      "EXISTS(SELECT 1 FROM buried_bodies WHERE buried_bodies.id = buried.id) FROM buried "
      "WHERE id > ?1 AND (?2 = 0 OR agent = ?2) AND (?3 = '' OR code = ?3) AND (?4 < 0 OR kind = ?4) "
      "ORDER BY id LIMIT ?5");
  if (!row) return tl::unexpected(queue_error(row.error()));
  constexpr std::uint64_t id_max = std::numeric_limits<std::int64_t>::max();
  row->bind_unsigned(1, std::min(filter.above, id_max));
  row->bind(2, no);
  row->bind_text(3, filter.code);
  row->bind(4, filter.kind ? std::int64_t{*filter.kind} : -1);
  row->bind(5, count_max);
  Step step;
  while ((step = row->step()) == Step::row) {
    DeadLetter& letter = letters.emplace_back();
    read_facts(letter, AgentId(row->text(12)), row->number_unsigned(6), *row);
    letter.bytes = row->number_unsigned(7);
    letter.buried_at = from_millis(row->number(8));
    letter.attempts = static_cast<std::uint32_t>(row->number(9));
    letter.code = row->text(10);
    letter.message = row->text(11);
    letter.has_body = row->number(13) != 0;
  }
  if (step == Step::failed)
    return tl::unexpected(queue_error(database.error("reading the dead letters")));
  return letters;
}

Result<LeasedReport> EmbeddedReportQueue::dead_letter(ItemId id) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(queue_error(reader.error()));
  Database& database = (*reader)->database;
  auto row = database.prepare(
      "SELECT incarnation, sequence, lane, kind, collected_at, kept_at, attempts, note, checksum, "
      "(SELECT agents.id FROM agents WHERE no = buried.agent), body FROM buried "
      "JOIN buried_bodies ON buried_bodies.id = buried.id WHERE buried.id = ?1");
  if (!row) return tl::unexpected(queue_error(row.error()));
  row->bind_unsigned(1, id.raw());
  const Step step = row->step();
  if (step == Step::done)
    return no_letter("There is no such dead letter, or it gave up its body to make room.");
  if (step == Step::failed && !database.damaged())
    return tl::unexpected(queue_error(database.error("reading a dead letter")));
  LeasedReport letter;
  if (step == Step::row) {
    read_facts(letter, AgentId(row->text(9)), id.raw(), *row);
    letter.attempt = static_cast<std::uint32_t>(row->number(6)) + 1;
    letter.note = row->text(7);
    letter.body = row->text(10);
  }
  if (step != Step::row ||
      checksum(letter.name.agent, letter.name.incarnation, letter.name.sequence,
               static_cast<std::uint32_t>(letter.lane), letter.kind,
               letter.body) != static_cast<std::uint32_t>(row->number(8))) {
    probe_.damaged_records.add();
    log.error("dead letter damaged", kv("item", id.raw()));
    return no_letter("The dead letter's bytes no longer match its checksum.");
  }
  return letter;
}

Result<std::uint32_t> EmbeddedReportQueue::replay(const std::vector<ItemId>& letters) {
  return in_parts(letters, kReplayedAtOnce, [this](const ItemId* first, const ItemId* last) -> Result<std::uint32_t> {
    std::uint32_t back = 0;
    std::uint64_t bytes = 0;
    const auto apply = [&](Database& database) -> Result<void> {
      back = 0;
      bytes = 0;
      look_at_disk();
      for (const ItemId* id = first; id != last; ++id) {
        auto body_bytes = apply_replay(database, id->raw());
        if (!body_bytes) return pass(body_bytes);
        if (!*body_bytes) continue;
        ++back;
        bytes += **body_bytes + kRowBytes;
      }
      return {};
    };
    const auto committed = [&] {
      std::lock_guard lock(mutex_);
      totals_.buried_now -= back;
      totals_.buried_bytes -= bytes;
      totals_.replayed += back;
      probe_.replayed.add(back);
    };
    auto done = WaitedChange::run(*writer_, apply, committed);
    if (!done) return tl::unexpected(queue_error(done.error()));
    return back;
  });
}

/// The body's bytes when it went back; nothing when it stays where it is.
Result<std::optional<std::uint64_t>> EmbeddedReportQueue::apply_replay(Database& database, std::uint64_t letter) {
  std::uint32_t no = 0, lane = 0;
  std::uint64_t bytes = 0;
  {
    const ResetAtEnd reset(read_letter_);
    read_letter_.bind_unsigned(1, letter);
    const Step step = read_letter_.step();
    if (step == Step::failed) return tl::unexpected(database.error("reading a dead letter"));
    if (step == Step::done) return std::optional<std::uint64_t>();
    no = static_cast<std::uint32_t>(read_letter_.number(0));
    lane = lane_number(read_letter_.number_unsigned(1));
    bytes = read_letter_.number_unsigned(2);
  }
  const std::int64_t kept_at = to_millis(clock_.wall());
  std::uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    Agent* agent = agent_numbered(no);
    if (!agent || !room_for(static_cast<Lane>(lane), bytes)) return std::optional<std::uint64_t>();
    auto next = next_id(database);
    if (!next) return pass(next);
    id = *next;
    Waiting entry = waiting_entry(id, kept_at, 0, bytes, lane);
    entry.progress = 1;
    added_.push_back({agent, entry, true});
    added_bytes_ += bytes + kRowBytes;
  }
  replay_.bind_unsigned(1, letter);
  replay_.bind_unsigned(2, id);
  replay_.bind(3, kept_at);
  mark_replayed_.bind_unsigned(1, id);
  if (!replay_.run() || !mark_replayed_.run())
    return tl::unexpected(database.error("putting a dead letter back"));
  if (auto gone = delete_letter(database, letter); !gone) return pass(gone);
  return std::optional(bytes);
}

Result<void> EmbeddedReportQueue::delete_letter(Database& database, std::uint64_t letter) {
  delete_buried_.bind_unsigned(1, letter);
  delete_buried_body_.bind_unsigned(1, letter);
  if (!delete_buried_.run() || !delete_buried_body_.run())
    return tl::unexpected(database.error("deleting a dead letter"));
  return {};
}

Result<std::uint32_t> EmbeddedReportQueue::discard(const std::vector<ItemId>& letters) {
  return in_parts(letters, kDiscardedAtOnce, [this](const ItemId* first, const ItemId* last) -> Result<std::uint32_t> {
    std::uint32_t gone = 0;
    std::uint64_t bytes = 0;
    const auto apply = [&](Database& database) -> Result<void> {
      gone = 0;
      bytes = 0;
      for (const ItemId* id = first; id != last; ++id) {
        {
          const ResetAtEnd reset(letter_bytes_);
          letter_bytes_.bind_unsigned(1, id->raw());
          const Step step = letter_bytes_.step();
          if (step == Step::failed) return tl::unexpected(database.error("reading a dead letter"));
          if (step == Step::done) continue;
          ++gone;
          bytes += letter_bytes_.number_unsigned(0) + kRowBytes;
        }
        if (auto deleted = delete_letter(database, id->raw()); !deleted) return deleted;
      }
      return {};
    };
    const auto committed = [&] {
      std::lock_guard lock(mutex_);
      totals_.buried_now -= gone;
      totals_.buried_bytes -= bytes;
    };
    auto done = WaitedChange::run(*writer_, apply, committed);
    if (!done) return tl::unexpected(queue_error(done.error()));
    return gone;
  });
}

/// Keeps dead letters within their bounds: the oldest give up their bodies, and the oldest of too many go altogether.
class EmbeddedReportQueue::TrimBuriedChange final : public Change {
 public:
  TrimBuriedChange(EmbeddedReportQueue& queue, std::uint64_t bytes_over, std::uint64_t letters_over)
      : queue_(queue), bytes_over_(bytes_over), letters_over_(letters_over) {}

  Result<void> apply(Database& database) override {
    bytes_ = 0;
    auto letters = oldest(database, queue_.oldest_letters_, kRowBytes, ~std::uint64_t{0}, letters_over_);
    if (!letters) return pass(letters);
    for (const std::uint64_t id : *letters) {
      if (auto deleted = queue_.delete_letter(database, id); !deleted) return deleted;
    }
    letters_ = letters->size();
    auto bodies = oldest(database, queue_.oldest_bodies_, 0, bytes_over_, kTrimmedAtOnce);
    if (!bodies) return pass(bodies);
    for (const std::uint64_t id : *bodies) {
      queue_.delete_buried_body_.bind_unsigned(1, id);
      if (!queue_.delete_buried_body_.run())
        return tl::unexpected(database.error("deleting a dead letter's body"));
    }
    bodies_ = bodies->size();
    return {};
  }
  void finish(const Error* failure) override {
    queue_.trimming_buried_ = false;
    if (failure) return;
    {
      std::lock_guard lock(queue_.mutex_);
      queue_.totals_.buried_now -= letters_;
      queue_.totals_.buried_bytes -= bytes_;
    }
    log.warn("oldest dead letters cut", kv("reports", letters_ + bodies_), kv("bytes", bytes_));
  }

 private:
  /// Ids from the oldest on, until `bytes_` has reached its bound or there are enough.
  Result<std::vector<std::uint64_t>> oldest(Database& database, Statement& statement, std::uint64_t row_bytes,
                                            std::uint64_t bytes_max, std::uint64_t count_max) {
    std::vector<std::uint64_t> ids;
    const ResetAtEnd reset(statement);
    statement.bind(1, std::min(kTrimmedAtOnce, static_cast<std::int64_t>(count_max)));
    Step step = Step::done;
    while (bytes_ < bytes_max && (step = statement.step()) == Step::row) {
      ids.push_back(statement.number_unsigned(0));
      bytes_ += statement.number_unsigned(1) + row_bytes;
    }
    if (step == Step::failed)
      return tl::unexpected(database.error("reading the oldest dead letters"));
    return ids;
  }

  EmbeddedReportQueue& queue_;
  const std::uint64_t bytes_over_, letters_over_;
  std::uint64_t bytes_ = 0;
  std::size_t letters_ = 0, bodies_ = 0;
};

void EmbeddedReportQueue::trim_buried() {
  // The reasons alone may take half of the room, so that there is always a body left to give up.
  const std::uint64_t letters_max =
      std::min(settings_.buried_max, std::max<std::uint64_t>(1, settings_.buried_bytes_max / 2 / kRowBytes));
  std::uint64_t bytes_over = 0, letters_over = 0;
  {
    std::lock_guard lock(mutex_);
    if (totals_.buried_bytes > settings_.buried_bytes_max)
      bytes_over = totals_.buried_bytes - settings_.buried_bytes_max;
    if (totals_.buried_now > letters_max) letters_over = totals_.buried_now - letters_max;
  }
  if ((bytes_over == 0 && letters_over == 0) || trimming_buried_) return;
  trimming_buried_ = true;  // a second one would drop as much again
  writer_->submit(std::make_unique<TrimBuriedChange>(*this, bytes_over, letters_over));
}

}  // namespace greengate::store
