// The device's side of the push registration: S-20 to S-23.
#include "simulators/common/text.h"
#include "simulators/mdm_device/device.h"

namespace greengate::sim::mdm {

int Device::set_pfn(const std::string& pfn, bool) {
  if (faults_.hang_on_pfn) {
    pending_delay_ms_ = -1;  // the session ends here
    return 200;
  }
  if (world_.settings.channel_delay_ms > 0) pending_delay_ms_ += world_.dice.between(0, world_.settings.channel_delay_ms);
  const bool refused = faults_.pfn_replace == 404 || faults_.pfn_replace == 405 || faults_.pfn_replace == 406;
  if (!refused) show_push_nodes(pfn);
  pfn_ = refused ? pfn_ : pfn;
  if (faults_.push_status) {
    registration_status_ = *faults_.push_status;
    uri_.clear();
  }
  if (faults_.pfn_replace != 0) return faults_.pfn_replace;
  if (faults_.push_status) return 200;
  const auto refuse = [&](int status) {
    registration_status_ = status;
    uri_.clear();
    return 500;
  };
  wns::App* const app = world_.apps.find(pfn);
  if (app == nullptr || to_lower(pfn) != pfn) return refuse(1);
  if (app->revoked) return refuse(3);
  if (msa_device_auth) return refuse(2);
  if (!power_.network || !power_.service_reachable) {
    registration_status_ = 4;
    uri_.clear();
    schedule_renewal(world_.dice.between(3 * 3600, 5 * 3600));
    return 200;
  }
  ask_for_channel(false);
  return 200;
}

// They are there once a PFN was given, even one that the service refused: Status says why.
void Device::show_push_nodes(const std::string& pfn) {
  const std::string push = "Vendor/MSFT/DMClient/Provider/" + world_.settings.provider_id + "/Push";
  for (const char* each : {"", "/ChannelURI", "/Status", "/PFN"}) tree_.find(push + each)->present = !pfn.empty() || std::string_view(each) != "/PFN";
  tree_.find(push + "/PFN")->value = pfn;
}

int Device::unregister() {
  world_.channels.revoke_all(name_);
  world_.clock.cancel(renewal_);
  renewal_ = 0;
  uri_.clear();
  pfn_.clear();
  registration_status_ = 4;
  return 200;
}

bool Device::ask_for_channel(bool always_new) {
  const wns::Channel* const channel = world_.channels.issue(pfn_, name_, channel_host, always_new);
  if (channel == nullptr) return false;
  const bool changed = channel->uri != uri_;
  uri_ = channel->uri;
  expiry_ms_ = channel->expires_ms;
  registration_status_ = 0;
  const RenewalDelay delay = renewal_delay(build, (expiry_ms_ - world_.clock.now_ms()) / 1000, true, true);
  schedule_renewal(world_.dice.between(delay.min_s, delay.max_s));
  return changed;
}

bool Device::renew_now() {
  if (pfn_.empty()) return false;
  ++renewals_;
  return ask_for_channel(true);
}

void Device::schedule_renewal(std::int64_t delay_s) {
  world_.clock.cancel(renewal_);
  renewal_ = world_.clock.after(std::chrono::seconds(delay_s), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->renewal_due();
  });
}

void Device::renewal_due() {
  if (pfn_.empty() || !enrolled_) return;
  const std::int64_t expiry_in_s = (expiry_ms_ - world_.clock.now_ms()) / 1000;
  const bool network = power_.on && power_.network && power_.service_reachable;
  const bool tried = renewal_is_tried(build, network);
  if (tried && network && !renewal_broken) {
    ++renewals_;
    // Success with another URI starts a session by itself (section 7).
    if (ask_for_channel(expiry_in_s <= wns::renew_window_s)) {
      if (running_ != nullptr)
        follow_up_ = "renewal";
      else if (power_.session_possible())
        start_session("renewal");
    }
    return;
  }
  if (!tried) ++renewals_skipped_;
  if (!uri_.empty() && expiry_in_s < 0) registration_status_ = 5;
  const RenewalDelay delay = renewal_delay(build, expiry_in_s, network, tried);
  schedule_renewal(world_.dice.between(delay.min_s, delay.max_s));
}

