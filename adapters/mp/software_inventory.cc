#include "adapters/mp/software_inventory.h"

#include "adapters/mp/file_names.h"
#include "adapters/mp/wire_time.h"
#include "greengate/v1/report.pb.h"

namespace greengate::adapters {
namespace {

ReportHeader header_for(InventoryKind kind) {
  ReportHeader header;
  header.action = InventoryAction::software;
  header.type = kind == InventoryKind::full ? "Full" : "Delta";
  return header;
}

std::string instance_open(const MpIdentity& identity) {
  XmlWriter open(512);
  open.markup("<Instance ParentClass=\"FileSystemFile\" Class=\"FileSystemFile\" Namespace=\"\\\\");
  open.attribute(identity.netbios_name);
  open.markup("\\root\\cimv2\" Content=\"");
  return open.take();
}

void known(XmlWriter& to, std::string_view name, std::string_view value) {
  if (!value.empty()) to.element(name, value);
}

}  // namespace

SoftwareInventoryWriter::SoftwareInventoryWriter(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                                 InventoryKind kind)
    : settings_(settings),
      identity_(identity),
      facts_(facts),
      header_(header_for(kind)),
      to_(64 * 1024, settings.message_bytes_max),
      open_(instance_open(identity)) {
  full_begins_ = begin_inventory(to_, settings, identity, facts, header_);
}

Result<void> SoftwareInventoryWriter::file(const v1::SoftwareFile& file, InstanceContent content) {
  if (auto named = check_file_name("mp.inventory_file", file.name(), file.path()); !named) return pass(named);
  const bool keys_only = content == InstanceContent::deleted;
  to_.wide(open_);
  to_.markup(content_name(content));
  to_.markup("\"><FileSystemFile>");
  // Alphabetical, as every public sample of an instance has its properties.
  if (!keys_only) {
    known(to_, "CompanyName", file.company_name());
    known(to_, "FileDescription", file.file_description());
    known(to_, "FileVersion", file.file_version());
    if (file.modified_ms() != 0) known(to_, "LastWriteDate", cim_datetime(file.modified_ms()).value_or(""));
  }
  to_.element("Name", printable_name(file.name()));
  to_.element("Path", printable_name(file.path()));
  if (!keys_only) {
    known(to_, "ProductLanguage", file.product_language());
    known(to_, "ProductName", file.product_name());
    known(to_, "ProductVersion", file.product_version());
    to_.markup("<Size>");
    to_.unsigned_number(file.size());
    to_.markup("</Size>");
  }
  to_.markup("</FileSystemFile></Instance>");
  ++instances_;
  if (to_.size() > settings_.message_bytes_max) {
    return fail(Remedy::reject, "mp.message_too_large",
                "The software inventory is larger than the " + std::to_string(settings_.message_bytes_max) + " bytes that are sent.");
  }
  return {};
}

Result<OutgoingMessage> SoftwareInventoryWriter::finish() {
  if (instances_ == 0) {
    return fail(Remedy::reject, "mp.inventory_empty",
                "The software inventory names no files; a site would delete what it has.");
  }
  return assemble(settings_, identity_, facts_,
                  end_inventory(to_, settings_, header_, "MP_SinvEndpoint", full_begins_));
}

}  // namespace greengate::adapters
