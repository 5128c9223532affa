#pragma once

#include "adapters/mp/message.h"

namespace greengate::v1 {
class MeteringData;
}

namespace greengate::adapters {

/// What configured programs did in one stretch of time: a Post to MP_RelayEndpoint, file type SWM (D 5.9, readings 23). What stands in
/// HistoricalMeterData is not public; `metering_history` says what we write there.
/// Limits    10,000 programs, 1,000 users each.
/// Errors    mp.metering_empty, mp.metering_too_many (reject), and assemble()'s.
Result<OutgoingMessage> metering_message(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                         const v1::MeteringData& data);

}  // namespace greengate::adapters
