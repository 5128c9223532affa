#pragma once

#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

/// What a device proves it knows beside its certificate, where that was agreed at its enrolment.
struct DmCredential {
  std::string user, password;  ///< UTF-8.
  bool empty() const { return user.empty() && password.empty(); }
};

/// Cred/Data of syncml:auth-md5: B64(MD5(B64(MD5(user:password)):nonce)). `nonce`: its octets. MD5 is the protocol's choice; the certificate is
/// what keeps others out.
/// Source    wns-mdm-push 13
std::string md5_credential(const DmCredential& credential, std::string_view nonce);

std::string base64(std::string_view bytes);
/// Errors    mdm.base64 (reject).
Result<std::string> from_base64(std::string_view text);
/// In a time that does not tell where they differ.
bool same_secret(std::string_view left, std::string_view right);

}  // namespace greengate::adapters
