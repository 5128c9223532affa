// Whatever an agent sends: the outer walk, the parser, and the judgement of each report.
#include "core/clock.h"
#include "gateway/admission.h"

#include <cstdint>
#include <cstdlib>

using namespace greengate;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto standing = static_cast<gateway::Standing>(data[0] % 6);
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  static const gateway::AdmissionConfig config;
  static const gateway::Admission admission(config);
  if (admission.shape(standing, bytes)) return 0;
  v1::Frame frame;
  if (!frame.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return 0;
  if (admission.kind(standing, frame.kind_case()) || frame.kind_case() != v1::Frame::kPublish) return 0;
  // The promise of shape(): no more reports than the bound were unfolded.
  if (static_cast<std::uint32_t>(frame.publish().reports_size()) > config.reports_per_frame_max) std::abort();
  gateway::Account account(config);
  std::int64_t held = 0;
  for (const v1::Report& report : frame.publish().reports()) {
    const auto verdict = admission.report(account, report, held, SteadyTime{});
    if (verdict.kind == gateway::ReportVerdict::Kind::take) {
      held += gateway::report_cost_bytes(report.body().size());
      if (!v1::Kind_IsValid(report.kind()) || report.kind() == v1::KIND_UNSPECIFIED) std::abort();
    }
  }
  if (account.in_flight > config.in_flight_max) std::abort();
  return 0;
}
