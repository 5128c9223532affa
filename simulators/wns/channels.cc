#include "simulators/wns/channels.h"

#include "simulators/common/text.h"

#include <algorithm>

namespace greengate::sim::wns {
namespace {

constexpr std::size_t channels_max = 1'000'000;
constexpr std::size_t deliveries_kept = 100'000;

// Lower-case escapes, as channel URIs are seen to have them: a sender that re-encodes is found out.
std::string escaped(std::string_view base64) {
  std::string out;
  for (const char c : base64) {
    if (c == '+')
      out += "%2b";
    else if (c == '/')
      out += "%2f";
    else if (c == '=')
      out += "%3d";
    else
      out += c;
  }
  return out;
}

}  // namespace

Channel* Channels::issue(const std::string& pfn, const std::string& owner, const std::string& host, bool always_new) {
  const std::int64_t now = clock_.now_ms();
  if (!always_new && settings_.same_uri_while_fresh)
    if (Channel* last = newest(owner, pfn); last != nullptr && !last->revoked && last->expires_ms - now > renew_window_s * 1000) return last;
  if (channels_.size() >= channels_max) return nullptr;
  std::string& label = host_of_[owner];
  if (!host.empty()) label = host;
  if (label.empty()) label = settings_.hosts[host_of_.size() % settings_.hosts.size()];
  auto made = std::make_unique<Channel>();
  made->number = channels_.size() + 1;
  made->pfn = to_lower(pfn);
  made->owner = owner;
  made->host = label + '.' + push_domain;
  // 73 octets: one more than a multiple of three, so that the text ends in two escapes.
  made->target = "/?token=" + escaped(to_base64("SIM-CHANNEL-" + std::to_string(made->number) + '-' +
                                                dice_.bytes(60 - std::to_string(made->number).size())));
  made->uri = "https://" + made->host + made->target;
  made->created_ms = now;
  made->expires_ms = now + settings_.channel_life_s * 1000;
  Channel* const channel = made.get();
  by_uri_[to_lower(made->host) + made->target] = channel;
  by_owner_[owner].push_back(channel);
  channels_.push_back(std::move(made));
  return channel;
}

Channel* Channels::find(std::string_view host, std::string_view target) {
  const auto found = by_uri_.find(to_lower(host) + std::string(target));
  return found == by_uri_.end() ? nullptr : found->second;
}

Channel* Channels::find_uri(std::string_view uri) {
  for (const auto& each : channels_)
    if (each->uri == uri) return each.get();
  return nullptr;
}

Channel* Channels::newest(const std::string& owner, const std::string& pfn) {
  const auto found = by_owner_.find(owner);
  if (found == by_owner_.end()) return nullptr;
  for (auto it = found->second.rbegin(); it != found->second.rend(); ++it)
    if (pfn.empty() || (*it)->pfn == to_lower(pfn)) return *it;
  return nullptr;
}

void Channels::revoke_all(const std::string& owner) {
  for (Channel* each : by_owner_[owner]) {
    each->revoked = true;
    each->cached.clear();
  }
}

void Channels::attach(const std::string& owner, Receiver* receiver) {
  receivers_[owner] = receiver;
}
void Channels::detach(const std::string& owner) {
  receivers_.erase(owner);
}
Receiver* Channels::receiver(const std::string& owner) const {
  const auto found = receivers_.find(owner);
  return found == receivers_.end() ? nullptr : found->second;
}

void Channels::hand_over(Channel& channel, const Notification& notification, Receiver& to) {
  ++channel.deliveries;
  if (deliveries_.size() < deliveries_kept)
    deliveries_.push_back({clock_.now_ms(), channel.owner, notification.message_id, notification.body, channel.number, notification.from_cache});
  to.deliver(notification);
}

void Channels::reconnected(const std::string& owner) {
  Receiver* const to = receiver(owner);
  const auto found = by_owner_.find(owner);
  if (to == nullptr || found == by_owner_.end()) return;
  const std::int64_t now = clock_.now_ms();
  for (Channel* channel : found->second) {
    auto waiting = std::exchange(channel->cached, {});
    for (auto& [kind, notification] : waiting) {
      const std::int64_t life_s = notification.ttl_s.value_or(settings_.cache_life_s);
      if (now >= notification.received_ms + life_s * 1000 || channel->revoked || now >= channel->expires_ms) {
        ++channel->lapsed;
        continue;
      }
      notification.from_cache = true;
      hand_over(*channel, notification, *to);
    }
  }
}

}  // namespace greengate::sim::wns
