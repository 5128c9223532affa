#pragma once

#include "adapters/mp/message.h"

namespace greengate::v1 {
class Discovery;
}

namespace greengate::adapters {

/// The heartbeat record: a Post to MP_DdrEndpoint (mp-protocol 5.5). Facts the agent does not know
/// are left out.
Result<OutgoingMessage> discovery_message(const MpSettings& settings, const MpIdentity& identity,
                                          const ReportFacts& facts, const v1::Discovery& discovery);

}  // namespace greengate::adapters
