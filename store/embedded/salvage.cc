#include "store/embedded/salvage.h"

#include "core/log.h"

#include <string_view>

namespace greengate::store {

namespace {

const Log log("store");

/// In the order of their worth: identities first.
constexpr const char* kTables[][2] = {
    {"devices", "id"},       {"tokens", "id"},  {"counters", "agent, name"}, {"meta", "key"},
    {"agents", "no"},        {"reports", "id"}, {"progress", "id"},          {"buried", "id"},
    {"buried_bodies", "id"}, {"damaged", "id"}, {"history", "place"},
};

/// Copies rows until the end or the damage. True when it reached the end.
bool copy(Database& source, Database& target, const std::string& table, const std::string& order,
          std::uint64_t& rows) {
  auto from = source.prepare("SELECT * FROM " + table + " ORDER BY " + order);
  if (!from) return false;
  std::string parameters;
  for (int column = 0; column < from->columns(); ++column) {
    parameters += (column ? ", ?" : "?") + std::to_string(column + 1);
  }
  auto into = target.prepare("INSERT OR IGNORE INTO " + table + " VALUES(" + parameters + ")");
  if (!into) return false;
  Step step;
  while ((step = from->step()) == Step::row) {
    for (int column = 0; column < from->columns(); ++column)
      into->bind_column(column + 1, *from, column);
    // A row the new file does not take (its own bytes are damaged) must not cost the ones behind
    // it; a full disk shows at COMMIT.
    if (into->run() && target.changes() > 0) ++rows;
  }
  return step == Step::done;
}

}  // namespace

Result<Salvaged> salvage_rows(const std::string& damaged_path, Database& target,
                              const DatabaseOptions& options) {
  Salvaged saved;
  auto source = Database::open(damaged_path, Database::Use::reading, options);
  if (!source) {
    log.error("nothing salvaged", kv("why", source.error().message));
    saved.tables_cut_short = std::size(kTables);
    return saved;
  }
  for (const auto& [table, key] : kTables) {
    if (auto began = target.execute("BEGIN IMMEDIATE"); !began) return pass(began);
    const bool whole = copy(*source, target, table, key, saved.rows);
    if (!whole) {
      ++saved.tables_cut_short;
      std::string backwards = key;
      if (const auto comma = backwards.find(','); comma != std::string::npos)
        backwards.insert(comma, " DESC");
      copy(*source, target, table, backwards + " DESC", saved.rows);
    }
    if (auto written = target.execute("COMMIT"); !written) return pass(written);
  }
  return saved;
}

}  // namespace greengate::store
