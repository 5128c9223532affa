#include "adapters/mp/status_message.h"

#include "adapters/mp/package_event.h"
#include "adapters/mp/xml_writer.h"
#include "greengate/v1/report.pb.h"

namespace greengate::adapters {
namespace {

constexpr int named_texts_max = 1'000;

using NamedTexts = google::protobuf::RepeatedPtrField<v1::NamedText>;

/// <Properties><Property Name="…">…</Property></Properties>, or <Properties /> when there are none.
Result<void> write_named(XmlWriter& to, std::string_view list, std::string_view item, const NamedTexts& texts) {
  if (texts.size() > named_texts_max)
    return fail(Remedy::reject, "mp.status_too_many",
                "A status message takes " + std::to_string(named_texts_max) + " " + std::string(list) + ", not " +
                    std::to_string(texts.size()) + ".");
  to.markup("<");
  to.markup(list);
  if (texts.empty()) {
    to.markup(" />");
    return {};
  }
  to.markup(">");
  for (const v1::NamedText& text : texts) {
    if (text.name().empty())
      return fail(Remedy::reject, "mp.status_property", "A status message has a " + std::string(item) + " without a name.");
    to.markup("<");
    to.markup(item);
    to.markup(" Name=\"");
    to.attribute(text.name());
    to.markup("\">");
    to.text(text.value());
    to.markup("</");
    to.markup(item);
    to.markup(">");
  }
  to.markup("</");
  to.markup(list);
  to.markup(">");
  return {};
}

}  // namespace

Result<OutgoingMessage> status_message(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                       const v1::StatusMessage& given) {
  const v1::StatusMessage event = as_site_event(given);
  if (event.type().empty()) return fail(Remedy::reject, "mp.status_type", "A status message without a type says nothing.");
  XmlWriter to(4096, settings.message_bytes_max);
  to.markup("<Status SchemaVersion=\"1.0\" CodePage=\"");
  to.unsigned_number(settings.code_page);
  to.markup("\" LocaleID=\"");
  to.unsigned_number(settings.lcid);
  to.markup("\">");
  to.element("Type", event.type());
  if (auto written = write_named(to, "Properties", "Property", event.properties()); !written) return pass(written);
  if (auto written = write_named(to, "Qualifiers", "Qualifier", event.qualifiers()); !written) return pass(written);
  to.markup("</Status>");
  return assemble(settings, identity, facts, draft_of(settings, "StatusReceiver", to.take()));
}

}  // namespace greengate::adapters
