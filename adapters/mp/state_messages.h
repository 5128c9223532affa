#pragma once

#include "adapters/mp/message.h"

#include <cstdint>
#include <span>

namespace greengate::v1 {
class StateMessage;
}

namespace greengate::adapters {

/// Several state messages in one report: a Post to MP_RelayEndpoint, file type SMX (mp-protocol 5.9). They are numbered from
/// `first_serial` on, in the order given: a counter per client that never goes back (D).
/// Limits    10,000 messages, 1,000 parameters each.
/// Errors    mp.state_empty, mp.state_too_many (reject), script_result_details()'s, and assemble()'s.
Result<OutgoingMessage> state_message(const MpSettings& settings, const MpIdentity& identity,
                                      const ReportFacts& facts,
                                      std::span<const v1::StateMessage* const> messages,
                                      std::uint64_t first_serial);

}  // namespace greengate::adapters
