#include "adapters/mp/idmif.h"

#include "adapters/mp/file_names.h"
#include "adapters/mp/report_header.h"
#include "greengate/v1/report.pb.h"

namespace greengate::adapters {
namespace {

constexpr std::size_t idmif_bytes_max = 5'120 * 1024;

}  // namespace

Result<OutgoingMessage> idmif_message(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                      const v1::IdMif& file) {
  // Where the file was dropped is the agent's own affair; it stands in a folder all the same.
  if (auto named = check_file_name("mp.file_name", file.file_name(), "/"); !named) return pass(named);
  if (file.text().empty()) return fail(Remedy::reject, "mp.idmif_empty", "The IDMIF file is empty.");
  if (file.text().size() > idmif_bytes_max) {
    return fail(Remedy::reject, "mp.idmif_too_large",
                "The IDMIF file has " + std::to_string(file.text().size()) + " bytes; a site takes at most " +
                    std::to_string(idmif_bytes_max) + ".");
  }
  XmlWriter to(4096);
  to.markup(relay_declaration);
  ReportHeader header;
  header.action = settings.idmif_action == 12 ? InventoryAction::idmif_otherwise : InventoryAction::idmif;
  write_report_header(to, settings, identity, facts, header);
  to.markup("<ReportBody /></Report>");
  Draft draft = draft_of(settings, "MP_RelayEndpoint", to.take());
  draft.file_type = "MIF";
  draft.attachments.push_back({draft.stream.size(), file.text().size(), attachment_name(file.file_name()), true});
  draft.stream += file.text();
  return assemble(settings, identity, facts, std::move(draft));
}

}  // namespace greengate::adapters
