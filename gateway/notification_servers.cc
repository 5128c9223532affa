#include "gateway/notification_servers.h"

#include "adapters/bgb/pool_config.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <memory>

namespace greengate::gateway {
namespace {

using adapters::BgbServers;
using std::chrono::milliseconds;

constexpr std::size_t threads = 2;
constexpr std::size_t told_at_once = 256;  // then whoever else waits for the lock comes first
constexpr milliseconds ttl_min{1'000};
constexpr milliseconds look_at_most_every{1'000};
constexpr BackoffConfig after_failure{milliseconds(30'000), milliseconds(900'000)};

Counter answer_counter(Metrics& metrics, const char* outcome) {
  return metrics.counter("greengate_notification_servers_answers_total", "Location answers about agents' notification servers, by what came of them.",
                         {{"outcome", outcome}});
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

NotificationServers::NotificationServers(NotificationServersConfig config, const Clock& clock, Metrics& metrics, std::uint64_t seed)
    : config_(std::move(config)),
      clock_(clock),
      changed_(answer_counter(metrics, "changed")),
      same_(answer_counter(metrics, "same")),
      failed_(answer_counter(metrics, "failed")),
      refused_(metrics.counter("greengate_notification_servers_refused_total", "Hosts of location answers that may not be used.")),
      subnets_known_(metrics.gauge("greengate_notification_servers_subnets", "Subnets whose agents share one location answer.")),
      random_(seed) {}

NotificationServers::~NotificationServers() { stop(); }

Result<void> NotificationServers::start() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  return {};
}

void NotificationServers::drain(SteadyTime) {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wanted_.notify_all();
}

void NotificationServers::stop() {
  drain({});
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void NotificationServers::work() {
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    if (ask_due()) continue;
    std::unique_lock lock(mutex_);
    const SteadyTime now = clock_.steady();
    milliseconds wait = look_at_most_every;
    if (!due_.empty()) wait = std::clamp(std::chrono::ceil<milliseconds>(due_.begin()->first - now), milliseconds(0), wait);
    if (!stopping_ && wait > milliseconds(0)) wanted_.wait_for(lock, wait);
  }
}

NotificationServers::Subnet& NotificationServers::subnet_of(const std::string& address) {
  std::string key = workers::presumed_subnet(address);
  auto found = subnets_.find(key);
  if (found == subnets_.end() && !key.empty() && subnets_.size() >= config_.subnets_max) {
    forget_empty_subnets();
    if (subnets_.size() >= config_.subnets_max) {
      if (!std::exchange(full_said_, true))
        log_.warn("too many subnets, agents of further ones have the site-wide answer", kv("limit", config_.subnets_max));
      key.clear();
      found = subnets_.find(key);
    }
  }
  if (found != subnets_.end()) return found->second;
  found = subnets_.try_emplace(key, after_failure, random_ + subnets_.size()).first;
  found->second.due = clock_.steady();
  due_.emplace(found->second.due, key);
  subnets_known_.set(static_cast<double>(subnets_.size()));
  wanted_.notify_one();
  return found->second;
}

void NotificationServers::forget_empty_subnets() {
  for (auto at = subnets_.begin(); at != subnets_.end();) {
    const auto next = std::next(at);
    if (at->second.agents == 0 && !at->second.asking) {
      due_.erase({at->second.due, at->first});
      subnets_.erase(at);
    }
    at = next;
  }
  subnets_known_.set(static_cast<double>(subnets_.size()));
}

void NotificationServers::open(const AgentId& agent) {
  const std::string address = ways_.address(agent);
  std::lock_guard lock(mutex_);
  Member& member = agents_[agent];
  const bool fresh = member.subnet == nullptr;
  if (fresh || !address.empty()) {
    Subnet& here = subnet_of(address);
    if (member.subnet != &here) {
      if (!fresh) --member.subnet->agents;
      ++here.agents;
      member.subnet = &here;
    }
    here.address = address;
    here.asker = agent;
  }
  const BgbServers& servers = member.subnet->servers;
  if (!servers && config_.settings.empty() && !member.opened) return;  // its answer opens it
  member.opened = servers || !config_.settings.empty();
  ways_.open(agent, servers);
}

void NotificationServers::close(const AgentId& agent) {
  std::lock_guard lock(mutex_);
  if (const auto found = agents_.find(agent); found != agents_.end()) {
    --found->second.subnet->agents;
    agents_.erase(found);
  }
  ways_.close(agent);
}

std::optional<ServersOfAgent> NotificationServers::view(const AgentId& agent) const {
  std::lock_guard lock(mutex_);
  const auto found = agents_.find(agent);
  if (found == agents_.end()) return std::nullopt;
  const Subnet& subnet = *found->second.subnet;
  return ServersOfAgent{subnet.servers != nullptr, !found->second.opened, subnet.servers, subnet.last_failure};
}

// Who came last, or when it is gone any other, as an agent of its own may be what is wrong.
AgentId NotificationServers::asker_of(Subnet& subnet) {
  const auto last = agents_.find(subnet.asker);
  if (last != agents_.end() && last->second.subnet == &subnet) return subnet.asker;
  std::size_t passed_over = static_cast<std::size_t>(random_up_to(milliseconds(static_cast<std::int64_t>(subnet.agents) - 1)).count());
  for (const auto& [id, member] : agents_)
    if (member.subnet == &subnet && passed_over-- == 0) return subnet.asker = id;
  return {};
}

bool NotificationServers::ask_due() {
  std::unique_lock lock(mutex_);
  if (due_.empty() || due_.begin()->first > clock_.steady()) return false;
  const std::string key = due_.begin()->second;
  due_.erase(due_.begin());
  Subnet& subnet = subnets_.at(key);
  const AgentId asker = asker_of(subnet);
  if (asker.raw().empty()) {
    subnets_.erase(key);
    subnets_known_.set(static_cast<double>(subnets_.size()));
    return true;
  }
  const std::string address = key.empty() ? std::string() : subnet.address;
  subnet.asking = true;  // so that nobody else asks, or forgets it
  lock.unlock();
  const auto located = ways_.locate(asker, address);
  answered(key, subnet, located);
  return true;
}

std::vector<std::string> NotificationServers::usable(const std::vector<adapters::Location>& places) const {
  std::vector<std::string> names;
  const auto add = [&](std::string name) {
    if (names.size() < config_.servers_max && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  };
  for (const adapters::Location& place : places) {
    bool configured = false;
    for (const std::string& text : config_.settings) {
      const auto parts = adapters::bgb::parse_server(text);
      if (!parts || lower(parts->host) != place.server) continue;
      configured = true;
      add(text);
    }
    if (configured) continue;
    if (ways_.allow(place.server, place.https))
      add(place.server + ":" + std::to_string(config_.port));
    else
      refused_.add();
  }
  std::sort(names.begin(), names.end());
  return names;
}

void NotificationServers::answered(const std::string& key, Subnet& subnet, const Result<workers::Located>& located) {
  std::vector<std::string> names;
  if (located) names = usable(located->places);
  bool changed = false;
  {
    std::lock_guard lock(mutex_);
    milliseconds wait = std::max(config_.ttl, ttl_min);
    if (!located) {
      wait = std::min(wait, subnet.failures.next(located.error().retry_after));
      subnet.last_failure = located.error().code;
      subnet.asker = AgentId();  // another may know better
      failed_.add();
      log_.warn("the site was not heard on notification servers", kv("code", located.error().code), kv("why", located.error().message),
                kv("retry_in_ms", wait));
    } else if (names.empty()) {
      subnet.last_failure = "notify.no_server";
      failed_.add();
      log_.warn("the site names no notification server that may be used", kv("code", "notify.no_server"), kv("subnet", key),
                kv("passed_over", located->places.size()));
    } else {
      subnet.failures.reset();
      subnet.last_failure.clear();
      changed = !subnet.servers || *subnet.servers != names;
      (changed ? changed_ : same_).add();
    }
    if (changed) {
      const auto same = std::find_if(subnets_.begin(), subnets_.end(), [&](const auto& other) { return other.second.servers && *other.second.servers == names; });
      subnet.servers = same != subnets_.end() ? same->second.servers : std::make_shared<const std::vector<std::string>>(std::move(names));
      log_.info("notification servers of a subnet", kv("subnet", key), kv("servers", subnet.servers->size()), kv("sessions", subnet.agents));
    }
    subnet.due = clock_.steady() + wait + random_up_to(wait / 5);
  }
  if (changed) tell(subnet);
  std::lock_guard lock(mutex_);
  subnet.asking = false;
  due_.emplace(subnet.due, key);
}

void NotificationServers::tell(Subnet& subnet) {
  std::vector<AgentId> agents;
  {
    std::lock_guard lock(mutex_);
    agents.reserve(subnet.agents);
    for (const auto& [id, member] : agents_)
      if (member.subnet == &subnet) agents.push_back(id);
  }
  for (std::size_t i = 0; i < agents.size();) {
    std::lock_guard lock(mutex_);
    for (const std::size_t end = std::min(agents.size(), i + told_at_once); i < end; ++i) {
      const auto found = agents_.find(agents[i]);
      if (found == agents_.end() || found->second.subnet != &subnet) continue;
      // One that is open may have ended by itself, and is not to come back through this.
      if (std::exchange(found->second.opened, true))
        ways_.change(agents[i], subnet.servers);
      else
        ways_.open(agents[i], subnet.servers);
    }
  }
}

milliseconds NotificationServers::random_up_to(milliseconds bound) {
  random_ = random_ * 6364136223846793005ull + 1442695040888963407ull;
  const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(bound.count(), 0)) + 1;
  return milliseconds(static_cast<std::int64_t>((random_ >> 33) % span));
}

}  // namespace greengate::gateway
