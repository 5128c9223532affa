// Starting: prepares the writer's statements and rebuilds the order and the accounting from disk.

#include "store/embedded/report_queue.h"

#include "core/log.h"

#include <algorithm>

namespace greengate::store {

namespace {

const Log log("store");

}  // namespace

Result<void> EmbeddedReportQueue::load(Database& database) {
  const std::pair<Statement*, const char*> wanted[] = {
      {&insert_report_, "INSERT INTO reports VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"},
      {&delete_report_, "DELETE FROM reports WHERE id = ?1"},
      {&insert_history_,
       "INSERT INTO history VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, "
       "?15)"},
      {&trim_history_, "DELETE FROM history WHERE place >= ?1 AND place < ?2"},
      {&insert_agent_, "INSERT INTO agents VALUES(?1, ?2, x'', 0)"},
      {&update_agent_, "UPDATE agents SET sequences = ?2, settled = ?3 WHERE no = ?1"},
      {&delete_progress_, "DELETE FROM progress WHERE id = ?1"},
      {&postpone_,
       "INSERT INTO progress(id, attempts, code, message) VALUES(?1, 1, ?2, ?3) "
       "ON CONFLICT(id) DO UPDATE SET attempts = attempts + 1, code = ?2, message = ?3"},
      {&pin_,
       "INSERT INTO progress(id, pinned, note) VALUES(?1, ?2, ?3) ON CONFLICT(id) DO UPDATE SET "
       "pinned = ?2, note = ?3"},
      {&bury_facts_,
       "INSERT INTO buried SELECT id, agent, incarnation, sequence, lane, kind, length(body), "
       "collected_at, kept_at, ?2, ?3, ?4, ?5, checksum, coalesce((SELECT note FROM progress "
       "WHERE progress.id = reports.id), '') FROM reports WHERE id = ?1"},
      {&bury_body_, "INSERT INTO buried_bodies SELECT id, body FROM reports WHERE id = ?1"},
      {&move_damaged_,
       "INSERT INTO damaged SELECT id, agent, incarnation, sequence, lane, kind, collected_at, "
       "kept_at, ?2, checksum, body "
       "FROM reports WHERE id = ?1"},
      {&read_facts_,
       "SELECT incarnation, sequence, lane, kind, length(body), collected_at, kept_at, "
       "coalesce((SELECT attempts FROM progress "
       "WHERE progress.id = reports.id), 0) FROM reports WHERE id = ?1"},
      {&raise_ceiling_,
       "INSERT INTO meta VALUES('id_ceiling', ?1) ON CONFLICT(key) DO UPDATE SET value = ?1"},
      {&oldest_letters_,
       "SELECT id, coalesce((SELECT length(body) FROM buried_bodies WHERE buried_bodies.id = buried.id), 0) "
       "FROM buried ORDER BY id LIMIT ?1"},
      {&oldest_bodies_, "SELECT id, length(body) FROM buried_bodies ORDER BY id LIMIT ?1"},
      {&read_letter_,
       "SELECT agent, lane, length(body) FROM buried JOIN buried_bodies ON buried_bodies.id = buried.id "
       "WHERE buried.id = ?1"},
      {&letter_bytes_,
       "SELECT coalesce((SELECT length(body) FROM buried_bodies WHERE buried_bodies.id = buried.id), 0) "
       "FROM buried WHERE id = ?1"},
      {&replay_,
       "INSERT INTO reports SELECT ?2, agent, incarnation, sequence, lane, kind, collected_at, ?3, 0, "
       "checksum, body FROM buried JOIN buried_bodies ON buried_bodies.id = buried.id WHERE buried.id = ?1"},
      {&mark_replayed_, "INSERT INTO progress(id, replayed) VALUES(?1, 1)"},
      {&delete_buried_, "DELETE FROM buried WHERE id = ?1"},
      {&delete_buried_body_, "DELETE FROM buried_bodies WHERE id = ?1"},
      {&put_baseline_, "INSERT OR REPLACE INTO baselines VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"},
      {&drop_baseline_, "DELETE FROM baselines WHERE place = ?1"},
  };
  for (const auto& [statement, sql] : wanted) {
    auto prepared = database.prepare(sql);
    if (!prepared) return pass(prepared);
    *statement = std::move(*prepared);
  }

  std::lock_guard lock(mutex_);
  std::unordered_map<std::uint64_t, Agent*> by_no;
  auto agents = database.prepare("SELECT no, id, sequences, settled FROM agents ORDER BY no");
  if (!agents) return pass(agents);
  Step step;
  while ((step = agents->step()) == Step::row) {
    next_agent_no_ = static_cast<std::uint32_t>(agents->number(0));
    Agent& agent = agent_of(AgentId(agents->text(1)));
    agent.on_disk = true;
    agent.sequences.unpack(agents->bytes(2));
    agent.settled = agents->number_unsigned(3);
    by_no.emplace(agent.no, &agent);
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the agents"));

  std::vector<std::uint64_t> replayed;  // few
  auto marks = database.prepare("SELECT id FROM progress WHERE replayed <> 0 ORDER BY id");
  if (!marks) return pass(marks);
  while ((step = marks->step()) == Step::row) replayed.push_back(marks->number_unsigned(0));
  if (step == Step::failed) return tl::unexpected(database.error("reading the replayed reports"));

  auto reports = database.prepare(
      "SELECT id, agent, incarnation, sequence, lane, kept_at, ttl_s, length(body) FROM reports "
      "ORDER BY id");
  if (!reports) return pass(reports);
  std::uint64_t last_id = 0;
  while ((step = reports->step()) == Step::row) {
    const std::uint64_t id = last_id = reports->number_unsigned(0);
    const auto owner = by_no.find(reports->number_unsigned(1));
    const std::uint64_t bytes = reports->number_unsigned(7);
    const std::int64_t kept_at = reports->number(5);
    if (owner == by_no.end() || bytes > kBodyBytesMax) {
      ++totals_.damaged;
      probe_.damaged_records.add();
      log.error("record belongs to nobody", kv("item", id));
      continue;
    }
    Agent& agent = *owner->second;
    // What was replayed, or is our own, says nothing of what the agent sent last.
    const std::uint64_t incarnation = reports->number_unsigned(2);
    if (incarnation != 0 && !std::binary_search(replayed.begin(), replayed.end(), id))
      agent.sequences.raise(incarnation, reports->number_unsigned(3), id);
    append(agent, waiting_entry(id, kept_at, static_cast<std::uint32_t>(reports->number(6)), bytes,
                                reports->number_unsigned(4)));
    ++totals_.waiting;
    totals_.waiting_bytes += bytes;
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the waiting reports"));

  // Few compared with the reports; each finds its own by its lane's order.
  auto progress = database.prepare(
      "SELECT progress.id, pinned, agent, lane FROM progress JOIN reports ON reports.id = progress.id "
      "ORDER BY progress.id");
  if (!progress) return pass(progress);
  while ((step = progress->step()) == Step::row) {
    const auto owner = by_no.find(progress->number_unsigned(2));
    if (owner == by_no.end()) continue;
    auto& place = place_of(*owner->second, lane_number(progress->number_unsigned(3)));
    if (!place) continue;
    auto& waiting = place->waiting;
    const std::uint64_t id = progress->number_unsigned(0);
    const auto entry = std::lower_bound(
        waiting.begin(), waiting.end(), id,
        [](const Waiting& candidate, std::uint64_t wanted_id) { return candidate.id < wanted_id; });
    if (entry == waiting.end() || entry->id != id) continue;
    entry->progress = 1;
    entry->pinned = progress->number_unsigned(1);
    if (entry->pinned != 0) ++place->pinned_waiting;
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the pinned reports"));

  const SteadyTime now = clock_.steady();
  // Who waits longest comes first, as before the restart.
  struct Head {
    std::uint64_t id;
    Agent* agent;
    std::uint32_t lane;
  };
  std::vector<Head> heads;
  for (Agent& agent : agents_) {
    for (std::uint32_t lane = 1; lane <= kLanes; ++lane) {
      if (const auto& place = place_of(agent, lane)) heads.push_back({place->waiting[place->head].id, &agent, lane});
    }
  }
  std::sort(heads.begin(), heads.end(), [](const Head& a, const Head& b) { return a.id < b.id; });
  for (const Head& head : heads) refresh_due(*head.agent, head.lane, now);

  const std::pair<const char*, std::uint64_t*> numbers[] = {
      {"SELECT count(*) FROM buried", &totals_.buried_now},
      {"SELECT coalesce(sum(length(body)), 0) FROM buried_bodies", &totals_.buried_bytes},
  };
  for (const auto& [sql, target] : numbers) {
    auto number = database.number(sql);
    if (!number) return pass(number);
    *target = static_cast<std::uint64_t>(*number);
  }
  totals_.buried_bytes += totals_.buried_now * kRowBytes;
  auto damaged = database.number("SELECT count(*) FROM damaged");
  if (!damaged) return pass(damaged);
  totals_.damaged += static_cast<std::uint64_t>(*damaged);
  auto ceiling = database.number("SELECT value FROM meta WHERE key = 'id_ceiling'", 1);
  if (!ceiling) return pass(ceiling);
  next_id_ = std::max(static_cast<std::uint64_t>(*ceiling), last_id + 1);
  id_ceiling_ = id_ceiling_on_disk_ = next_id_;
  return {};
}

}  // namespace greengate::store
