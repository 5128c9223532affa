#include "gateway/enquiries.h"

#include <algorithm>

namespace greengate::gateway {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t waiting_max = 256;
constexpr std::size_t threads = 2;
constexpr std::size_t answer_bytes_max = 512 * 1024;  // agents take frames of 1 MiB
constexpr std::size_t package_id_max = 64;
constexpr milliseconds busy_retry{5'000};

v1::Answer no(const v1::Ask& ask, const char* code, std::string message, milliseconds retry_after) {
  v1::Answer answer;
  answer.set_nonce(ask.nonce());
  answer.set_code(code);
  answer.set_message(std::move(message));
  answer.set_retry_after_ms(static_cast<std::uint32_t>(std::clamp<std::int64_t>(retry_after.count(), 0, 86'400'000)));
  return answer;
}

v1::Answer no(const v1::Ask& ask, const Error& error) { return no(ask, error.code, error.message, error.retry_after); }

// What does not fit an answer is left out at the end, and said to be.
template <class Items>
void fit(v1::Answer& answer, Items& items) {
  const int all = items.size();
  while (answer.ByteSizeLong() > answer_bytes_max && items.size() > 0) items.DeleteSubrange(items.size() - (items.size() + 1) / 2, (items.size() + 1) / 2);
  if (items.size() < all) answer.set_message("Only the first " + std::to_string(items.size()) + " of " + std::to_string(all) + " fit an answer.");
}

bool is_package_id(const std::string& text) {
  return !text.empty() && text.size() <= package_id_max && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '{' || c == '}';
  });
}

void describe(v1::SiteLocation& said, const char* kind, const adapters::Location& place) {
  said.set_kind(kind);
  said.set_url(place.url);
  said.set_server(place.server);
  said.set_site_code(place.site_code);
  said.set_version(place.version);
  said.set_https(place.https);
  said.set_detail(place.detail);
}

}  // namespace

std::vector<ConfigProblem> EnquiriesConfig::problems() const {
  std::vector<ConfigProblem> found;
  if (asks_per_minute < 1 || asks_per_minute > 6'000) {
    found.push_back({"policy.asks_per_minute",
                     "policy.asks_per_minute is " + std::to_string(asks_per_minute) + "; it can be 1 to 6000 (12 if left out)."});
  }
  if (location_ttl > std::chrono::hours(24 * 7) || location_ttl < milliseconds(0))
    found.push_back({"policy.location_ttl", "policy.location_ttl is " + duration_text(location_ttl) + "; it can be 0s to 7d."});
  return found;
}

Enquiries::Enquiries(EnquiriesConfig config, store::DeviceRegistry& devices, workers::PolicyWatch& policy, workers::SiteMap& map,
                     workers::SiteLocator& locator, const Clock& clock, Metrics& metrics)
    : config_(config),
      devices_(devices),
      policy_(policy),
      map_(map),
      locator_(locator),
      clock_(clock),
      answered_(metrics.counter("greengate_asks_total", "Questions of agents to the site.", {{"outcome", "answered"}})),
      refused_(metrics.counter("greengate_asks_total", "Questions of agents to the site.", {{"outcome", "refused"}})),
      waiting_(waiting_max) {}

Enquiries::~Enquiries() { stop(); }

Result<void> Enquiries::start() {
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  return {};
}

void Enquiries::drain(SteadyTime) { waiting_.close(); }

