#pragma once

#include "core/clock.h"
#include "core/ids.h"
#include "core/lifecycle.h"
#include "core/metrics.h"
#include "core/result.h"
#include "gateway/agents_config.h"
#include "gateway/presence.h"
#include "store/device_registry.h"
#include "store/report_queue.h"

#include <functional>
#include <memory>
#include <string>

namespace greengate::v1 {
class Answer;
class Ask;
class Directions;
class Notification;
class Receipt;
class TaskResult;
}  // namespace greengate::v1

namespace greengate::gateway {

/// The agents' door: receives, admits, keeps, acknowledges; enrols; carries notifications out and their results in.
///
/// Promise   A STORED receipt leaves only after the store said that the report is synced. What is refused is said so, with a code. Nothing
///           one agent sends disturbs another. A revoked agent is cut off as soon as on_state_changed() is called.
/// Order     Of one agent: as sent. A throttled report throttles the rest of its frame; the store refuses what comes
///           after a gap, and the agent hears RESEND.
/// Limits    AgentsConfig. A connection that does not read its receipts is given up; its agent says Hello again and learns where it stands.
/// Threads   One of its own owns the socket and every session. listen(), on_…(): before start(). send_…(),
///           on_state_changed(), presence(): any. Listeners are called on the ingest thread.
/// Errors    start(): agents.key_file, agents.key_io, agents.bind, agents.socket.
/// Source    docs/adr/0005-threads-and-sockets.md, docs/adr/0006-receipts-and-idempotency.md
class Ingest final : public Component {
 public:
  using TaskResultListener = std::function<void(const AgentId&, const v1::TaskResult&)>;
  using AskListener = std::function<void(const AgentId&, const v1::Ask&)>;

  /// Queue, registry, clock and metrics outlive this.
  Ingest(AgentsConfig config, store::ReportQueue& queue, store::DeviceRegistry& devices,
         const Clock& clock, Metrics& metrics);
  ~Ingest() override;

  void listen(PresenceListener& listener);
  void on_task_result(TaskResultListener listener);
  /// Without one every Ask is answered ask.unavailable.
  void on_ask(AskListener listener);

  const Presence& presence() const;
  /// Where it listens and the key agents pin. Known once started.
  std::string endpoint() const;
  std::string public_key() const;

  /// False when the agent is not connected or too much is waiting. True says that it will be sent, not that it arrives.
  bool send_notification(const AgentId& agent, const v1::Notification& notification);
  /// The same for what became of a report later. The receipt names its incarnation; an agent with another one does not get it.
  bool send_receipt(const AgentId& agent, const v1::Receipt& receipt);
  /// The same for asking an agent for its whole state: something it said before is not known here.
  bool ask_full_state(const AgentId& agent, const std::string& reason);
  bool send_answer(const AgentId& agent, const v1::Answer& answer);
  bool send_directions(const AgentId& agent, const v1::Directions& directions);
  /// An operator approved or revoked this agent, and the registry knows already.
  void on_state_changed(const AgentId& agent);

  std::string_view name() const override { return "ingest"; }
  Result<void> start() override;
  /// Stops reading, finishes what is on its way to the disk, sends the last receipts, then tells every agent when to come back.
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace greengate::gateway
