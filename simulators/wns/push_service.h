#pragma once

#include "simulators/wns/apps.h"
#include "simulators/wns/channels.h"
#include "simulators/wns/faults.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>
#include <vector>

namespace greengate::sim::wns {

/// The push service: the checks of 9.3 in their order, and S-10.
class PushService {
 public:
  struct Verdict {
    HttpsAnswer answer;
    std::string word;         ///< The status word, empty when the answer has none.
    std::string device_word;  ///< Empty unless it was asked for.
    std::string pfn, device;  ///< Of the channel, when it was found.
    std::string token_pfn;
    std::string why;          ///< The check that ended it: method, chunked, authorization, token, channel …; ok or fault.
    std::string message_id;
    std::vector<std::string> warnings;  ///< Allowed, but no careful sender does it.
  };

  PushService(SimClock& clock, Dice& dice, const Settings& settings, Apps& apps, Channels& channels, Faults& faults)
      : clock_(clock), dice_(dice), settings_(settings), apps_(apps), channels_(channels), faults_(faults) {}

  boost::asio::awaitable<Verdict> serve(std::shared_ptr<HttpsRequest> request, std::shared_ptr<SimClock::Busy> busy);

 private:
  struct Wish;
  void judge(const HttpsRequest& request, Verdict& verdict);
  bool read_headers(const HttpsRequest& request, Wish& wish, std::string& complaint);
  bool app_holds_back(App& app, Verdict& verdict);
  void accept(Channel& channel, const Wish& wish, const HttpsRequest& request, Verdict& verdict);
  void spoil(const Fault& fault, Verdict& verdict);
  void finish(const HttpsRequest& request, Verdict& verdict, const std::string& description);

  SimClock& clock_;
  Dice& dice_;
  const Settings& settings_;
  Apps& apps_;
  Channels& channels_;
  Faults& faults_;
  std::uint64_t trace_ = 0;
};

}  // namespace greengate::sim::wns
