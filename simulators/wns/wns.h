#pragma once

#include "simulators/common/authority.h"
#include "simulators/common/exact_evidence.h"
#include "simulators/wns/apps.h"
#include "simulators/wns/channels.h"
#include "simulators/wns/faults.h"
#include "simulators/wns/push_service.h"
#include "simulators/wns/token_service.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/json.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

namespace greengate::sim::wns {

/// The simulated push notification service: token services and push service on one TLS port, told apart by the name in the handshake.
///
/// Promise   Written from the published facts alone; every request is in wns-requests.jsonl with its verdict, and byte by byte in
///           wns-requests/ (readable by the owner only: those files hold tokens, secrets and channel URIs).
/// Limits    The newest 100 000 requests are held in memory; see Settings, Apps, Channels, Faults.
/// Threads   The io_context's one thread.
/// Errors    https.bind, authority.*, evidence.*
/// Source    wns-mdm-push 3, 5, 6, 7 and 9.1 to 9.3
class Service {
 public:
  Service(boost::asio::io_context& io, SimClock& clock, Dice& dice, Settings& settings);
  ~Service();
  /// Makes certificates under `authority`, which outlives us.
  Result<void> start(const Authority& authority);
  void stop();
  std::uint16_t port() const { return listener_.port(); }

  Apps& apps() { return apps_; }
  Channels& channels() { return channels_; }
  Faults& faults() { return faults_; }
  Settings& settings() { return settings_; }

  /// One request as tests read it.
  struct Line {
    std::uint64_t number = 0;
    boost::json::object facts;
  };
  const std::deque<Line>& lines() const { return lines_; }
  std::uint64_t last_number() const { return last_number_; }
  boost::json::object counters() const;
  const std::map<std::string, std::uint64_t>& connects() const { return connects_; }

  /// Makes a receiver that only counts, for channels of nobody's device.
  void pretend(const std::string& owner, bool connected);

 private:
  class Pretender;
  Reception receive(const std::string& server_name);
  boost::asio::awaitable<HttpsAnswer> serve(std::shared_ptr<HttpsRequest> request, std::shared_ptr<SimClock::Busy> busy);
  void note(const HttpsRequest& request, const HttpsAnswer& answer, boost::json::object facts);
  Result<void> prepare(boost::asio::ssl::context& context, const Issued& identity);

  SimClock& clock_;
  Settings& settings_;
  Apps apps_;
  Channels channels_;
  Faults faults_;
  TokenService tokens_;
  PushService pushes_;
  HttpsListener listener_;
  ExactEvidence evidence_;
  boost::asio::ssl::context legacy_, entra_, push_, wrong_name_, expired_, foreign_;
  std::map<std::string, std::unique_ptr<Pretender>> pretenders_;
  std::map<std::string, std::uint64_t> connects_;  // by name
  std::deque<Line> lines_;
  std::uint64_t last_number_ = 0;
};

}  // namespace greengate::sim::wns
