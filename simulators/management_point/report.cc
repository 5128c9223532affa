#include "simulators/management_point/report.h"

#include "simulators/common/text.h"
#include "simulators/common/xml.h"
#include "simulators/management_point/report_parts.h"

namespace greengate::sim {
namespace {

std::optional<ReportKind> kind_for(const Envelope& envelope) {
  const std::string& endpoint = envelope.target_endpoint;
  if (endpoint == "MP_DdrEndpoint") return ReportKind::discovery;
  if (endpoint == "MP_HinvEndpoint") return ReportKind::hardware;
  if (endpoint == "MP_SinvEndpoint") return ReportKind::software;
  if (endpoint == "MP_SinvCollFileEndpoint") return ReportKind::files;
  if (endpoint == "StatusReceiver") return ReportKind::status;
  if (envelope.file_type == "SMX") return ReportKind::state;
  if (envelope.file_type == "SWM") return ReportKind::metering;
  if (envelope.file_type == "MIF") return ReportKind::mif;
  return std::nullopt;
}

std::optional<std::string> attachment_text(const Attachment& attachment, std::string_view stream) {
  const ByteRange range = attachment.range;
  if (range.offset > stream.size() || range.length > stream.size() - range.offset)
    return std::nullopt;
  std::string_view bytes = stream.substr(range.offset, range.length);
  if (bytes.ends_with(std::string_view("\0\0", 2))) bytes.remove_suffix(2);
  return utf8_from_utf16le(bytes);
}

// Section 2.2: the attachment named as the action holds the report; else a body that is not empty;
// else any attachment.
std::optional<std::string> report_in_attachment(const Envelope& envelope, std::string_view stream,
                                                std::string_view action_id, bool body_is_empty) {
  for (const Attachment& attachment : envelope.attachments)
    if (attachment.name == action_id) return attachment_text(attachment, stream);
  if (!body_is_empty) return std::nullopt;
  for (const Attachment& attachment : envelope.attachments) {
    auto text = attachment_text(attachment, stream);
    if (text && text->find("<Report>") != std::string::npos &&
        text->find("<Instance") != std::string::npos)
      return text;
  }
  return std::nullopt;
}

}  // namespace

const char* name_of(ReportKind kind) {
  switch (kind) {
    case ReportKind::discovery:
      return "discovery";
    case ReportKind::hardware:
      return "hardware";
    case ReportKind::software:
      return "software";
    case ReportKind::files:
      return "files";
    case ReportKind::state:
      return "state";
    case ReportKind::metering:
      return "metering";
    case ReportKind::mif:
      return "mif";
    case ReportKind::status:
      return "status";
  }
  return "status";
}

std::string to_text(const ReportVersion& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor);
}

std::optional<ReportVersion> parse_version(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || text.size() > 20) return std::nullopt;
  const auto major = parse_number(text.substr(0, dot)), minor = parse_number(text.substr(dot + 1));
  if (!major || !minor) return std::nullopt;
  return ReportVersion{*major, *minor};
}

std::map<std::string, std::size_t> Report::instances_by_class() const {
  std::map<std::string, std::size_t> counts;
  for (const Instance& instance : instances) ++counts[instance.class_name];
  return counts;
}

bool parse_body(std::string_view body, Declaration declaration, pugi::xml_document& document,
                Findings& findings) {
  if (auto parsed = parse_xml(body, document); !parsed) {
    const std::string_view code = parsed.error().code;
    findings.add_unreadable(code == "xml.dtd" || code == "xml.entity" ? "body.dtd" : "body.xml",
                            "Body: " + parsed.error().message);
    return false;
  }
  const bool declared = document.first_child().type() == pugi::node_declaration;
  if (declared && declaration == Declaration::forbidden)
    findings.add("body.declaration_forbidden",
                 "The body begins with an XML declaration; this message has none.");
  if (!declared && declaration == Declaration::required)
    findings.add("body.declaration_missing",
                 "The body has no XML declaration; relay messages begin with one.");
  if (declared &&
      !equals_ignoring_case(document.first_child().attribute("encoding").value(), "UTF-16"))
    findings.add("body.declaration_encoding",
                 "The XML declaration says the encoding is " +
                     shown(document.first_child().attribute("encoding").value()) +
                     "; it is UTF-16.");
  return true;
}

std::optional<Report> read_report(const Envelope& envelope, std::string_view stream,
                                  std::string_view body, const ReportRules& rules,
                                  Findings& findings) {
  const auto kind = kind_for(envelope);
  if (!kind) {
    findings.add_unreadable("envelope.file_type_unknown",
                            "Without FileType the relay message's kind is not known.");
    return std::nullopt;
  }
  pugi::xml_document document;
  const bool relay_text = kind == ReportKind::state || kind == ReportKind::metering;
  if (!parse_body(body, relay_text ? Declaration::required : Declaration::free, document, findings))
    return std::nullopt;
  Report report;
  report.kind = *kind;
  if (kind == ReportKind::status) {
    read_status(document.document_element(), report, findings);
    return report;
  }
  const KindRules* const known = rules_of(*kind);
  if (!envelope.attachments.empty() && known && !known->action_id.empty()) {
    const bool empty = !document.document_element().child("ReportBody").first_child();
    if (const auto text = report_in_attachment(envelope, stream, known->action_id, empty))
      if (!parse_body(*text, Declaration::free, document, findings)) return std::nullopt;
  }
  const auto root = document.document_element();
  if (std::string_view(root.name()) != "Report") {
    findings.add_unreadable("report.root",
                            "The root element is " + shown(root.name()) + "; it is Report.");
    return std::nullopt;
  }
  const auto header = root.child("ReportHeader");
  const auto machine = header.child("Identification").child("Machine");
  const auto details = header.child("ReportDetails");
  if (!machine || !details) {
    findings.add_unreadable("report.header",
                            "ReportHeader needs Identification/Machine and ReportDetails.");
    return std::nullopt;
  }
  read_machine(machine, report, findings);
  if (!known) return report;  // IDMIF: its header is not public beyond this
  read_details(details, *known, rules, report, findings);
  if (!known->action_id.empty()) read_action(header, *known, rules, findings);
  const auto report_body = root.child("ReportBody");
  if (!report_body) {
    findings.add("report.body_missing", "ReportBody is missing.");
    return report;
  }
  switch (*kind) {
    case ReportKind::discovery:
    case ReportKind::hardware:
    case ReportKind::software:
      read_instances(report_body, report, findings);
      break;
    case ReportKind::files:
      read_files(header, report_body, envelope, report, findings);
      break;
    case ReportKind::state:
      read_states(report_body, report, findings);
      break;
    case ReportKind::metering:
      read_metering(report_body, findings);
      break;
    case ReportKind::mif:
    case ReportKind::status:
      break;
  }
  return report;
}

}  // namespace greengate::sim
