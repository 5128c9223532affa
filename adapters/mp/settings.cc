#include "adapters/mp/settings.h"

#include <algorithm>
#include <cctype>

namespace greengate::adapters {
namespace {

bool letters_and_digits(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0; });
}

bool printable_ascii(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
}

/// RFC 2046 allows more; these are the ones that need no quoting rules.
bool fit_for_boundary(const std::string& text) {
  return !text.empty() && text.size() <= 70 &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

}  // namespace

std::vector<ConfigProblem> MpSettings::problems(const std::string& prefix) const {
  std::vector<ConfigProblem> found;
  const auto complain = [&](const char* key, std::string message) {
    found.push_back({prefix + "." + key, prefix + "." + key + std::move(message)});
  };
  if (site_code.size() != 3 || !letters_and_digits(site_code))
    complain("site_code", " is \"" + site_code +
                              "\"; give the site's three letters or digits, such as \"P01\".");
  if (!fit_for_boundary(boundary))
    complain("boundary", " is \"" + boundary + "\"; it can be 1 to 70 letters, digits, - and _.");
  if (request_path.empty() || request_path.front() != '/' || !printable_ascii(request_path) ||
      request_path.find(' ') != std::string::npos)
    complain("request_path",
             " is \"" + request_path + "\"; it must be a path such as \"/ccm_system/request\".");
  if (request_path.find("altauth") != std::string::npos ||
      request_path.find("ALTAUTH") != std::string::npos)
    complain("request_path",
             " names an alternate-authentication directory, which a gateway must never use.");
  if (!printable_ascii(user_agent) || user_agent.empty())
    complain("user_agent", " must be printable ASCII and not empty.");
  if (reply_compression != "zlib" && reply_compression != "none")
    complain("reply_compression",
             " is \"" + reply_compression + "\"; it can be \"zlib\" or \"none\".");
  if (compression_level < 1 || compression_level > 12)
    complain("compression_level",
             " is " + std::to_string(compression_level) + "; it can be 1 to 12.");
  if (agent_type != 0 && agent_type != 3 && agent_type != 4 && agent_type != 8)
    complain("agent_type", " is " + std::to_string(agent_type) + "; it can be 0, 3, 4 or 8.");
  if (key_type != 1 && key_type != 2)
    complain("key_type", " is " + std::to_string(key_type) +
                             "; it can be 1 (self-signed) or 2 (issued by a CA).");
  if (internet_flag < 0 || internet_flag > 2)
    complain("internet_flag", " is " + std::to_string(internet_flag) + "; it can be 0, 1 or 2.");
  if (state_priority < -1 || state_priority > 5)
    complain("state_priority",
             " is " + std::to_string(state_priority) + "; it can be 0 to 5, or -1 for none.");
  if (idmif_action != 11 && idmif_action != 12)
    complain("idmif_action", " is " + std::to_string(idmif_action) + "; it can be 11 or 12.");
  if (encrypt)
    complain("encrypt", " is true; how a management point wants messages encrypted is not public, so it can only be false. "
                        "Leave \"Use encryption\" off at the site.");
  if (verify_reply)
    complain("verify_reply", " is true; how a management point signs its replies is not public, so it can only be false.");
  if (certificate.common_name.empty() || certificate.common_name.size() > 64)
    complain("certificate_common_name", " must have 1 to 64 characters.");
  if (certificate.days < 1 || certificate.days > 3650)
    complain("certificate_days",
             " is " + std::to_string(certificate.days) + "; it can be 1 to 3650.");
  if (certificate.back_dated_days > 30)
    complain("certificate_back_dated_days",
             " is " + std::to_string(certificate.back_dated_days) + "; at most 30.");
  if (message_bytes_max < 64u << 10 || message_bytes_max > 256u << 20)
    complain("message_bytes_max", " must lie between 64KiB and 256MiB.");
  if (reply_bytes_max < 64u << 10 || reply_bytes_max > 256u << 20)
    complain("reply_bytes_max", " must lie between 64KiB and 256MiB.");
  if (policy_body_bytes_max < 16u << 10 || policy_body_bytes_max > 64u << 20)
    complain("policy_body_bytes_max", " must lie between 16KiB and 64MiB.");
  if (policy_request_type != "Always" && policy_request_type != "Full" && policy_request_type != "OnUpdate")
    complain("policy_request_type",
             " is \"" + policy_request_type + "\"; it can be \"Always\", \"Full\" or \"OnUpdate\".");
  if (!policy_validation.empty() && policy_validation != "CRC")
    complain("policy_validation", " is \"" + policy_validation + "\"; it can be \"CRC\", or empty for none.");
  if (exchange_timeout < std::chrono::milliseconds(100) ||
      exchange_timeout > std::chrono::minutes(10))
    complain("exchange_timeout", " must lie between 100ms and 10min.");
  return found;
}

}  // namespace greengate::adapters
