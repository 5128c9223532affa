#include "gateway/explain.h"

#include "gateway/admin_json.h"
#include "gateway/diagnosis.h"
#include "gateway/report_words.h"

#include <boost/json.hpp>

#include <map>

namespace greengate::gateway {
namespace {

namespace json = boost::json;

constexpr std::uint32_t traces_max = 10'000;
constexpr std::uint32_t letters_max = 10'000;

struct Waiting {
  std::uint64_t reports = 0, bytes = 0;
  WallTime oldest;
  bool leased = false;
  std::string code, message;
  std::uint32_t attempts = 0;
};

json::object describe(const store::ReportTrace& trace) {
  return json::object{{"kind", kind_name(trace.kind)},
                      {"sequence", trace.name.sequence},
                      {"bytes", trace.bytes},
                      {"state", name_of(trace)},
                      {"collected_at_ms", to_millis(trace.collected_at)},
                      {"stored_at_ms", to_millis(trace.kept_at)},
                      {"settled_at_ms", time_or_null(trace.settled_at)},
                      {"attempts", trace.attempts},
                      {"code", trace.code},
                      {"message", trace.message},
                      {"tracking", trace.tracking}};
}

}  // namespace

Result<json::object> explain_reports(store::ReportQueue& reports, const AgentId& agent) {
  auto traces = reports.trace(agent, traces_max);
  if (!traces) return pass(traces);
  std::map<std::uint32_t, const store::ReportTrace*> newest;
  std::map<store::Lane, Waiting> waiting;
  for (const store::ReportTrace& trace : *traces) {  // newest first
    newest.try_emplace(trace.kind, &trace);
    if (trace.outcome) continue;
    Waiting& lane = waiting[trace.lane];
    ++lane.reports;
    lane.bytes += trace.bytes;
    lane.oldest = trace.kept_at;
    lane.leased = lane.leased || trace.leased;
    lane.attempts = trace.attempts;  // the oldest's: it is the one the lane waits for
    lane.code = trace.code;
    lane.message = trace.message;
  }
  json::array last, lanes;
  for (const auto& [kind, trace] : newest) last.push_back(describe(*trace));
  for (const auto& [lane, what] : waiting) {
    lanes.push_back(json::object{{"lane", name_of(lane)}, {"reports", what.reports}, {"bytes", what.bytes},
                                 {"oldest_stored_at_ms", to_millis(what.oldest)}, {"in_a_workers_hands", what.leased},
                                 {"attempts", what.attempts}, {"code", what.code}, {"message", what.message}});
  }

  store::DeadLetterFilter of_agent;
  of_agent.agent = agent;
  auto letters = reports.dead_letters(of_agent, letters_max);
  if (!letters) return pass(letters);
  std::map<std::string, std::uint64_t> by_code;
  for (const store::DeadLetter& letter : *letters) ++by_code[letter.code];
  json::array codes;
  for (const auto& [code, count] : by_code) {
    const Diagnosis cause = diagnose(code);
    codes.push_back(json::object{{"code", code}, {"letters", count}, {"cause", cause.cause}, {"advice", cause.advice}});
  }
  return json::object{{"last_reports", std::move(last)},
                      {"waiting", std::move(lanes)},
                      {"dead_letters", json::object{{"letters", letters->size()},
                                                    {"newest_at_ms", letters->empty() ? json::value(nullptr) : json::value(to_millis(letters->back().buried_at))},
                                                    {"newest_id", letters->empty() ? json::value(nullptr) : json::value(letters->back().id.raw())},
                                                    {"codes", std::move(codes)}}}};
}

}  // namespace greengate::gateway