void Enquiries::stop() {
  waiting_.close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Enquiries::work() {
  while (auto question = waiting_.pop()) locate(*question);
}

bool Enquiries::admitted(const AgentId& agent, v1::Answer& refusal) {
  std::lock_guard lock(mutex_);
  Asker& asker = askers_.try_emplace(agent, config_.asks_per_minute / 60.0).first->second;
  asker.gone = false;
  milliseconds wait = busy_retry;
  if (!asker.waits) {
    if (asker.rate.take(clock_.steady())) {
      asker.waits = true;
      return true;
    }
    wait = asker.rate.next_in();
  }
  refusal.set_code("ask.busy");
  refusal.set_message(asker.waits ? "One question at a time: the last one is not answered yet." : "More questions a minute than agreed.");
  refusal.set_retry_after_ms(static_cast<std::uint32_t>(wait.count()));
  return false;
}

void Enquiries::agent_disconnected(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  const auto asker = askers_.find(agent);
  if (asker == askers_.end()) return;
  if (asker->second.waits)
    asker->second.gone = true;  // its place is taken until the site has answered, or coming back would be a way to ask more
  else
    askers_.erase(asker);
}

void Enquiries::answer(const AgentId& agent, v1::Answer answer) {
  {
    std::lock_guard lock(mutex_);
    if (const auto asker = askers_.find(agent); asker != askers_.end()) {
      asker->second.waits = false;
      if (asker->second.gone) askers_.erase(asker);
    }
  }
  (answer.code().empty() ? answered_ : refused_).add();
  log_.debug("asked and answered", kv("agent", agent.raw()), kv("code", answer.code()));
  ways_.answer(agent, answer);  // one that is gone asks again when it is back
}

void Enquiries::asked(const AgentId& agent, const v1::Ask& ask) {
  v1::Answer refusal;
  if (!admitted(agent, refusal)) {
    refusal.set_nonce(ask.nonce());
    refused_.add();
    ways_.answer(agent, refusal);
    return;
  }
  const auto device = devices_.find(agent);
  if (!device || device->site.state != store::IdentityState::ready)
    return answer(agent, no(ask, "ask.not_ready", "The site has not confirmed this agent yet.", std::chrono::seconds(30)));
  if (ask.what_case() == v1::Ask::kPolicy) return answer_policy(agent, ask);
  const v1::LocateKind kind = ask.locate().kind();
  const bool known = ask.what_case() == v1::Ask::kLocate && v1::LocateKind_IsValid(kind) && kind != v1::LOCATE_KIND_UNSPECIFIED;
  if (!known || (kind == v1::LOCATE_KIND_CONTENT && !is_package_id(ask.locate().package_id())))
    return answer(agent, no(ask, "ask.malformed", "This gateway does not understand the question.", milliseconds(0)));
  Question question{agent, ask};
  if (!waiting_.try_push(std::move(question)))
    answer(agent, no(ask, "ask.busy", "Too many questions wait for the site.", busy_retry));
}

void Enquiries::answer_policy(const AgentId& agent, const v1::Ask& ask) {
  const auto tell = [this, agent, ask](const Result<workers::AgentPolicy>& policy) {
    if (!policy) return answer(agent, no(ask, policy.error()));
    if (!policy->set)
      return answer(agent, no(ask, "policy.no_room", "The gateway has no memory for this agent's list (policy.assignments_bytes_max).", milliseconds(0)));
    v1::Answer said;
    said.set_nonce(ask.nonce());
    said.set_at_ms(to_millis(policy->at));
    for (const workers::AssignedPolicy& one : policy->set->policies) {
      v1::AssignedPolicy& to = *said.add_policies();
      to.set_policy_id(one.id);
      to.set_version(one.version);
      to.set_category(one.category);
      to.set_flags(one.flags);
      to.set_standing(one.standing);
    }
    fit(said, *said.mutable_policies());
    answer(agent, std::move(said));
  };
  const auto known = policy_.known(agent);
  if (known && !ask.policy().refresh()) return tell(*known);
  policy_.refresh(agent, tell);
}

void Enquiries::locate(const Question& question) {
  const v1::LocateAsk& wanted = question.ask.locate();
  v1::Answer said;
  said.set_nonce(question.ask.nonce());
  if (wanted.kind() == v1::LOCATE_KIND_MANAGEMENT_POINTS) {
    if (wanted.refresh())
      if (auto done = map_.refresh(); !done) return answer(question.agent, no(question.ask, done.error()));
    const workers::SiteView view = map_.view();
    said.set_at_ms(std::max<std::int64_t>(0, to_millis(view.listed_at)));
    for (const workers::SitePoint& point : view.points) {
      adapters::Location place;
      place.url = point.address;
      place.server = point.host;
      place.version = point.version;
      place.https = point.https;
      place.detail = point.configured ? "configured" : "from the site's list";
      describe(*said.add_locations(), "management point", place);
    }
    fit(said, *said.mutable_locations());
    return answer(question.agent, std::move(said));
  }
  adapters::LocationQuestion location;
  const char* kind = "site";
  location.kind = adapters::LocationKind::site;
  if (wanted.kind() == v1::LOCATE_KIND_CONTENT) {
    kind = "content";
    location.kind = adapters::LocationKind::content;
    location.package_id = wanted.package_id();
    location.package_version = wanted.package_version();
  } else if (wanted.kind() == v1::LOCATE_KIND_UPDATE_SERVER) {
    kind = "update server";
    location.kind = adapters::LocationKind::update_server;
  }
  auto located = locator_.locate(question.agent, std::move(location), ways_.address(question.agent), wanted.refresh());
  if (!located) return answer(question.agent, no(question.ask, located.error()));
  said.set_at_ms(to_millis(located->at));
  for (const adapters::Location& place : located->places) describe(*said.add_locations(), kind, place);
  fit(said, *said.mutable_locations());
  answer(question.agent, std::move(said));
}

}  // namespace greengate::gateway
