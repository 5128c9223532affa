#include "tests/agent/collectors/recorded_machine.h"

#include "agent/collectors/limits.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <system_error>

namespace greengate::test {
namespace fs = std::filesystem;
namespace limits = agent::limits;

namespace {

void set_date(const fs::path& path) {
  const timespec date{1'740'816'000, 0};  // 2025-03-01 08:00 UTC
  const timespec both[2] = {date, date};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), both, AT_SYMLINK_NOFOLLOW), 0) << path;
}

// A check of its own, not the product's: strict UTF-8 as RFC 3629 has it.
bool is_clean(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
    };
    const unsigned first = byte(i);
    if (first < 0x20 || first == 0x7F) return false;
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    if (first == 0xC2 && byte(i + 1) < 0xA0) return false;  // C1 controls
    if (first == 0xE0 && byte(i + 1) < 0xA0) return false;  // too long a form
    if (first == 0xED && byte(i + 1) > 0x9F) return false;  // surrogates
    if (first == 0xF0 && byte(i + 1) < 0x90) return false;
    if (first == 0xF4 && byte(i + 1) > 0x8F) return false;
    if (first == 0xEF && byte(i + 1) == 0xBF && byte(i + 2) >= 0xBE) return false;  // not in XML
    i += length;
  }
  return true;
}

std::string wrong_with_text(const std::string& text, const std::string& where) {
  if (text.size() > limits::text_bytes) return where + " is longer than its bound";
  if (!is_clean(text)) return where + " is not clean text";
  return {};
}

std::size_t rows_max(const std::string& class_name) {
  if (class_name == "Win32_Process") return limits::processes;
  if (class_name == "Win32_Service") return limits::services;
  if (class_name == "Win32Reg_AddRemovePrograms") return limits::packages;
  if (class_name == "Win32_DiskPartition") return limits::partitions;
  if (class_name == "SMS_Processor") return limits::processors;
  return 512;
}

}  // namespace

fs::path machines_folder() {
  return fs::path(GREENGATE_SOURCE_DIR) / "tests/data/machines";
}

RecordedMachine::RecordedMachine(const std::string& name) {
  std::string place = (fs::temp_directory_path() / "greengate-machine-XXXXXX").string();
  if (!mkdtemp(place.data())) std::abort();
  root_ = place;
  if (!name.empty()) {
    fs::copy(machines_folder() / name, root_,
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  }
  for (const auto& entry : fs::recursive_directory_iterator(root_)) set_date(entry.path());
}

RecordedMachine::~RecordedMachine() {
  std::error_code ignored;  // a leftover in the temporary folder harms no test
  fs::remove_all(root_, ignored);
}

agent::MachineView RecordedMachine::view() const {
  agent::MachineView view;
  view.root = root_;
  return view;
}

void RecordedMachine::write(const std::string& path, std::string_view content) const {
  const fs::path file = root_ / path.substr(1);
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << content;
  set_date(file);
}

void RecordedMachine::remove(const std::string& path) const {
  fs::remove_all(root_ / path.substr(1));
}

const v1::InventoryClass* find_class(const v1::HardwareInventory& inventory,
                                     std::string_view name) {
  for (const v1::InventoryClass& one : inventory.classes()) {
    if (one.name() == name) return &one;
  }
  return nullptr;
}

v1::Value value_of(const v1::HardwareInventory& inventory, std::string_view class_name, int row,
                   std::string_view property) {
  const v1::InventoryClass* one = find_class(inventory, class_name);
  if (!one || row < 0 || row >= one->instances_size()) return {};
  const v1::InventoryInstance& instance = one->instances(row);
  for (int column = 0; column < one->properties_size() && column < instance.values_size();
       ++column) {
    if (one->properties(column) == property) return instance.values(column);
  }
  return {};
}

int row_where(const v1::HardwareInventory& inventory, std::string_view class_name,
              std::string_view property, std::string_view value) {
  const v1::InventoryClass* one = find_class(inventory, class_name);
  for (int row = 0; one && row < one->instances_size(); ++row) {
    if (value_of(inventory, class_name, row, property).text() == value) return row;
  }
  return -1;
}

std::string what_is_wrong(const v1::HardwareInventory& inventory) {
  std::set<std::string> classes;
  for (const v1::InventoryClass& one : inventory.classes()) {
    if (!classes.insert(one.name()).second) return one.name() + " is there twice";
    if (one.name_space() != "root\\cimv2" && one.name_space() != "root\\cimv2\\sms")
      return one.name() + " has no namespace";
    if (one.key_properties().empty()) return one.name() + " has no key";
    if (static_cast<std::size_t>(one.instances_size()) > rows_max(one.name()))
      return one.name() + " has more instances than its bound";
    std::set<std::string> names;
    for (const v1::InventoryInstance& row : one.instances()) {
      if (row.values_size() > one.properties_size())
        return one.name() + " has a row longer than its columns";
      for (int i = 0; i < row.values_size(); ++i) {
        const std::string where = one.name() + "." + one.properties(i);
        const v1::Value& value = row.values(i);
        std::string wrong = wrong_with_text(value.text(), where);
        if (wrong.empty()) wrong = wrong_with_text(value.date(), where);
        if (static_cast<std::size_t>(value.list().items_size()) > limits::list_items)
          wrong = where + " is too long a list";
        for (const std::string& item : value.list().items()) {
          if (wrong.empty()) wrong = wrong_with_text(item, where);
        }
        if (!wrong.empty()) return wrong;
      }
      std::string name;
      for (const std::uint32_t key : one.key_properties()) {
        if (static_cast<int>(key) >= row.values_size() ||
            row.values(static_cast<int>(key)).kind_case() == v1::Value::KIND_NOT_SET)
          return one.name() + " has an instance without " + one.properties(static_cast<int>(key));
        name += row.values(static_cast<int>(key)).SerializeAsString();
      }
      if (!names.insert(name).second) return one.name() + " names two instances alike";
    }
  }
  return {};
}

std::string what_is_wrong(const v1::Discovery& discovery) {
  const std::pair<const char*, const std::string*> texts[] = {
      {"host_name", &discovery.host_name()},
      {"fqdn", &discovery.fqdn()},
      {"domain", &discovery.domain()},
      {"manufacturer", &discovery.manufacturer()},
      {"model", &discovery.model()},
      {"serial_number", &discovery.serial_number()},
      {"system_uuid", &discovery.system_uuid()},
      {"product_version", &discovery.product_version()},
      {"architecture", &discovery.architecture()}};
  for (const auto& [name, text] : texts) {
    if (!is_clean(*text)) return std::string(name) + " is not clean text";
    if (text->size() > 2 * limits::text_bytes + 1) return std::string(name) + " is too long";
  }
  if (!is_clean(discovery.kernel()) || !is_clean(discovery.operating_system()))
    return "kernel or operating_system";
  for (const v1::NetworkAddress& address : discovery.addresses()) {
    if (!is_clean(address.interface()) || !is_clean(address.mac()) || !is_clean(address.address()))
      return "addresses";
  }
  if (static_cast<std::size_t>(discovery.addresses_size()) > limits::addresses)
    return "too many addresses";
  return {};
}

}  // namespace greengate::test
