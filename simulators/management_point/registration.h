#pragma once

#include "simulators/common/crypto.h"
#include "simulators/management_point/checks.h"

#include <functional>
#include <optional>
#include <string>

namespace greengate::sim {

/// A ClientRegistrationRequest whose signature has been verified (mp-protocol 4).
struct RegistrationRequest {
  bool confirmation = false;
  std::string sms_id;  ///< Proposed or own; empty asks for one.
  std::string netbios_name, fqdn;
  std::uint64_t agent_type = 0;
  std::string signing_der;  ///< The enclosed signing certificate.
  Key signing_key;  ///< Whose key verified the request: the enclosed certificate's, or the proxy's.
  bool self_signed = true;
  std::string proxy_sms_id;  ///< Of the ISV proxy that signed for its client, if one did.
  std::string hint;          ///< RegistrationHint, bytes; empty when absent.
  std::string signature_form;
};

/// Cuts the raw `<Data`…`</Data>` text, verifies it with the enclosed certificate and checks every
/// field. `proxy_key` answers an ISV proxy's key by its SMSID, or nothing.
std::optional<RegistrationRequest> read_registration(
    std::string_view body, WallTime now, const std::function<Key(const std::string&)>& proxy_key,
    Findings& findings);

}  // namespace greengate::sim
