#include "store/embedded/salvage.h"

#include "core/log.h"

#include <string_view>

namespace greengate::store {

namespace {

const Log log("store");

/// In the order of their worth: identities first.
constexpr const char* kTables[][2] = {
    {"devices", "id"},       {"tokens", "id"},      {"counters", "agent, name"}, {"meta", "key"},
    {"agents", "no"},        {"reports", "id"},     {"progress", "id"},          {"buried", "id"},
    {"buried_bodies", "id"}, {"facts", "agent, name"}, {"baselines", "place"},   {"actions", "id"},
    {"entries", "id"},       {"damaged", "id"},     {"history", "place"},
};

/// A file of an older schema has fewer tables, which is no damage.
bool is_there(Database& source, const std::string& table) {
  const std::string count = "SELECT count(*) FROM sqlite_schema WHERE name = '" + table + "'";
  const auto found = source.number(count.c_str());
  return !found || *found > 0;
}

/// Copies rows until the end or the damage. True when it reached the end.
bool copy(Database& source, Database& target, const std::string& table, const std::string& order,
          std::uint64_t& rows) {
  auto from = source.prepare("SELECT * FROM " + table + " ORDER BY " + order);
  if (!from) return false;
  // By name: a file of an older schema lacks columns, which then have their defaults.
  std::string names, parameters;
  for (int column = 0; column < from->columns(); ++column) {
    names += (column ? ", " : "") + from->column_name(column);
    parameters += (column ? ", ?" : "?") + std::to_string(column + 1);
  }
  auto into = target.prepare("INSERT OR IGNORE INTO " + table + "(" + names + ") VALUES(" + parameters + ")");
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
    if (!is_there(*source, table)) continue;
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
  // Nobody can tell any more what these were to do.
  if (auto dropped = target.execute("DELETE FROM entries WHERE action NOT IN (SELECT id FROM actions)"); !dropped) return pass(dropped);
  return saved;
}

}  // namespace greengate::store