std::string Device::reported_uri() {
  if (!faults_.channel_uri.empty()) return faults_.channel_uri;
  if (faults_.huge_uri > 0) return "https://wns2-sim1p.notify.windows.com/?token=" + std::string(static_cast<std::size_t>(faults_.huge_uri), 'A');
  if (faults_.flapping_uri) return "https://wns2-sim1p.notify.windows.com/?token=" + world_.dice.hex(64);
  return uri_;
}

int Device::read_uri(std::string& out) {
  out = reported_uri();
  // Expired: there, and empty. Never had, or refused: a setting says how that looks (S-21).
  if (push_status() == 5 && faults_.channel_uri.empty()) out.clear();
  else if (out.empty() && absent_style == "404") return 404;
  return 200;
}

int Device::push_status() const {
  if (push_unanswered_) return 7;
  if (registration_status_ == 0 && world_.clock.now_ms() >= expiry_ms_) return 5;
  return registration_status_;
}

void Device::set_push_node(const std::string& pfn) {
  if (pfn.empty()) {
    unregister();
    tree_.remove("./Vendor/MSFT/DMClient/Provider/" + world_.settings.provider_id + "/Push");
    return;
  }
  const DmNode* push = tree_.find("Vendor/MSFT/DMClient/Provider/" + world_.settings.provider_id + "/Push/PFN");
  tree_.set("./Vendor/MSFT/DMClient/Provider/" + world_.settings.provider_id + "/Push/PFN", pfn, push == nullptr || !push->present);
  pending_delay_ms_ = 0;
}

// Pushes.

bool Device::connected() const {
  return enrolled_ && power_.socket_open();
}

void Device::deliver(const wns::Notification& notification) {
  ++deliveries_;
  if (notification.kind != "raw") return;  // only raw starts a session
  if (!power_.acts_now(notification.priority)) {
    held_ = true;
    ++held_count_;
    return;
  }
  react_to_push();
}

void Device::release_held() {
  // What was held has the priority of an unmarked raw push: it acts where that does.
  if (!held_ || !power_.socket_open() || !power_.acts_now(3)) return;
  held_ = false;
  react_to_push();
}

void Device::react_to_push() {
  if (faults_.ignore_push || !enrolled_) return;
  if (!power_.session_possible()) {
    push_unanswered_ = true;
    return;
  }
  if (running_ != nullptr) {
    follow_up_ = "push";  // one, however many pushes
    return;
  }
  if (wake_pending_) return;
  wake_pending_ = true;
  later(queue_mode ? world_.settings.queue_delay_ms : world_.settings.push_delay_ms, [](Device& self) {
    self.wake_pending_ = false;
    if (!self.power_.session_possible()) {
      self.push_unanswered_ = true;
    } else if (self.running_ != nullptr) {
      self.follow_up_ = "push";
    } else {
      self.start_session("push");
    }
  });
}

void Device::power_changed(bool was_connected, bool) {
  if (!was_connected && connected()) world_.channels.reconnected(name_);
  release_held();
}

void Device::go_off_line(std::int64_t ms) {
  const bool was = connected();
  power_.on = false;
  power_changed(was, true);
  later(ms, [](Device& self) {
    const bool before = self.connected();
    self.power_.on = true;
    self.power_changed(before, false);
  });
}

void Device::later(std::int64_t ms, std::function<void(Device&)> what) {
  world_.clock.after(std::chrono::milliseconds(ms), [weak = weak_from_this(), what = std::move(what)] {
    if (const auto self = weak.lock()) what(*self);
  });
}

}  // namespace greengate::sim::mdm
