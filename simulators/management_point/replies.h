#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "simulators/common/crypto.h"
#include "simulators/management_point/envelope.h"
#include "simulators/management_point/settings.h"

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace greengate::sim {

/// An answer as it goes on the wire.
struct Outgoing {
  unsigned status = 200;
  std::string content_type, body;
  std::string xml;  ///< The reply's text, for the evidence.
  std::vector<std::pair<std::string, std::string>> headers;
};

inline constexpr const char* reply_boundary = "aAbBcCdDv1234567890VxXyYzZ";  // mp-protocol 1.5

/// Multipart with a reply Msg and `xml` in part 2, compressed as asked (mp-protocol 1.5). An empty
/// `xml` gives a bare header part.
Outgoing reply_message(const Envelope& request, const std::string& host_name,
                       const std::string& xml, WallTime now);

/// ClientRegistrationResponse; `approval_status` empty leaves the attribute out, `sms_id` likewise.
std::string registration_response(bool confirmation, int status, const std::string& sms_id,
                                  const std::string& approval_status, WallTime now);

/// What clients ask of the site: policy assignments and bodies, locations, and the .sms_aut answers.
/// Limits    256 policy bodies are held; the oldest are forgotten.
/// Threads   Any.
/// Errors    policy.template
class SiteAnswers {
 public:
  SiteAnswers(const MpSettings& settings, std::string signing_certificate_der,
              std::string mp_certificate_der, WallTime policy_date);
  Result<void> open();

  /// One inventory action for everyone, and one of report type Resync for each kind in `resync`
  /// ("hardware", "software"), `resync_number` being its policy's version.
  std::string assignments(const std::string& sms_id, const std::string& fqdn,
                          const std::string& netbios_name,
                          const std::vector<std::pair<std::string, std::uint64_t>>& resync,
                          const std::string& policy_source, WallTime now);
  /// By the request's root; nothing for one without a public reply. EnumerateMPLocationRequest has one only once an operator said what a
  /// client of its subnet hears: the reply's form is not public (I).
  std::optional<std::string> location(std::string_view root, std::string_view subnet) const;
  /// The management points a client of this subnet hears of; "*" for those of any other. Without any, no answer again.
  /// Limits    256 subnets: false above.
  bool set_locations(const std::string& subnet, std::vector<std::string> points);

  /// GET /SMS_MP/.sms_aut?<query>; nothing for an unknown verb.
  std::optional<Outgoing> sms_aut(std::string_view query) const;
  /// GET /SMS_MP/.sms_pol?<query>
  std::optional<Outgoing> sms_pol(std::string_view query) const;
  WallTime policy_date() const { return policy_date_; }

 private:
  struct Action {
    std::string policy_id, version, action_id, description, report_type;
    int flags = 0;
  };
  std::string assignment(const Action& action);

  const MpSettings& settings_;
  std::string signing_certificate_, mp_certificate_, template_;
  WallTime policy_date_;
  mutable std::mutex mutex_;                   // guards everything below
  std::map<std::string, std::string> bodies_;  // query, lower case → bytes
  std::vector<std::string> body_order_;
  std::map<std::string, std::vector<std::string>> points_;  // by subnet
};

}  // namespace greengate::sim
