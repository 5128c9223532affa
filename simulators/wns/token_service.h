#pragma once

#include "simulators/wns/apps.h"
#include "simulators/wns/faults.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>

namespace greengate::sim::wns {

/// Both token services (S-1 to S-6): the legacy one answers for login.live.com, the other for login.microsoftonline.com.
///
/// Promise   What a request lacks is told by the OAuth word that a real service would use, and counted at its app.
class TokenService {
 public:
  struct Verdict {
    HttpsAnswer answer;
    std::string pfn;     ///< Empty when nobody is meant.
    std::string result;  ///< ok, or the error's word, or fault.KIND
    std::string scope, client_id;
  };

  TokenService(SimClock& clock, Dice& dice, const Settings& settings, Apps& apps, Faults& faults)
      : clock_(clock), dice_(dice), settings_(settings), apps_(apps), faults_(faults) {}

  boost::asio::awaitable<Verdict> serve(std::shared_ptr<HttpsRequest> request, std::shared_ptr<SimClock::Busy> busy);

 private:
  Verdict judge(const HttpsRequest& request, bool entra);
  Verdict refuse(unsigned status, const char* word, const std::string& text, bool entra, int aadsts = 0);
  void spoil(Verdict& verdict, const Fault& fault, bool entra);

  SimClock& clock_;
  Dice& dice_;
  const Settings& settings_;
  Apps& apps_;
  Faults& faults_;
};

/// application/x-www-form-urlencoded into names and values, in order. Nothing for a broken escape.
std::optional<HttpFields> read_form(std::string_view body);

}  // namespace greengate::sim::wns
