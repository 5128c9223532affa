#pragma once

#include "core/ids.h"
#include "core/result.h"

#include <string>

namespace greengate::workers {

/// The certificate an agent is on its way to, as it is kept beside the one in use until the site has confirmed it.
struct NextIdentity {
  std::string sealed;  ///< As SiteIdentity::sealed.
  SmsId sms_id;        ///< The site's for it, once it is registered; before that empty.
};

/// The name of the fact it is kept in (store::DeviceRegistry::set_fact).
inline constexpr const char* next_identity_fact = "identity.next";

/// Text of printable ASCII.
/// Errors    identity.next_unreadable (reject).
std::string write_next_identity(const NextIdentity& next);
Result<NextIdentity> read_next_identity(const std::string& text);

}  // namespace greengate::workers
