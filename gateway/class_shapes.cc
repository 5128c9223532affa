#include "gateway/class_shapes.h"

#include "workers/baseline_form.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <boost/json.hpp>

#include <vector>

namespace greengate::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t inventories_max = 200;

const char* type_of(const v1::InventoryClass& one, int column) {
  for (const v1::InventoryInstance& row : one.instances()) {
    if (column >= row.values_size()) continue;
    switch (row.values(column).kind_case()) {
      case v1::Value::KIND_NOT_SET: continue;
      case v1::Value::kInteger: return "integer";
      case v1::Value::kUnsignedInteger: return "unsigned";
      case v1::Value::kBoolean: return "boolean";
      case v1::Value::kTimeMs: return "datetime";
      case v1::Value::kList: return "list";
      case v1::Value::kText:
      case v1::Value::kDate: return "string";
    }
  }
  return "string";  // no instance has it
}

json::object shape_of(const v1::InventoryClass& one) {
  json::array keys;
  for (const std::uint32_t key : one.key_properties()) {
    if (key < static_cast<std::uint32_t>(one.properties_size())) keys.push_back(json::value(one.properties(static_cast<int>(key))));
  }
  json::object properties;
  for (int column = 0; column < one.properties_size(); ++column) properties[one.properties(column)] = type_of(one, column);
  return json::object{{"class", one.name()},
                      {"namespace", one.name_space().empty() ? std::string("root\\cimv2") : one.name_space()},
                      {"keys", std::move(keys)},
                      {"properties", std::move(properties)}};
}

}  // namespace

Result<json::value> class_shape(store::DeviceRegistry& devices, store::Baselines& baselines, const std::string& class_name) {
  std::vector<AgentId> agents;
  devices.for_each([&](const store::Device& device) {
    if (device.state == store::DeviceState::active) agents.push_back(device.id);
  });
  std::size_t looked_at = 0;
  for (const AgentId& agent : agents) {
    auto baseline = baselines.find(agent, v1::KIND_HARDWARE_INVENTORY);
    if (!baseline) return pass(baseline);
    if (!*baseline) continue;
    if (++looked_at > inventories_max) break;
    const auto form = workers::read_baseline((*baseline)->body);
    v1::HardwareInventory inventory;
    if (!form || !inventory.ParseFromString(form->plain)) continue;  // the next delivery says so and sends it whole
    for (const v1::InventoryClass& one : inventory.classes()) {
      if (one.name() == class_name) return json::value(shape_of(one));
    }
  }
  return fail(Remedy::reject, "admin.not_found", "no inventory looked at has a class called \"" + class_name + "\".");
}

}  // namespace greengate::gateway
