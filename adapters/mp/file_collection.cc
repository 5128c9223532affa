#include "adapters/mp/file_collection.h"

#include "adapters/mp/file_names.h"
#include "adapters/mp/report_header.h"
#include "adapters/mp/wire_time.h"

namespace greengate::adapters {
namespace {

tl::unexpected<Error> wrong_size(std::uint64_t announced) {
  return fail(Remedy::reject, "mp.file_size", "The file was announced with " + std::to_string(announced) + " bytes and has another number.");
}

}  // namespace

Result<void> FileCollectionWriter::begin(const CollectedFile& file) {
  if (auto named = check_file_name("mp.file_name", file.name, file.path); !named) return pass(named);
  if (file.size > settings_.message_bytes_max) {
    return fail(Remedy::reject, "mp.message_too_large",
                "The collected file has " + std::to_string(file.size) + " bytes; at most " +
                    std::to_string(settings_.message_bytes_max) + " are sent.");
  }
  XmlWriter to(4096);
  ReportHeader header;
  header.action = InventoryAction::files;
  write_report_header(to, settings_, identity_, facts_, header);
  to.markup("<ReportBody><CollectedFile>");
  // The site wants a date; of a file whose own cannot be written we only know that it is not younger than the report.
  to.element("LastWriteDate", cim_datetime(file.modified_ms).value_or(cim_datetime(facts_.made_at)));
  to.element("Name", printable_name(file.name));
  to.element("Path", printable_name(file.path));
  to.markup("<Size>");
  to.unsigned_number(file.size);
  to.markup("</Size></CollectedFile><CollectedFileSum>1</CollectedFileSum></ReportBody></Report>");
  draft_ = draft_of(settings_, "MP_SinvCollFileEndpoint", to.take());
  file_begins_ = draft_.stream.size();
  size_ = file.size;
  draft_.stream.reserve(file_begins_ + static_cast<std::size_t>(size_));
  draft_.attachments.push_back({file_begins_, static_cast<std::size_t>(size_),
                                settings_.file_attachment_name == FileAttachmentName::path
                                    ? attachment_path(file.path, file.name)
                                    : attachment_name(file.name),
                                true});
  return {};
}

Result<void> FileCollectionWriter::data(std::string_view bytes) {
  if (bytes.size() > size_ - (draft_.stream.size() - file_begins_)) return wrong_size(size_);
  draft_.stream += bytes;
  return {};
}

Result<OutgoingMessage> FileCollectionWriter::finish() {
  if (draft_.stream.size() - file_begins_ != size_) return wrong_size(size_);
  return assemble(settings_, identity_, facts_, std::move(draft_));
}

}  // namespace greengate::adapters
