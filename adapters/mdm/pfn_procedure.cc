#include "adapters/mdm/pfn_procedure.h"

#include <algorithm>
#include <cctype>

namespace greengate::adapters {
namespace {

constexpr auto day = std::chrono::hours(24);
constexpr std::uint32_t failed_sessions_to_rebuild = 3;

bool well(int status) { return status >= 200 && status < 300; }

bool same_name(const std::string& left, const std::string& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), [](unsigned char a, unsigned char b) {
    return std::tolower(a) == std::tolower(b);
  });
}

}  // namespace

std::optional<DmCommand> PfnProcedure::begin(const std::string& pfn, WallTime now) {
  step_ = Step::idle;
  looked_ = false;
  if (pfn.empty() && !record_.again) return std::nullopt;
  if (!pfn.empty() && !same_name(pfn, record_.pfn)) {
    // Another application is another story; the day's bound stays.
    PfnRecord fresh;
    fresh.pfn = pfn;
    fresh.day_began = record_.day_began;
    fresh.writes = record_.writes;
    record_ = fresh;
  }
  if (now < record_.unsupported_until) return std::nullopt;
  record_.again = false;
  return write(Step::replace, now);
}

std::optional<DmCommand> PfnProcedure::write(Step step, WallTime now) {
  if (now - record_.day_began >= day) {
    record_.day_began = now;
    record_.writes = 0;
  }
  if (record_.writes >= writes_a_day_max) {
    step_ = Step::idle;
    record_.again = true;  // on another day
    return std::nullopt;
  }
  ++record_.writes;
  step_ = step;
  return set_node(step == Step::replace ? DmVerb::replace : DmVerb::add, nodes_.pfn, record_.pfn);
}

std::optional<DmCommand> PfnProcedure::finish(const char* outcome, bool again, WallTime now) {
  step_ = Step::idle;
  record_.outcome = outcome;
  record_.outcome_at = now;
  record_.again = again;
  return std::nullopt;
}

std::optional<DmCommand> PfnProcedure::answered(int status, const std::string& text, std::optional<int> push_status, bool uri_there,
                                                WallTime now) {
  switch (step_) {
    case Step::idle: return std::nullopt;
    case Step::replace:
    case Step::add:
    case Step::add_again:
      if (well(status)) return judge_registration(push_status, uri_there, now);
      if (status == 0) return finish("unanswered", true, now);
      if (status == 405 || status == 406) {
        record_.unsupported_until = now + 7 * day;
        return finish("unsupported", false, now);
      }
      if (status == 404 && step_ == Step::replace) return write(Step::add, now);
      // Already there: by the enrolment, or an earlier session. Does it say the right thing?
      if (status == 418 && !looked_) {
        looked_ = true;
        step_ = Step::look;
        return get_node(nodes_.pfn);
      }
      return judge_failure(push_status, now);
    case Step::look:
      if (well(status) && same_name(text, record_.pfn)) return judge_registration(push_status, uri_there, now);
      return write(Step::replace, now);
    case Step::remove:
      return write(Step::add_again, now);
  }
  return std::nullopt;
}

std::optional<DmCommand> PfnProcedure::judge_registration(std::optional<int> push_status, bool uri_there, WallTime now) {
  record_.failed_sessions = 0;
  switch (push_status.value_or(uri_there ? 0 : 4)) {
    case 1: return finish("bad_pfn", false, now);
    case 2: return finish("no_device_ticket", false, now);
    case 3: return finish("refused_by_service", false, now);
    case 8:
      record_.unsupported_until = now + 7 * day;
      return finish("unsupported", false, now);
    default: return finish(uri_there ? "set" : "channel_comes_later", false, now);
  }
}

std::optional<DmCommand> PfnProcedure::judge_failure(std::optional<int> push_status, WallTime now) {
  if (step_ != Step::add_again && ++record_.failed_sessions >= failed_sessions_to_rebuild) {
    record_.failed_sessions = 0;
    step_ = Step::remove;
    return delete_node(nodes_.push);
  }
  switch (push_status.value_or(0)) {
    case 1: return finish("bad_pfn", false, now);
    case 3: return finish("refused_by_service", false, now);
    case 8:
      record_.unsupported_until = now + 7 * day;
      return finish("unsupported", false, now);
    default: return finish("failed", true, now);
  }
}

}  // namespace greengate::adapters
