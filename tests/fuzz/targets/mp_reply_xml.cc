// What is inside a management point's answer: registration and policy replies.
#include "adapters/mp/policy.h"
#include "adapters/mp/registration.h"

#include <cstdint>
#include <cstdlib>

using namespace greengate;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const adapters::MpSettings settings = [] {
    adapters::MpSettings made;
    made.site_code = "P01";
    return made;
  }();
  const std::string_view xml(reinterpret_cast<const char*>(data), size);
  if (const auto reply = adapters::parse_registration_reply(settings, xml)) {
    const bool needs_id = reply->status == adapters::RegistrationStatus::done || reply->status == adapters::RegistrationStatus::pending;
    if (needs_id && !adapters::parse_sms_id(reply->sms_id.raw())) std::abort();
  }
  if (const auto reply = adapters::parse_policy_reply(settings, xml)) {
    if (reply->assignments.size() > settings.policy_assignments_max) std::abort();
    for (const auto& assignment : reply->assignments) {
      const auto target = adapters::policy_target(assignment.location);
      // Only ever a path of the management point we speak to.
      if (target && (target->empty() || target->front() != '/' || target->find_first_of("\r\n ") != std::string::npos)) std::abort();
    }
  }
  return 0;
}
