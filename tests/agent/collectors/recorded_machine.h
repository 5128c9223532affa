#pragma once

#include "agent/collectors/collectors.h"
#include "core/clock.h"

#include <filesystem>
#include <string>
#include <string_view>

namespace greengate::test {

/// A recording of tests/data/machines copied to a place of its own, every file dated 2025-03-01
/// 08:00 UTC, so that a test may change it and dates taken from files are the same everywhere. Gone
/// with the object.
class RecordedMachine {
 public:
  /// An empty machine when `name` is empty.
  explicit RecordedMachine(const std::string& name);
  ~RecordedMachine();
  RecordedMachine(const RecordedMachine&) = delete;
  RecordedMachine& operator=(const RecordedMachine&) = delete;

  const std::filesystem::path& root() const { return root_; }
  agent::MachineView view() const;
  void write(const std::string& path, std::string_view content) const;
  void remove(const std::string& path) const;

 private:
  std::filesystem::path root_;
};

/// The moment all recordings are looked at: 2026-01-15 10:20:30 UTC. The expectations hold it.
class RecordingClock final : public Clock {
 public:
  WallTime wall() const override { return from_millis(1'768'472'430'000); }
  SteadyTime steady() const override { return SteadyTime(std::chrono::hours(1)); }
};

std::filesystem::path machines_folder();

/// The class of that name, or nullptr.
const v1::InventoryClass* find_class(const v1::HardwareInventory& inventory, std::string_view name);
/// One property of one instance; an unset value when there is none.
v1::Value value_of(const v1::HardwareInventory& inventory, std::string_view class_name, int row,
                   std::string_view property);
/// The row whose `property` is the text `value`; -1 when there is none.
int row_where(const v1::HardwareInventory& inventory, std::string_view class_name,
              std::string_view property, std::string_view value);

/// What every inventory must be, whatever the machine: bounded, named once, valid UTF-8 without
/// control characters, values only under declared properties. The first thing that is wrong, or
/// empty.
std::string what_is_wrong(const v1::HardwareInventory& inventory);
std::string what_is_wrong(const v1::Discovery& discovery);

}  // namespace greengate::test
