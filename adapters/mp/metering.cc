#include "adapters/mp/metering.h"

#include "adapters/mp/report_header.h"
#include "adapters/mp/wire_time.h"
#include "greengate/v1/report.pb.h"

namespace greengate::adapters {
namespace {

constexpr int programs_max = 10'000;
constexpr int uses_max = 1'000;

void write_attribute(XmlWriter& to, std::string_view name, std::string_view value) {
  to.markup(" ");
  to.markup(name);
  to.markup("=\"");
  to.attribute(value);
  to.markup("\"");
}

void write_number(XmlWriter& to, std::string_view name, std::uint64_t value) {
  to.markup(" ");
  to.markup(name);
  to.markup("=\"");
  to.unsigned_number(value);
  to.markup("\"");
}

/// Names as the site's own usage views have them; that they stand here, and so, is inferred.
void write_use(XmlWriter& to, const v1::MeteredUse& use) {
  to.markup("<HistoricalMeterData");
  write_attribute(to, "UserName", use.user());
  if (use.first_start_ms() > 0)
    if (const auto start = cim_datetime(use.first_start_ms())) write_attribute(to, "StartTime", *start);
  if (use.last_end_ms() > 0)
    if (const auto end = cim_datetime(use.last_end_ms())) write_attribute(to, "EndTime", *end);
  write_number(to, "UsageCount", use.runs());
  write_number(to, "UsageTime", use.seconds());
  to.markup("></HistoricalMeterData>");
}

void write_program(XmlWriter& to, const v1::MeteredProgram& program, MeteringHistory history) {
  to.markup("<ProductInfo");
  write_attribute(to, "CompanyName", program.company_name());
  write_attribute(to, "ProductName", program.product_name());
  write_attribute(to, "ProductVersion", program.product_version());
  write_attribute(to, "ProductLanguage", program.product_language());
  to.markup("><SoftwareFileInfo");
  write_attribute(to, "FileDescription", program.file_description());
  write_attribute(to, "FileVersion", program.file_version());
  write_attribute(to, "FileName", program.file_name());
  write_number(to, "FileSize", program.file_size());
  to.markup(">");
  if (history == MeteringHistory::empty || program.uses().empty()) {
    to.markup("<HistoricalMeterData></HistoricalMeterData>");
  } else {
    for (const v1::MeteredUse& use : program.uses()) write_use(to, use);
  }
  to.markup("</SoftwareFileInfo></ProductInfo>");
}

}  // namespace

Result<OutgoingMessage> metering_message(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                         const v1::MeteringData& data) {
  if (data.programs().empty())
    return fail(Remedy::reject, "mp.metering_empty", "A metering report without a program says nothing.");
  if (data.programs_size() > programs_max)
    return fail(Remedy::reject, "mp.metering_too_many",
                "A metering report takes " + std::to_string(programs_max) + " programs, not " + std::to_string(data.programs_size()) + ".");

  XmlWriter to(16 * 1024, settings.message_bytes_max);
  to.markup(relay_declaration);
  ReportHeader header;
  header.content = "Software Metering Data";
  header.format = "1.0";
  write_report_header(to, settings, identity, facts, header);
  to.markup("<ReportBody>");
  for (const v1::MeteredProgram& program : data.programs()) {
    if (program.uses_size() > uses_max)
      return fail(Remedy::reject, "mp.metering_too_many",
                  "A metered program takes " + std::to_string(uses_max) + " users, not " + std::to_string(program.uses_size()) + ".");
    write_program(to, program, settings.metering_history);
  }
  to.markup("</ReportBody></Report>");
  Draft draft = draft_of(settings, "MP_RelayEndpoint", to.take());
  draft.file_type = "SWM";
  return assemble(settings, identity, facts, std::move(draft));
}

}  // namespace greengate::adapters
