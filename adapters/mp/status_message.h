#pragma once

#include "adapters/mp/message.h"

namespace greengate::v1 {
class StatusMessage;
}

namespace greengate::adapters {

/// One event: a Post to StatusReceiver (D 5.10). Signed always: some sites want it and none refuses it (D 3.1). The documented shape has
/// no place for the event's own time; the envelope's SentTime is all the site gets.
/// Limits    1,000 properties and qualifiers each.
/// Errors    mp.status_type, mp.status_property (no name), mp.status_too_many (reject), and assemble()'s.
Result<OutgoingMessage> status_message(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                       const v1::StatusMessage& event);

}  // namespace greengate::adapters
