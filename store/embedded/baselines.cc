#include "store/embedded/baselines.h"

#include "core/log.h"
#include "store/embedded/report_queue.h"

#include <libdeflate.h>

#include <array>

namespace greengate::store {

namespace {

const Log log("store");

tl::unexpected<Error> baseline_error(const Error& failure) {
  return fail(Remedy::retry, "baseline.disk", failure.message);
}

}  // namespace

std::uint32_t baseline_checksum(const AgentId& agent, std::uint32_t kind, std::uint64_t major,
                                std::uint64_t minor, std::int64_t full_at, std::int64_t moved_at,
                                std::string_view body) {
  const std::array<std::uint64_t, 5> facts{kind, major, minor, static_cast<std::uint64_t>(full_at),
                                           static_cast<std::uint64_t>(moved_at)};
  std::uint32_t crc = libdeflate_crc32(0, facts.data(), sizeof facts);
  crc = libdeflate_crc32(crc, agent.raw().data(), agent.raw().size());
  return libdeflate_crc32(crc, body.data(), body.size());
}

Result<std::optional<Baseline>> EmbeddedBaselines::find(const AgentId& agent, std::uint32_t kind) {
  const std::uint32_t no = queue_.number_of(agent);
  if (no == 0) return std::optional<Baseline>();
  auto reader = readers_.borrow();
  if (!reader) return baseline_error(reader.error());
  Database& database = (*reader)->database;
  Statement& row = (*reader)->baseline;
  const ResetAtEnd reset(row);
  row.bind_unsigned(1, baseline_place(no, kind));
  const Step step = row.step();
  if (step == Step::done) return std::optional<Baseline>();
  if (step == Step::failed && !database.damaged())
    return baseline_error(database.error("reading a baseline"));
  Baseline found;
  if (step == Step::row) {
    found.kind = kind;
    found.major = row.number_unsigned(0);
    found.minor = row.number_unsigned(1);
    found.full_at = from_millis(row.number(2));
    found.moved_at = from_millis(row.number(3));
    found.body = row.text(5);
    found.bytes = found.body.size();
  }
  if (step != Step::row ||
      baseline_checksum(agent, kind, found.major, found.minor, row.number(2), row.number(3),
                        found.body) != static_cast<std::uint32_t>(row.number(4))) {
    probe_.damaged_baselines.add();
    log.error("baseline damaged", kv("agent", agent.raw()), kv("kind", kind));
    return std::optional<Baseline>();
  }
  return std::optional(std::move(found));
}

Result<std::vector<Baseline>> EmbeddedBaselines::list(const AgentId& agent) {
  std::vector<Baseline> all;
  const std::uint32_t no = queue_.number_of(agent);
  if (no == 0) return all;
  auto reader = readers_.borrow();
  if (!reader) return baseline_error(reader.error());
  Database& database = (*reader)->database;
  auto rows = database.prepare(
      "SELECT place & 0xffffffff, major, minor, full_at, moved_at, length(body) FROM baselines "
      "WHERE place >= ?1 AND place < ?2 ORDER BY place");
  if (!rows) return baseline_error(rows.error());
  rows->bind_unsigned(1, baseline_place(no, 0));
  rows->bind_unsigned(2, baseline_place(no + 1, 0));
  Step step;
  while ((step = rows->step()) == Step::row) {
    Baseline& baseline = all.emplace_back();
    baseline.kind = static_cast<std::uint32_t>(rows->number(0));
    baseline.major = rows->number_unsigned(1);
    baseline.minor = rows->number_unsigned(2);
    baseline.full_at = from_millis(rows->number(3));
    baseline.moved_at = from_millis(rows->number(4));
    baseline.bytes = rows->number_unsigned(5);
  }
  if (step == Step::failed) return baseline_error(database.error("reading a device's baselines"));
  return all;
}

}  // namespace greengate::store
