#include "workers/site_locator.h"

#include <arpa/inet.h>

#include <array>

namespace greengate::workers {
namespace {

constexpr std::size_t known_max = 1'024;

Counter location_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_location_requests_total", "Questions of agents about where things of the site are.", {{"outcome", outcome}});
}

}  // namespace

std::string presumed_subnet(const std::string& address) {
  std::array<unsigned char, 16> bytes{};
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) {
    bytes[3] = 0;
    return inet_ntop(AF_INET, bytes.data(), text.data(), text.size());
  }
  if (inet_pton(AF_INET6, address.c_str(), bytes.data()) != 1) return {};
  for (std::size_t i = 8; i < 16; ++i) bytes[i] = 0;
  return inet_ntop(AF_INET6, bytes.data(), text.data(), text.size());
}

SiteLocator::SiteLocator(std::chrono::milliseconds ttl, const adapters::MpSettings& settings, Identities& identities, Courier& courier,
                         const Clock& clock, Metrics& metrics)
    : ttl_(ttl),
      settings_(settings),
      identities_(identities),
      courier_(courier),
      clock_(clock),
      asked_(location_counter(metrics, "asked")),
      remembered_(location_counter(metrics, "remembered")),
      failed_(location_counter(metrics, "failed")) {}

Result<Located> SiteLocator::locate(const AgentId& agent, adapters::LocationQuestion question, const std::string& address, bool refresh) {
  question.subnet = presumed_subnet(address);
  question.address = question.subnet.empty() ? std::string() : address;
  std::string key = std::to_string(static_cast<int>(question.kind));
  if (question.kind != adapters::LocationKind::site)
    key += "|" + question.subnet + "|" + question.package_id + "|" + std::to_string(question.package_version);
  {
    std::lock_guard lock(mutex_);
    const auto known = known_.find(key);
    if (!refresh && known != known_.end() && known->second.first > clock_.steady()) {
      remembered_.add();
      return known->second.second;
    }
  }
  const auto ask = [&]() -> Result<Located> {
    auto identity = identities_.of(agent);
    if (!identity) return pass(identity);
    adapters::ReportFacts facts;
    facts.message_id = adapters::new_message_id();
    facts.made_at = clock_.wall();
    auto message = adapters::location_request(settings_, *identity, facts, question);
    if (!message) return pass(message);
    auto answer = courier_.send(*message);
    if (!answer) return pass(answer);
    if (answer->kind != adapters::Verdict::Kind::reply || answer->xml.empty())
      return fail(Remedy::retry, "mp.refused", "The management point answered the question with nothing.");
    auto places = adapters::parse_location_reply(settings_, question.kind, answer->xml);
    if (!places) return pass(places);
    return Located{std::move(*places), clock_.wall()};
  };
  auto located = ask();
  (located ? asked_ : failed_).add();
  if (!located) return located;
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.steady();
  if (known_.size() >= known_max) std::erase_if(known_, [&](const auto& one) { return one.second.first <= now; });
  if (known_.size() >= known_max) known_.erase(known_.begin());
  known_[key] = {now + ttl_, *located};
  return located;
}

}  // namespace greengate::workers
