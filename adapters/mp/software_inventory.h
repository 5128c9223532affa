#pragma once

#include "adapters/mp/hardware_inventory.h"
#include "adapters/mp/message.h"

#include <cstddef>
#include <string>

namespace greengate::v1 {
class SoftwareFile;
}  // namespace greengate::v1

namespace greengate::adapters {

/// Writes one software inventory report: instances of FileSystemFile, named by (Path, Name).
///
/// Promise   Values are escaped; what is not known is left out; a deleted file is written with its keys only. A control character in
///           a name, which no XML can hold, is written as \x and two hex digits, so that two files never become one row.
/// Limits    MpSettings::message_bytes_max, checked while writing; a name 255 bytes, a folder 4096.
/// Threads   One.
/// Errors    mp.inventory_file (a name no file can have), mp.inventory_empty, mp.message_too_large (all reject).
/// Source    mp-protocol 5.7; readings 1.
class SoftwareInventoryWriter {
 public:
  /// The references outlive this.
  SoftwareInventoryWriter(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                          InventoryKind kind);
  Result<void> file(const v1::SoftwareFile& file, InstanceContent content);
  /// A report without files is refused: as a Full it would delete the client's inventory.
  Result<OutgoingMessage> finish();

 private:
  const MpSettings& settings_;
  const MpIdentity& identity_;
  const ReportFacts& facts_;
  ReportHeader header_;
  XmlWriter to_;
  std::string open_;  ///< <Instance … Content=", the same for every file.
  std::size_t full_begins_ = 0;  ///< In what is written.
  std::size_t instances_ = 0;
};

}  // namespace greengate::adapters
