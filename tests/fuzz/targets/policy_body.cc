// A policy's body as a management point sends it, and the hash that is to prove it. First byte: the assignment's flags; then a line each of
// PolicyHashEx, PolicyHash and the location; then the body.
#include "adapters/mp/policy_body.h"
#include "tests/fuzz/targets/check.h"

#include <algorithm>

using namespace greengate;
using fuzz::must;

namespace {
bool bounded(const std::string& text) { return text.size() <= 4'096; }
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const adapters::MpSettings settings = [] {
    adapters::MpSettings made;
    made.site_code = "P01";
    made.policy_body_bytes_max = 1 << 20;
    return made;
  }();
  std::string_view rest = fuzz::text_of(data + 1, size - 1);
  adapters::PolicyAssignment assignment;
  assignment.flags = data[0];
  assignment.hash_ex = fuzz::piece(rest, '\n');
  assignment.hash = fuzz::piece(rest, '\n');
  assignment.location = fuzz::piece(rest, '\n');
  if (adapters::check_policy_hash(assignment, rest) == adapters::HashCheck::matches)
    must(adapters::check_policy_hash(assignment, std::string(rest) + " ") == adapters::HashCheck::differs, "a hash fits one body only");

  const auto body = adapters::read_policy_body(settings, assignment, rest);
  if (!body) {
    must(body.error().remedy == Remedy::reject && std::string_view(body.error().code).starts_with("mp."), "an unreadable body is refused with a code");
    return 0;
  }
  must(body->actions.size() + body->items.size() + body->schedules.size() <= 4'096, "at most 4,096 instances");
  for (const auto& action : body->actions) must(!action.id.empty() && bounded(action.id) && bounded(action.report_type), "an action has a bounded id");
  for (const auto& item : body->items) {
    must(!item.class_name.empty() && bounded(item.class_name) && bounded(item.name_space), "an item has a bounded class");
    must(item.properties.size() <= 1'024 && std::all_of(item.properties.begin(), item.properties.end(), bounded), "its properties are bounded");
  }
  for (const auto& schedule : body->schedules) {
    must(schedule.area != adapters::PolicyArea::other, "a schedule is of something we do");
    must(schedule.every.count() > 0 && schedule.every <= std::chrono::days(366), "an interval is between a minute and a year");
  }
  const auto again = adapters::read_policy_body(settings, assignment, rest);
  must(again && again->bytes() == body->bytes(), "the same body reads the same twice");
  return 0;
}
