#include "workers/learned_hosts.h"

#include "adapters/http/url.h"
#include "adapters/mp/bootstrap.h"

#include <algorithm>
#include <cctype>

namespace greengate::workers {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

// "mp01.example.test" gives "example.test"; a domain of a single label is nobody's alone.
std::string own_domain_of(const std::string& host) {
  if (!adapters::fit_for_learned_host(host)) return {};
  const std::string domain = host.substr(host.find('.') + 1);
  return domain.find('.') == std::string::npos ? std::string() : domain;
}

}  // namespace

LearnedHosts::LearnedHosts(const std::vector<std::string>& configured, const std::vector<std::string>& domains) {
  for (const std::string& address : configured) {
    const auto url = adapters::parse_url(address);
    if (!url) continue;  // the doors were opened from the same list, and complained
    http_allowed_ = http_allowed_ || !url->tls;
    if (!domains.empty()) continue;
    const std::string domain = own_domain_of(url->host);
    if (!domain.empty() && std::find(domains_.begin(), domains_.end(), domain) == domains_.end()) domains_.push_back(domain);
  }
  for (const std::string& domain : domains) domains_.push_back(lower(domain));
}

bool LearnedHosts::allow(const std::string& host, bool https) const {
  if (!https && !http_allowed_) return false;
  if (!adapters::fit_for_learned_host(host)) return false;
  return std::any_of(domains_.begin(), domains_.end(), [&](const std::string& domain) { return host.ends_with("." + domain); });
}

}  // namespace greengate::workers
