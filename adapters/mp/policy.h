#pragma once

#include "adapters/mp/message.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// One policy the site assigns to a client (mp-protocol 5.2).
struct PolicyAssignment {
  std::string assignment_id;
  std::string policy_id;
  std::string version;
  std::string type;
  std::string category;
  std::uint32_t flags = 0;
  std::string location;  ///< As sent, with the literal <mp>; policy_target() turns it into a
                         ///< request's target.
  std::string hash;      ///< PolicyHash: MD5 in 2007 (D 5.2); often empty.
  std::string hash_ex;   ///< "SHA256:…" or empty.
  bool conditional = false;  ///< It has a condition with a text. None is evaluated here.

  bool is_task_sequence() const { return (flags & 1u) != 0; }
  bool needs_authentication() const { return (flags & 2u) != 0; }
  bool is_secret() const { return (flags & 4u) != 0; }
  bool intranet_only() const { return (flags & 8u) != 0; }
  bool is_compressed() const { return (flags & 64u) != 0; }
  /// Task sequence (1), requires authentication (2) and secret (4) bodies are never fetched
  /// (D 5.2).
  bool may_be_fetched() const { return (flags & 7u) == 0; }
};

struct PolicyReply {
  std::string cookie;  ///< Goes into the next request.
  bool full = true;    ///< ReplyType Full, or none: these are all; else only what changed since the cookie.
  std::vector<PolicyAssignment> assignments;
};

/// Asks for a machine's policy assignments: an Invoke of MP_PolicyManager. `cookie` is the last
/// reply's. Without one everything is asked for, whatever the setting: there is nothing an update could build on.
Result<OutgoingMessage> policy_request(const MpSettings& settings, const MpIdentity& identity,
                                       const ReportFacts& facts, std::string_view cookie);

/// Limits    MpSettings::policy_assignments_max; each text 4 KiB.
/// Errors    mp.reply_xml, mp.policy_reply (reject).
Result<PolicyReply> parse_policy_reply(const MpSettings& settings, std::string_view xml);

/// Path and query of a policy body, from its location; the host is always the management point we speak to.
/// Errors    mp.policy_location (reject): not such a path.
Result<std::string> policy_target(std::string_view location);

}  // namespace greengate::adapters
