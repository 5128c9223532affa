#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/report_header.h"

#include <string>
#include <string_view>
#include <vector>

namespace greengate::v1 {
class HardwareInventory;
class InventoryClass;
class InventoryInstance;
}  // namespace greengate::v1

namespace greengate::adapters {

/// Full deletes what the site has before it takes this (D 5.1); Delta changes it.
enum class InventoryKind { full, delta };

/// What an instance does to the site's row of the same key (mp-protocol 5.6). In a Full all are
/// added.
enum class InstanceContent { added, updated, deleted };
/// "New", "Updated", "Deleted"
std::string_view content_name(InstanceContent content);

/// Writes one hardware inventory report, class by class; what a Full and a Delta have in common.
///
/// Promise   Names become markup only when they are names; values are escaped; values not known are left out.
/// Order     begin_class(), then its instances; any number of classes; finish() once.
/// Limits    MpSettings::message_bytes_max, checked while writing.
/// Threads   One.
/// Errors    mp.inventory_class, mp.inventory_namespace, mp.inventory_property, mp.inventory_shape, mp.inventory_empty,
///           mp.message_too_large (all reject).
/// Source    mp-protocol 5.6.
class HardwareInventoryWriter {
 public:
  /// The references outlive this.
  HardwareInventoryWriter(const MpSettings& settings, const MpIdentity& identity,
                          const ReportFacts& facts, InventoryKind kind);

  /// `shape` outlives the class's instances.
  Result<void> begin_class(const v1::InventoryClass& shape);
  /// Of a deleted instance only the key properties are written; a class without keys cannot lose an
  /// instance.
  Result<void> instance(const v1::InventoryInstance& instance, InstanceContent content);
  /// A report without instances is refused: as a Full it would delete the client's inventory.
  Result<OutgoingMessage> finish();

 private:
  void value(std::size_t column, const v1::InventoryInstance& instance);

  const MpSettings& settings_;
  const MpIdentity& identity_;
  const ReportFacts& facts_;
  ReportHeader header_;
  XmlWriter to_;
  std::size_t full_begins_ = 0;  ///< In what is written.
  std::size_t instances_ = 0;

  // Of the class begun: everything that repeats for each instance, already in UTF-16.
  const v1::InventoryClass* shape_ = nullptr;
  std::string open_, opened_, close_;  // <Instance …Content=" · "><Class> · </Class></Instance>
  struct Column {
    std::string open, close;
    bool key = false;
  };
  std::vector<Column> columns_;
};

/// The machine's full state: a Post to MP_HinvEndpoint. A class present without instances adds
/// nothing.
Result<OutgoingMessage> hardware_inventory_message(const MpSettings& settings,
                                                   const MpIdentity& identity,
                                                   const ReportFacts& facts,
                                                   const v1::HardwareInventory& inventory);

}  // namespace greengate::adapters
