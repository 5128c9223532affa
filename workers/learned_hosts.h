#pragma once

#include <string>
#include <vector>

namespace greengate::workers {

/// Which hosts that only the site names may be spoken to: management points of its list, notification servers of its location answers.
///
/// Promise   Such a host is a DNS name inside the allowed domains, never an address or a name of this machine; while all configured
///           management points speak HTTPS, one that does not is refused.
/// Threads   Any.
/// Source    docs/reference/policy.md
class LearnedHosts {
 public:
  /// `configured`: addresses of site.management_points. `domains`: site.mp_list_domains; empty: the domains of the configured ones.
  LearnedHosts(const std::vector<std::string>& configured, const std::vector<std::string>& domains);

  /// `host` in lower case.
  bool allow(const std::string& host, bool https) const;

 private:
  std::vector<std::string> domains_;
  bool http_allowed_ = false;
};

}  // namespace greengate::workers
