#pragma once

#include "adapters/mdm/dm_visit.h"
#include "adapters/mdm/enrolments.h"
#include "core/config_reader.h"
#include "core/metrics.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace greengate::adapters {

struct DmEndpointConfig {
  DmVisitRules visit;
  SyncmlLimits limits;
  std::uint32_t sessions_max = 1'000;                ///< Open at once; the next device is told to come later.
  std::uint32_t sessions_per_second = 50;
  std::uint32_t device_sessions_per_minute = 6;
  std::chrono::milliseconds retry_after{60'000};     ///< What a device that comes too many is told.

  std::vector<ConfigProblem> problems() const;
};

/// What a POST is answered.
struct DmReply {
  unsigned status = 200;
  std::string code;                          ///< Why, when it is not 200.
  std::string body;
  std::chrono::seconds retry_after{0};       ///< Of a 429.
};

/// The management endpoint without sockets: knows who a certificate is, keeps the open sessions, says no to too many.
///
/// Promise   One session a device. A message that comes again, byte for byte, gets the answer it got. Who is not enrolled is told so before a byte of
///           its message is looked at, and who finds the house full likewise.
/// Limits    DmEndpointConfig.
/// Threads   Any; messages of one device one after the other, a second at once is told 429.
/// Errors    As reply: 400 mdm.syncml, mdm.sequence, mdm.messages, mdm.no_session; 401 mdm.no_certificate; 403 what `who` says, mdm.other_device;
///           413 mdm.too_large; 429 mdm.busy, mdm.full, mdm.too_often.
/// Source    wns-mdm-push 12.1, 13
class DmEndpoint {
 public:
  /// Who a peer is; waits for the disk where a device is new. Errors: mdm.unknown_certificate, mdm.revoked and their kind are 403.
  using Who = std::function<Result<DmDevice>(const DmPeer&)>;

  DmEndpoint(DmEndpointConfig config, Who who, DmHost& host, const Clock& clock, Metrics& metrics);
  ~DmEndpoint();

  DmReply handle(const DmPeer& peer, std::string_view body);
  /// Closes sessions that fell silent; a few times a second.
  void sweep();
  /// The device is no longer ours.
  void forget(const AgentId& agent);
  /// At the end of everything.
  void close_all();
  std::size_t open() const;

 private:
  struct Place;
  DmReply no(unsigned status, const char* code, std::chrono::milliseconds retry_after = {});
  DmReply in_place(Place& place, const DmDevice& device, std::string_view body);
  Result<void> room_for(Place& place);
  /// Under the lock: is there room for one more? Else how much later.
  Result<void> room_at_all(SteadyTime now);
  void end(Place& place, const std::string& how);

  const DmEndpointConfig config_;
  const Who who_;
  DmHost& host_;
  const Clock& clock_;
  const Log log_{"mdm"};
  const Counter messages_, sessions_total_;
  const Gauge sessions_open_;
  Metrics& metrics_;

  mutable std::mutex mutex_;  // guards what follows; never held while a visit is at work
  std::unordered_map<AgentId, std::shared_ptr<Place>> places_;
  std::size_t open_ = 0;
  double tokens_ = 0;
  SteadyTime tokens_at_;
};

}  // namespace greengate::adapters
