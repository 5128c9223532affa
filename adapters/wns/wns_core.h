#pragma once

#include "adapters/wns/channels.h"
#include "adapters/wns/classify.h"
#include "adapters/wns/pacing.h"
#include "adapters/wns/push_request.h"
#include "adapters/wns/settings.h"
#include "adapters/wns/token_cache.h"
#include "adapters/wns/wakes.h"
#include "adapters/wns/waker.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace greengate::adapters {

class WnsProbe;

/// An answer to a push, as far as it matters.
struct PushAnswer {
  unsigned status = 0;  ///< 0: none came, for `failure`.
  std::string reason;
  HttpHeaders headers;
  std::string failure;  ///< The HTTP client's code.
};

/// A token to be asked for.
struct TokenOrder {
  std::size_t app = 0;
  std::size_t secret = 0;  ///< Which of its secrets.
};

/// What is to be done now; each order is answered once, with push_answered() or token_answered().
struct WnsWork {
  std::vector<PushOrder> pushes;
  std::vector<TokenOrder> tokens;
};

/// Everything the sender decides, without a socket, timer or thread: channels, wakes, tokens and pace. Time comes from the clock, answers
/// come in, orders come out.
///
/// Promise   For any sequence of answers: at most one more push follows a 401; 406, 429, 5xx and failures end no channel; nothing leaves
///           before a throttle's end; at most pushes_per_wake_max pushes a wake; one push in flight a device.
/// Limits    channels_in_memory_max channels (idle ones are dropped first; their records are in the book), one wake a channel.
/// Threads   The owner's lock.
/// Source    wns-mdm-push 3 to 8
class WnsCore {
 public:
  /// An app has no secrets before secrets_changed(). References outlive the core.
  WnsCore(const WnsSettings& settings, std::string install_key, const Clock& clock, WnsProbe& probe, std::uint64_t seed);
  ~WnsCore();
  WnsCore(const WnsCore&) = delete;
  WnsCore& operator=(const WnsCore&) = delete;

  bool knows(const AgentId& device) const;
  /// A record from the book. Nothing when the device is known already.
  void load(const AgentId& device, ChannelRecord record);

  WakeAnswer wake(const AgentId& device, const WakeOrder& order);
  void session_opened(const AgentId& device);
  void session_closed(const AgentId& device);
  void channel_read(const AgentId& device, const ChannelReading& reading);
  std::string pfn_to_set(const AgentId& device);
  void forget(const AgentId& device);
  std::optional<ChannelView> view(const AgentId& device) const;

  /// What is due now.
  WnsWork turn();
  /// When turn() may have something to do by time alone; max() when only an event helps.
  SteadyTime next_due();
  void push_answered(std::uint64_t push, const PushAnswer& answer);
  void token_answered(std::size_t app, Result<TokenGrant> result);
  void secrets_changed(std::size_t app, std::size_t secrets);

  /// How many were forgotten so far: a record read before and loaded after would bring one back.
  std::uint64_t forgotten() const { return forgotten_; }

  /// Records that changed, up to `count_max`; an empty text forgets the device. Those taken before have been written by now.
  std::vector<std::pair<AgentId, std::string>> take_records(std::size_t count_max);
  bool has_records() const { return !dirty_.empty(); }
  /// Gauges and slow alarms; once a minute.
  void take_stock();
  /// Refuses orders from now on.
  void refuse() { refusing_ = true; }
  std::size_t pushes_in_flight() const;
  std::size_t channels() const;
  std::size_t wakes() const { return wakes_; }
  const TokenCache& tokens(std::size_t app) const;

 private:
  struct Channel;
  struct Lane;
  struct App;
  struct InFlight;

  SteadyTime now() const { return clock_.steady(); }
  Channel& channel_of(const AgentId& device);
  Channel* find(const AgentId& device);
  App* app_of(const ChannelRecord& record);
  void evict_one();
  void mark_dirty(const Channel& channel);
  void arm(Channel& channel, SteadyTime at);
  void disarm(Channel& channel);
  void schedule(Channel& channel, SteadyTime due, WakeState state);
  void enqueue(Channel& channel, bool in_front);
  void leave_lane(Channel& channel);
  void timer_fired(Channel& channel);
  void finish(Channel& channel, WakeState state, const char* code, bool attributed = false);
  bool start_next(App& app, WnsWork& work);
  void settle(Channel& channel, const InFlight& sent, const Classified& verdict, std::chrono::milliseconds wait, bool ended);
  void raise(const char* alarm, const App* app, const Channel* channel, std::string_view why);
  WakeState shown_state(const Channel& channel) const;
  HostPace& host(const std::string& name);
  void drop_idle_hosts();

  const WnsSettings& settings_;
  const std::string install_key_;
  const std::vector<std::chrono::milliseconds> confirm_after_;
  const ClassifyDefaults classify_defaults_;
  const Clock& clock_;
  WnsProbe& probe_;
  std::uint64_t random_;
  std::uint64_t ids_ = 0;
  bool refusing_ = false;

  std::unordered_map<AgentId, Channel> channels_;
  std::set<std::pair<SteadyTime, Channel*>> timers_;
  std::vector<std::unique_ptr<App>> apps_;
  std::map<std::string, HostPace, std::less<>> hosts_;
  PushBucket sessions_;  // over all apps
  std::unordered_map<std::uint64_t, InFlight> in_flight_;
  std::unordered_set<AgentId> dirty_, writing_;
  std::uint64_t forgotten_ = 0;
  std::size_t wakes_ = 0;
  std::size_t eviction_bucket_ = 0;

  // Slow alarms.
  std::uint64_t hour_accepted_ = 0, hour_confirmed_ = 0;
  SteadyTime hour_began_;
  std::deque<SteadyTime> deaths_;  // of the last day, bounded
  std::map<std::string, SteadyTime> last_said_;
};

}  // namespace greengate::adapters
