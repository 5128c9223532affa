#pragma once

#include "adapters/mdm/dm_endpoint.h"
#include "adapters/mdm/dm_server.h"
#include "adapters/mdm/enrolments.h"
#include "adapters/wns/waker.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "store/device_registry.h"

#include "greengate/v1/notification.pb.h"

#include <boost/json/value.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace greengate::gateway {

/// [mdm]
struct WindowsConfig {
  bool enabled = false;
  std::string enrolments;                            ///< The table's file.
  std::chrono::milliseconds enrolments_check{5'000}; ///< Between two looks whether it changed.
  bool register_at_site = true;                      ///< Devices become clients of the site, as agents do, so that its button reaches them.
  adapters::DmServerConfig server;
  adapters::DmEndpointConfig endpoint;

  std::vector<ConfigProblem> problems() const;
};

/// Windows devices as agents like any other: each row of the enrolment table is a device of the registry, what waits for it is handed over in its
/// management session, and it is woken when something waits.
///
/// Promise   While a device's session is open work is handed over in it and no push is sent; what came too late for it wakes the device after it.
///           What begins later wakes it then, not before.
///           A device whose row is gone is revoked, and let in again when the row comes back; one an operator revoked stays so.
/// Limits    WindowsConfig. Nothing is held of a device that is away but its id, and one wake to come for each kind of task.
/// Threads   Any. wake() waits for nothing. One thread of its own looks at the table and at silent sessions.
/// Errors    start(): mdm.enrolments, mdm.listen, mdm.certificate (reject).
/// Source    wns-mdm-push 8.3, 12, 13; docs/reference/mdm.md
class WindowsDevices final : public Component, public adapters::DmHost {
 public:
  /// The ways out, given by the composition root.
  struct Ways {
    std::function<std::vector<v1::Notification>(const AgentId&, std::uint32_t count_max)> collect;
    std::function<void(const AgentId&, const v1::TaskResult&)> task_result;
    /// A device is in the registry and active (said once in the life of the process, and when it comes back); or it no longer is.
    std::function<void(const AgentId&, bool active)> stands;
  };

  WindowsDevices(WindowsConfig config, store::DeviceRegistry& devices, const Clock& clock, Metrics& metrics);
  ~WindowsDevices() override;
  /// Before start(). Without a waker devices come when they poll.
  void connect(Ways ways, adapters::Waker* waker);

  std::string_view name() const override { return "mdm"; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  void stop() override;
  std::uint16_t port() const { return server_.port(); }

  /// Something waits for it, to be handed over from `start` on: until then it is not woken. Of an agent that is no Windows device: nothing happens.
  void wake(const AgentId& agent, v1::Task task, WallTime start, WallTime deadline, bool urgent);
  /// Is it one of ours?
  bool knows(const AgentId& agent) const;
  /// Why a Windows device will not do this; nothing when it will, or when the agent is none.
  std::optional<Error> refused(const AgentId& agent, const v1::Notification& task) const;
  /// An operator changed its state.
  void state_changed(const AgentId& agent, store::DeviceState state);
  /// For `explain`; null when it is no Windows device.
  boost::json::value explained(const AgentId& agent);

  /// One look at the table and the sessions; its own thread does it, and tests.
  void tick();
  /// A message of a device, as the server hands it over.
  adapters::DmReply handle(const adapters::DmPeer& peer, std::string_view body) { return endpoint_.handle(peer, body); }

  // DmHost
  void visit_opened(const adapters::DmDevice& device) override;
  void visit_closed(const adapters::DmDevice& device) override;
  std::string pfn_to_set(const adapters::DmDevice& device) override;
  void channel_read(const adapters::DmDevice& device, const adapters::DmChannel& channel) override;
  void pfn_outcome(const adapters::DmDevice& device, const std::string& outcome, bool good) override;
  std::vector<v1::Notification> collect(const adapters::DmDevice& device, std::uint32_t count_max) override;
  void task_result(const adapters::DmDevice& device, const v1::TaskResult& result) override;
  Result<adapters::DmMemory> recall(const adapters::DmDevice& device) override;
  Result<void> remember(const adapters::DmDevice& device, const adapters::DmMemory& memory) override;
  void unenrolled(const adapters::DmDevice& device) override;

 private:
  struct Later {
    SteadyTime due;
    adapters::WakeOrder order;
  };
  struct Stamp {
    std::int64_t changed_ns = 0, bytes = -1, file = 0;
    bool operator==(const Stamp&) const = default;
  };
  Result<void> load();
  Stamp stamp() const;
  void settle_rows();
  void forget_channels_of_before(const adapters::Enrolments& before);
  Result<AgentId> ensure(const adapters::DmEnrolment& row);
  Result<adapters::DmDevice> who(const adapters::DmPeer& peer);
  void revoke_removed();
  void withdraw(const AgentId& agent);
  void wake_now(const AgentId& agent, adapters::WakeOrder order);
  void wake_those_due();
  /// Under the lock.
  void put_off(const AgentId& agent, v1::Task task, SteadyTime due, adapters::WakeOrder order);
  void drop_later(const AgentId& agent, SteadyTime until);
  std::shared_ptr<const adapters::Enrolments> table() const;

  const WindowsConfig config_;
  store::DeviceRegistry& devices_;
  const Clock& clock_;
  const Log log_{"mdm"};
  Metrics& metrics_;
  const Gauge enrolled_, pfn_failing_;
  Ways ways_;
  adapters::Waker* waker_ = nullptr;
  adapters::DmEndpoint endpoint_;
  adapters::DmServer server_;

  std::mutex ensure_mutex_;  // one row becomes one device
  Stamp loaded_;             // the own thread's
  SteadyTime looked_;

  mutable std::mutex mutex_;  // guards what follows; nothing else is called under it
  std::shared_ptr<const adapters::Enrolments> table_ = std::make_shared<adapters::Enrolments>();
  std::unordered_map<AgentId, std::string> known_;                          ///< Agent to DeviceID.
  std::unordered_map<AgentId, std::optional<adapters::WakeOrder>> open_;    ///< Sessions, and what came for them since the last collect().
  std::unordered_map<AgentId, std::map<v1::Task, Later>> later_;            ///< Wakes that are not due. Of one kind of task the newest: it took the other's place.
  std::set<std::tuple<SteadyTime, AgentId, v1::Task>> later_by_time_;
  std::unordered_set<AgentId> told_;                                        ///< Those `stands` was told of.
  std::unordered_map<AgentId, bool> pfn_good_;
  std::optional<SteadyTime> pfn_warned_;
  bool stopping_ = false;
  std::condition_variable wanted_;
  std::thread thread_;
};

/// Leaves of `devices` those that can do the task: Windows devices refuse what their kind cannot do, and nobody else is wiped. `windows` may be null.
/// When nobody is left: why, by the first that was left out.
Result<std::vector<AgentId>> able(const WindowsDevices* windows, std::vector<AgentId> devices, const v1::Notification& task);

/// Does the registry's entry call itself a Windows device? For who must know before the table is read; an agent may call itself what it likes.
bool looks_like_windows(const store::Device& device);

/// The registry's key of a Windows device: Z85 of the SHA-256 of its DeviceID, so that a renewed certificate does not make another agent of it.
AgentKey windows_key(const std::string& device_id);

}  // namespace greengate::gateway
