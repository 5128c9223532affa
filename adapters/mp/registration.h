#pragma once

#include "adapters/mp/message.h"

#include <optional>
#include <string_view>

namespace greengate::adapters {

/// What the site says about a registration (mp-protocol 4.1, 4.4).
enum class RegistrationStatus {
  done,      ///< 0: in the database; policy and reports may follow.
  pending,   ///< 1: ask again by confirmation in 30 s to 5 min; nothing else until then.
  again,     ///< 2: the MP could not process it: register again, keeping the SMSID as the proposal.
  rejected,  ///< 3, or ApprovalStatus -1 without an SMSID.
};

struct RegistrationReply {
  RegistrationStatus status = RegistrationStatus::again;
  SmsId sms_id;                 ///< With done and pending: the one to use, whatever was proposed.
  std::optional<int> approval;  ///< For logs only; its numbers are not public (Q5).
};

/// Asks the site for a record. `identity.sms_id` is a proposal, or empty to have one issued.
/// Not signed as a message; the signature lies inside, over the exact bytes of <Data> (D, S 3.3).
/// `hint`: registration_hint() of the key that was registered before, or empty (4.6).
Result<OutgoingMessage> registration_message(const MpSettings& settings, const MpIdentity& identity,
                                             const ReportFacts& facts, std::string_view hint = {});

/// What lets the site give the SMSID of `registered` to another certificate; empty where the settings send none.
Result<std::string> registration_hint(const MpSettings& settings, const MpIdentity& registered);

/// Asks whether a pending registration is done.
Result<OutgoingMessage> confirmation_message(const MpSettings& settings, const MpIdentity& identity,
                                             const ReportFacts& facts);

/// Errors    mp.reply_xml, mp.registration_reply (reject: not such a reply, or no usable SMSID in
/// it).
Result<RegistrationReply> parse_registration_reply(const MpSettings& settings,
                                                   std::string_view xml);

}  // namespace greengate::adapters
