#include "adapters/mp/state_messages.h"

#include "adapters/mp/report_header.h"
#include "adapters/mp/script_result.h"
#include "adapters/mp/wire_time.h"
#include "greengate/v1/report.pb.h"

#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters {
namespace {

constexpr std::size_t messages_max = 10'000;
constexpr int parameters_max = 1'000;
constexpr std::uint32_t base64_details = 1;  // seen with base64 text (D)

// Details and parameters as they are written.
struct Extra {
  std::string details;
  std::uint32_t details_type = 0;
  std::vector<std::string> parameters;
};

// A script task's result has its own: its key is the task's GUID in braces (bgb-protocol 5.4).
Result<Extra> extra_of(const v1::StateMessage& message) {
  Extra extra{message.details(), message.details_type(), {message.parameters().begin(), message.parameters().end()}};
  if (!message.has_script_result()) return extra;
  auto details = script_result_details(message.script_result());
  if (!details) return pass(details);
  return Extra{std::move(*details), base64_details, {"{" + message.script_result().task_guid() + "}", "0"}};
}

void write_state(XmlWriter& to, const ReportFacts& facts, const v1::StateMessage& message,
                 const Extra& extra, std::uint64_t serial) {
  to.markup("<StateMessage MessageTime=\"");
  // A message whose own time cannot be written happened no later than the report was made.
  to.markup(cim_datetime(message.time_ms()).value_or(cim_datetime(facts.made_at)));
  to.markup("\" SerialNumber=\"");
  to.unsigned_number(serial);
  to.markup("\"><Topic ID=\"");
  to.attribute(message.topic_id());
  to.markup("\" Type=\"");
  to.unsigned_number(message.topic_type());
  to.markup("\" IDType=\"");
  to.unsigned_number(message.topic_id_type());
  to.markup("\" User=\"");
  to.attribute(message.user());
  to.markup("\" UserSID=\"");
  to.attribute(message.user_sid());
  to.markup("\"/><State ID=\"");
  to.unsigned_number(message.state_id());
  to.markup("\" Criticality=\"");
  to.unsigned_number(message.criticality());
  to.markup("\"/>");
  if (!extra.details.empty()) {
    to.markup("<StateDetails Type=\"");
    to.unsigned_number(extra.details_type);
    to.markup("\">");
    to.cdata(extra.details);
    to.markup("</StateDetails>");
  }
  to.markup("<UserParameters Flags=\"0\" Count=\"");
  to.unsigned_number(extra.parameters.size());
  to.markup("\">");
  for (const std::string& parameter : extra.parameters) to.element("Param", parameter);
  to.markup("</UserParameters></StateMessage>");
}

}  // namespace

Result<OutgoingMessage> state_message(const MpSettings& settings, const MpIdentity& identity,
                                      const ReportFacts& facts,
                                      std::span<const v1::StateMessage* const> messages,
                                      std::uint64_t first_serial) {
  if (messages.empty())
    return fail(Remedy::reject, "mp.state_empty", "A state report without a message says nothing.");
  if (messages.size() > messages_max)
    return fail(Remedy::reject, "mp.state_too_many",
                "A state report takes " + std::to_string(messages_max) + " messages, not " +
                    std::to_string(messages.size()) + ".");

  XmlWriter to(32 * 1024, settings.message_bytes_max);
  to.markup(relay_declaration);
  ReportHeader header;
  header.content = "State Message Data";
  header.format = "1.0";
  header.priority = settings.state_priority;
  write_report_header(to, settings, identity, facts, header);
  to.markup("<ReportBody>");
  std::uint64_t serial = first_serial;
  for (const v1::StateMessage* message : messages) {
    if (message->parameters_size() > parameters_max)
      return fail(Remedy::reject, "mp.state_too_many",
                  "A state message takes " + std::to_string(parameters_max) + " parameters, not " +
                      std::to_string(message->parameters_size()) + ".");
    auto extra = extra_of(*message);
    if (!extra) return pass(extra);
    write_state(to, facts, *message, *extra, serial++);
  }
  to.markup("</ReportBody></Report>");
  Draft draft = draft_of(settings, "MP_RelayEndpoint", to.take());
  draft.file_type = "SMX";
  return assemble(settings, identity, facts, std::move(draft));
}

}  // namespace greengate::adapters
