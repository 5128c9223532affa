#pragma once

#include "adapters/mp/hardware_inventory.h"
#include "greengate/v1/report.pb.h"
#include "tests/adapters/mp/fixture.h"

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace greengate::test {

/// The reports from which the samples of tests/data/mp come out.
v1::Discovery sample_discovery();
v1::HardwareInventory sample_inventory();
Result<adapters::OutgoingMessage> sample_delta(const adapters::MpSettings& settings);
v1::SoftwareFile sample_file();
std::vector<v1::StateMessage> sample_states();
v1::StatusMessage sample_status();
/// Once used by one user, which the sample's own form has no place for.
v1::MeteringData sample_metering();
/// agent.conf: 812 bytes, as the sample says.
std::string sample_file_bytes();
v1::IdMif sample_idmif();

// Tables and values, told shortly.

inline void set(v1::Value* value, const char* text) {
  value->set_text(text);
}
inline void set(v1::Value* value, bool truth) {
  value->set_boolean(truth);
}
inline void set(v1::Value* value, int number) {
  value->set_integer(number);
}
inline void set(v1::Value* value, WallTime time) {
  value->set_time_ms(to_millis(time));
}
inline void set(v1::Value* value, v1::Value given) {
  *value = std::move(given);
}

inline v1::Value date(const char* text) {
  v1::Value value;
  value.set_date(text);
  return value;
}

inline v1::Value list(std::initializer_list<const char*> items) {
  v1::Value value;
  for (const char* item : items) value.mutable_list()->add_items(item);
  return value;
}

inline v1::InventoryClass* add_class(v1::HardwareInventory& to, const char* name, const char* name_space,
                              std::initializer_list<const char*> properties,
                              std::initializer_list<std::uint32_t> keys) {
  auto* made = to.add_classes();
  made->set_name(name);
  made->set_name_space(name_space);
  for (const char* property : properties) made->add_properties(property);
  for (const std::uint32_t key : keys) made->add_key_properties(key);
  return made;
}

template <class... V>
void add_row(v1::InventoryClass* to, V... values) {
  auto* row = to->add_instances();
  (set(row->add_values(), values), ...);
}

inline WallTime on(int year, unsigned month, unsigned day, int hour) {
  using namespace std::chrono;
  return sys_days(year_month_day(std::chrono::year(year), std::chrono::month(month),
                                 std::chrono::day(day))) +
         hours(hour);
}

}  // namespace greengate::test
