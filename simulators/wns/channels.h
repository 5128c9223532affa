#pragma once

#include "simulators/common/dice.h"
#include "simulators/common/sim_clock.h"
#include "simulators/wns/settings.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::sim::wns {

struct Notification {
  std::string kind;  ///< raw, toast, tile, badge
  std::string content_type, body, message_id;
  int priority = 3;
  std::int64_t received_ms = 0;
  std::optional<std::int64_t> ttl_s;
  bool from_cache = false;
};

/// The device's end of the service's long-lived connection.
class Receiver {
 public:
  virtual ~Receiver() = default;
  virtual bool connected() const = 0;
  virtual void deliver(const Notification& notification) = 0;
};

struct ChannelThrottle {
  std::int64_t limit = 0, window_s = 0;  ///< No limit while window_s is 0.
  std::int64_t window_began_ms = 0, in_window = 0;
};

struct Channel {
  std::uint64_t number = 0;
  std::string pfn, owner, host, target, uri;
  std::int64_t created_ms = 0, expires_ms = 0;
  bool revoked = false;
  ChannelThrottle throttle;
  std::int64_t delay_ms = 0;                  ///< Answers to its pushes wait so long (wns.delay).
  std::map<std::string, Notification> cached;  ///< One slot a kind (7.1).
  std::map<std::string, std::uint64_t> pushes;  ///< By "status word".
  std::uint64_t deliveries = 0, replaced = 0, lapsed = 0;
};

/// Who may be reached where (S-10, S-11).
/// Limits    1 000 000 channels; then no more are issued.
/// Threads   The io_context's one thread.
class Channels {
 public:
  Channels(SimClock& clock, Dice& dice, const Settings& settings) : clock_(clock), dice_(dice), settings_(settings) {}

  /// The device's newest channel of this app while more than 15 days are left (a setting), a new one otherwise. `host`: the first label, or
  /// empty for the device's own. Null when there are too many.
  Channel* issue(const std::string& pfn, const std::string& owner, const std::string& host = {}, bool always_new = false);
  /// Any octet that differs makes it unknown; only the host's case does not matter.
  Channel* find(std::string_view host, std::string_view target);
  Channel* find_uri(std::string_view uri);
  Channel* newest(const std::string& owner, const std::string& pfn = {});
  void revoke_all(const std::string& owner);
  const std::vector<std::unique_ptr<Channel>>& all() const { return channels_; }

  void attach(const std::string& owner, Receiver* receiver);
  void detach(const std::string& owner);
  Receiver* receiver(const std::string& owner) const;
  /// Hands over what waited and is not too old (S-10).
  void reconnected(const std::string& owner);
  void hand_over(Channel& channel, const Notification& notification, Receiver& to);

  struct Delivery {
    std::int64_t time_ms = 0;
    std::string owner, message_id, body;
    std::uint64_t channel = 0;
    bool from_cache = false;
  };
  const std::vector<Delivery>& deliveries() const { return deliveries_; }

 private:
  SimClock& clock_;
  Dice& dice_;
  const Settings& settings_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::map<std::string, Channel*, std::less<>> by_uri_;
  std::map<std::string, std::vector<Channel*>> by_owner_;
  std::map<std::string, std::string> host_of_;
  std::map<std::string, Receiver*> receivers_;
  std::vector<Delivery> deliveries_;
};

}  // namespace greengate::sim::wns
