#pragma once

#include "adapters/agents/router_socket.h"
#include "core/channel.h"
#include "core/log.h"
#include "core/wakeup.h"
#include "gateway/admission.h"
#include "gateway/enrolment.h"
#include "gateway/ingest.h"
#include "gateway/ingest_probe.h"
#include "gateway/keeper.h"
#include "gateway/receipts.h"
#include "gateway/session_table.h"
#include "gateway/slots.h"

#include "greengate/v1/frame.pb.h"

#include <google/protobuf/arena.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

namespace greengate::gateway {

/// A bell any thread may ring and the ingest thread hears; a thousand rings in a row cost one system call.
class Bell {
 public:
  void ring() {
    if (!rung_.exchange(true)) wakeup_.wake();
  }
  /// Before looking at what it was rung for.
  void answer() {
    wakeup_.clear();
    rung_.store(false);
  }
  int fd() const { return wakeup_.fd(); }

 private:
  Wakeup wakeup_;
  std::atomic<bool> rung_{false};
};

/// What other threads want sent to an agent: one of the two.
struct Outgoing {
  AgentId agent;
  std::string frame;
  std::optional<v1::Receipt> receipt;
};

/// The agents' door from within: one thread that owns the socket and every session, round after round.
///
/// Order     A round: what the store said, who enrolled, who changed, what came in, what goes out. ingest_loop.cc has the rounds and the thread's
///           life, ingest_arrivals.cc what agents say, ingest_receipts.cc what they are told of it.
/// Threads   The public part as Ingest says; everything private is the loop's own.
class Ingest::Loop {
 public:
  Loop(AgentsConfig config, store::ReportQueue& queue, store::DeviceRegistry& devices,
       const Clock& clock, Metrics& metrics);

  Result<void> start();
  void drain(SteadyTime until);
  void stop();
  bool send(Outgoing message);
  void state_changed(const AgentId& agent);

  Presence presence;
  TaskResultListener task_result;
  AskListener ask;
  std::string endpoint, public_key;

 private:
  void run();
  void round();

  // What came in.
  void receive_frames();
  void take(const adapters::ReceivedFrame& frame);
  Session* session_of(const adapters::ReceivedFrame& frame);
  void obey(Session& session, v1::Frame& frame);
  void hello(Session& session, const v1::Hello& hello);
  void enrol(Session& session, const v1::Enrol& enrol);
  void publish(Session& session, v1::Publish& publish);
  void hear_enrolments();
  void hear_state_changes();

  // What goes out.
  void settle();
  void settle_run(const KeptBatch& batch, const KeptRun& run, std::size_t first_entry);
  void note(Session& session, ReceiptNote note);
  void throttle(Session& session, std::uint64_t first, std::uint64_t last, const Refusal& why);
  void carry_out_messages();
  void send_receipts();
  void refuse(adapters::RoutingId route, Session* session, const Refusal& why);
  void want_full_state(Session& session, const char* reason);
  bool send(Session& session, const v1::Frame& frame);
  bool send_bytes(Session& session, std::string_view bytes);
  void give_up(Session& session, const char* why);

  void sweep();
  void finish_draining();
  void warn(const char* code, std::string_view message, const Session* session);

  const AgentsConfig config_;
  store::ReportQueue& queue_;
  store::DeviceRegistry& devices_;
  const Clock& clock_;
  IngestProbe probe_;
  const Log log_{"ingest"};
  const Admission admission_;
  const Slots slots_;
  std::shared_ptr<Bell> bell_;  // shared with the store's answers, which may come late

  // The ingest thread's own.
  std::unique_ptr<adapters::RouterSocket> socket_;
  SessionTable sessions_;
  Keeper keeper_;
  Enrolment enrolment_;
  SteadyTime now_{}, swept_at_{};
  std::vector<std::pair<adapters::RoutingId, std::uint64_t>> with_receipts_;  // route and serial
  std::vector<std::pair<adapters::RoutingId, std::uint64_t>> to_give_up_;
  struct Warned {
    SteadyTime at;
    std::uint64_t suppressed = 0;
  };
  std::map<std::string, Warned, std::less<>> warned_;
  std::vector<char> arena_start_;
  google::protobuf::Arena arena_;
  std::string out_;
  bool farewell_said_ = false;

  // Between threads.
  Channel<Outgoing> outgoing_;
  std::atomic<bool> draining_{false}, stopping_{false};
  std::mutex mutex_;  // guards everything below
  std::condition_variable drained_changed_;
  bool drained_ = false;
  std::unordered_set<AgentId> changed_;  // no more than there are agents
  std::thread thread_;                   // main thread only, apart from the mutex
};

/// Times as the wire counts them.
inline std::uint32_t seconds(std::chrono::milliseconds time) { return static_cast<std::uint32_t>(time.count() / 1'000); }
inline std::uint32_t millis(std::chrono::milliseconds time) { return static_cast<std::uint32_t>(time.count()); }

/// How a device that says Hello stands.
Standing standing_of(const std::optional<store::Device>& device);

}  // namespace greengate::gateway
