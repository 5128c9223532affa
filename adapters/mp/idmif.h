#pragma once

#include "adapters/mp/message.h"

namespace greengate::v1 {
class IdMif;
}

namespace greengate::adapters {

/// One IDMIF file: a Post to MP_RelayEndpoint, file type MIF, the header report in the body and the file, byte for byte, as its
/// attachment (D 2.2, 5.9). Which action id it bears is in conflict: `idmif_action`.
/// Limits    5,120 KB, the most a site can be set to take (D 6.1), and MpSettings::message_bytes_max.
/// Errors    mp.file_name, mp.idmif_empty, mp.idmif_too_large (reject), and assemble()'s.
Result<OutgoingMessage> idmif_message(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                      const v1::IdMif& file);

}  // namespace greengate::adapters
