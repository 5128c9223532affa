#include "adapters/mp/hardware_inventory.h"

#include "adapters/mp/wire_time.h"
#include "core/check.h"
#include "greengate/v1/report.pb.h"

#include <algorithm>
#include <set>

namespace greengate::adapters {
namespace {

constexpr int columns_max = 1024;
constexpr std::string_view default_namespace = "root\\cimv2";

/// root and further names, parted by backslashes.
bool is_wmi_namespace(std::string_view text) {
  if (text.size() > 255) return false;
  for (bool first = true;; first = false) {
    const std::size_t end = text.find('\\');
    const std::string_view name = text.substr(0, end);
    if (!is_wmi_name(name) || (first && name != "root" && name != "ROOT")) return false;
    if (end == std::string_view::npos) return true;
    text.remove_prefix(end + 1);
  }
}

/// A name for a message to people: short, and without what a terminal would obey.
std::string in_quotes(std::string_view name) {
  std::string out = "\"";
  for (const char c : name.substr(0, 60)) out.push_back(c >= 0x20 && c < 0x7f ? c : '?');
  return out + (name.size() > 60 ? "…\"" : "\"");
}

ReportHeader header_for(InventoryKind kind) {
  ReportHeader header;
  header.action = InventoryAction::hardware;
  header.type = kind == InventoryKind::full ? "Full" : "Delta";
  return header;
}

}  // namespace

std::string_view content_name(InstanceContent content) {
  switch (content) {
    case InstanceContent::added:
      return "New";
    case InstanceContent::updated:
      return "Updated";
    case InstanceContent::deleted:
      return "Deleted";
  }
  return "";
}

HardwareInventoryWriter::HardwareInventoryWriter(const MpSettings& settings,
                                                 const MpIdentity& identity,
                                                 const ReportFacts& facts, InventoryKind kind)
    : settings_(settings),
      identity_(identity),
      facts_(facts),
      header_(header_for(kind)),
      to_(64 * 1024, settings.message_bytes_max) {
  full_begins_ = begin_inventory(to_, settings, identity, facts, header_);
}

Result<void> HardwareInventoryWriter::begin_class(const v1::InventoryClass& shape) {
  shape_ = nullptr;
  const std::string& name = shape.name();
  const std::string_view name_space =
      shape.name_space().empty() ? default_namespace : shape.name_space();
  if (!is_wmi_name(name))
    return fail(Remedy::reject, "mp.inventory_class",
                "An inventory class is named " + in_quotes(name) + ", which is no WMI name.");
  if (!is_wmi_namespace(name_space))
    return fail(
        Remedy::reject, "mp.inventory_namespace",
        "Class " + name + " lies in " + in_quotes(name_space) + ", which is no WMI namespace.");
  if (shape.properties_size() > columns_max)
    return fail(Remedy::reject, "mp.inventory_shape",
                "Class " + name + " has more than " + std::to_string(columns_max) + " properties.");

  columns_.clear();
  std::set<std::string_view> seen;
  for (const std::string& property : shape.properties()) {
    if (!is_wmi_name(property) || !seen.insert(property).second)
      return fail(Remedy::reject, "mp.inventory_property",
                  "Class " + name + " has a property " + in_quotes(property) +
                      ", which is no WMI name or there twice.");
    columns_.push_back(
        {wide_markup("<" + property + ">"), wide_markup("</" + property + ">"), false});
  }
  for (const std::uint32_t key : shape.key_properties()) {
    if (key >= columns_.size())
      return fail(Remedy::reject, "mp.inventory_shape",
                  "Class " + name + " names a key property it does not have.");
    columns_[key].key = true;
  }

  XmlWriter open(512);
  open.markup("<Instance ParentClass=\"" + name + "\" Class=\"" + name + "\" Namespace=\"\\\\");
  open.attribute(identity_.netbios_name);
  open.markup("\\");
  open.markup(name_space);
  open.markup("\" Content=\"");
  open_ = open.take();
  opened_ = wide_markup("\"><" + name + ">");
  close_ = wide_markup("</" + name + "></Instance>");
  shape_ = &shape;
  return {};
}

Result<void> HardwareInventoryWriter::instance(const v1::InventoryInstance& instance,
                                               InstanceContent content) {
  GREENGATE_CHECK(shape_, "an instance follows the class it is of");
  if (static_cast<std::size_t>(instance.values_size()) > columns_.size())
    return fail(
        Remedy::reject, "mp.inventory_shape",
        "An instance of " + shape_->name() + " has more values than its class has properties.");
  const bool keys_only = content == InstanceContent::deleted;
  if (keys_only &&
      std::none_of(columns_.begin(), columns_.end(), [](const Column& c) { return c.key; }))
    return fail(Remedy::reject, "mp.inventory_shape",
                "Class " + shape_->name() + " has no key, so no instance of it can be deleted.");

  to_.wide(open_);
  to_.markup(content_name(content));
  to_.wide(opened_);
  for (std::size_t column = 0; column < static_cast<std::size_t>(instance.values_size()); ++column)
    if (!keys_only || columns_[column].key) value(column, instance);
  to_.wide(close_);
  ++instances_;
  if (to_.size() > settings_.message_bytes_max)
    return fail(Remedy::reject, "mp.message_too_large",
                "The inventory is larger than the " + std::to_string(settings_.message_bytes_max) +
                    " bytes that are sent.");
  return {};
}

void HardwareInventoryWriter::value(std::size_t column, const v1::InventoryInstance& instance) {
  const v1::Value& given = instance.values(static_cast<int>(column));
  const Column& property = columns_[column];
  const auto put = [&](auto&& write) {
    to_.wide(property.open);
    write();
    to_.wide(property.close);
  };
  switch (given.kind_case()) {
    case v1::Value::kText:
      put([&] { to_.text(given.text()); });
      break;
    case v1::Value::kInteger:
      put([&] { to_.number(given.integer()); });
      break;
    case v1::Value::kUnsignedInteger:
      put([&] { to_.unsigned_number(given.unsigned_integer()); });
      break;
    case v1::Value::kBoolean:
      put([&] { to_.markup(given.boolean() ? "1" : "0"); });
      break;
    case v1::Value::kDate:
      put([&] { to_.text(given.date()); });
      break;
    case v1::Value::kTimeMs:
      // A time no calendar of CIM's has is one we do not know.
      if (const auto text = cim_datetime(given.time_ms())) put([&] { to_.markup(*text); });
      break;
    case v1::Value::kList:
      for (const std::string& item : given.list().items()) put([&] { to_.text(item); });
      break;
    case v1::Value::KIND_NOT_SET:
      break;
  }
}

Result<OutgoingMessage> HardwareInventoryWriter::finish() {
  if (instances_ == 0)
    return fail(Remedy::reject, "mp.inventory_empty",
                "The inventory has no instances; a site would delete what it has.");
  return assemble(settings_, identity_, facts_,
                  end_inventory(to_, settings_, header_, "MP_HinvEndpoint", full_begins_));
}

Result<OutgoingMessage> hardware_inventory_message(const MpSettings& settings,
                                                   const MpIdentity& identity,
                                                   const ReportFacts& facts,
                                                   const v1::HardwareInventory& inventory) {
  HardwareInventoryWriter writer(settings, identity, facts, InventoryKind::full);
  for (const v1::InventoryClass& each : inventory.classes()) {
    auto begun = writer.begin_class(each);
    if (!begun) return pass(begun);
    for (const v1::InventoryInstance& one : each.instances()) {
      auto written = writer.instance(one, InstanceContent::added);
      if (!written) return pass(written);
    }
  }
  return writer.finish();
}

}  // namespace greengate::adapters
