#pragma once

#include "store/embedded/embedded_store.h"
#include "tests/store/store_fixture.h"

#include <sqlite3.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace greengate::test {

/// Turns a file of the newest schema into one of the first.
inline constexpr const char* kToFirstSchema =
    "DROP TABLE entries; DROP TABLE actions; DROP TABLE baselines; DROP TABLE facts; ALTER TABLE progress DROP COLUMN replayed; ALTER TABLE buried DROP COLUMN note;"
    "PRAGMA user_version = 1";

/// The embedded store with options of the test's own, and a look at its file.
class EmbeddedStore : public StoreTest {
 protected:
  EmbeddedStore() {
    kind_.open = [this](const store::StoreConfig& config, const Clock& clock, Metrics& metrics) {
      return store::open_embedded(config, options_, clock, metrics);
    };
  }
  std::string path() const { return directory_.path() + "/greengate.db"; }
  /// Changes the closed file as nobody should.
  void sql(const char* statement) {
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(database, statement, nullptr, nullptr, &message), SQLITE_OK) << message;
    sqlite3_free(message);
    sqlite3_close(database);
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path()))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
  std::size_t set_aside() const {
    std::size_t count = 0;
    for (const auto& name : files())
      count += name.starts_with("greengate.db.damaged-") && !name.ends_with("-wal") &&
               !name.ends_with("-shm");
    return count;
  }
  /// Waits for the writer's housekeeping, with a bound.
  static bool eventually(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
  double metric(const std::string& line) const {
    const std::string text = metrics_.render();
    const auto at = text.find("\n" + line + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + line.size() + 2));
  }

  store::EmbeddedOptions options_;
};

}  // namespace greengate::test
