// Which servers there are, whose they are, and what becomes of a session whose agent has others now.
#include "adapters/bgb/pool_http.h"
#include "adapters/bgb/session_pool_impl.h"
#include "core/log.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace greengate::adapters {

using bgb::SessionState;
using std::chrono::milliseconds;

namespace {

const Log logger("bgb");

constexpr milliseconds refusal_line_every{10'000};  // a hostile answer may name new ones each time
constexpr milliseconds look_again{1'000};           // at the bound, for one to drop
constexpr milliseconds idle_at_the_bound{10'000};
constexpr milliseconds server_look_every{10'000};

bool holds(const auto& list, const auto* server) { return std::find(list.begin(), list.end(), server) != list.end(); }

}  // namespace

Result<void> SessionPool::Impl::prepare_servers() {
  std::set<std::string> wanted;
  for (const auto& server : config.servers) wanted.insert(profile_of(server));
  if (config.servers_from == "location") {
    wanted.insert(config.profile);
    for (const auto& entry : config.server_profiles) wanted.insert(entry.substr(entry.find('=') + 1));
  }
  rules.version_count = 1;
  for (const auto& from : wanted) {  // a server that comes later finds its profile read
    auto profile = bgb::load_profile(from);
    if (!profile) return pass(profile);
    profile->header_bytes_max = std::min(profile->header_bytes_max, config.header_bytes_max);
    profile->payload_bytes_max = std::min(profile->payload_bytes_max, config.payload_bytes_max);
    rules.version_count = std::max(rules.version_count, static_cast<std::uint32_t>(profile->versions.size()));
    for (const auto& [key, value] : profile->guesses)
      logger.info("profile value is guessed", kv("profile", profile->name), kv("key", key), kv("value", value));
    profiles.emplace(from, std::move(*profile));
  }
  ServerList configured;
  for (const auto& text : config.servers) {
    auto server = add_server(text, true);
    if (!server) return pass(server);
    configured.push_back(*server);
  }
  if (!configured.empty()) settings_list = shared(std::move(configured));
  probe->configured_servers.set(static_cast<double>(servers.size()));
  return {};
}

std::string SessionPool::Impl::profile_of(const std::string& server) const {
  for (const auto& entry : config.server_profiles)
    if (entry.starts_with(server + "=")) return entry.substr(server.size() + 1);
  return config.profile;
}

Result<SessionPool::Impl::Server*> SessionPool::Impl::add_server(const std::string& text, bool configured) {
  const auto found = profiles.find(profile_of(text));
  if (found == profiles.end()) return fail(Remedy::reject, "bgb.config", "bgb.servers_from is \"settings\".");
  const bgb::Profile& profile = found->second;
  auto parts = bgb::parse_server(text);
  if (!parts) return fail(Remedy::reject, "bgb.server_name", "\"" + text.substr(0, 300) + "\" is no \"host:port\".");
  auto server = std::make_unique<Server>(*this, text, std::move(*parts), profile, configured);
  if (auto ready = prepare_http(*server, profile); !ready) return pass(ready);
  logger.info("notification server", kv("server", text), kv("profile", profile.name), kv("guessed_values", profile.guesses.size()),
              kv("from", configured ? "settings" : "location"));
  servers.push_back(std::move(server));
  return servers.back().get();
}

SessionPool::Impl::Server* SessionPool::Impl::server_named(const std::string& text) {
  const auto known = std::find_if(servers.begin(), servers.end(), [&](const auto& server) { return server->text == text; });
  const auto now = clock.steady();
  if (known != servers.end()) {
    (*known)->used_at = now;  // until a list holds it
    return known->get();
  }
  if (servers.size() >= config.servers_max && now >= servers_full_until) {
    servers_full_until = now + look_again;
    drop_unused_servers(now, std::min(config.servers_idle, idle_at_the_bound));
  }
  if (servers.size() >= config.servers_max) {
    refuse_server(text, "bgb.servers_full", "There are as many servers as bgb.servers_max allows.");
    return nullptr;
  }
  auto added = add_server(text, false);
  if (!added) {
    refuse_server(text, "bgb.server_name", added.error().message);
    return nullptr;
  }
  probe->learned_servers.add(1);
  return *added;
}

void SessionPool::Impl::refuse_server(const std::string& text, const char* code, const std::string& why) {
  probe->server_refused(code);
  const auto now = clock.steady();
  if (last_refusal_line != SteadyTime{} && now - last_refusal_line < refusal_line_every) return;
  last_refusal_line = now;
  logger.error("notification server left out", kv("code", code), kv("server", text.substr(0, 300)), kv("why", why));
}

// The list of these names; the settings' where none of them can be had, and none where those name nothing either.
SessionPool::Impl::SharedServerList SessionPool::Impl::list_of(const BgbServers& names) {
  if (!names) return settings_list;
  if (list_names == names) return list_of_names;
  ServerList list;
  for (const auto& name : *names) {
    Server* const server = server_named(name);
    if (server && !holds(list, server)) list.push_back(server);
  }
  list_of_names = list.empty() ? settings_list : shared(std::move(list));
  list_names = names;
  return list_of_names;
}

SessionPool::Impl::SharedServerList SessionPool::Impl::shared(ServerList list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  auto& known = lists[list];
  if (auto there = known.lock()) return there;
  auto made = std::make_shared<const ServerList>(std::move(list));
  known = made;
  if (lists.size() >= clear_lists_at) {
    std::erase_if(lists, [](const auto& one) { return one.second.expired(); });
    clear_lists_at = std::max<std::size_t>(64, 2 * lists.size());
  }
  return made;
}

void SessionPool::Impl::change_servers(const AgentId& agent, const BgbServers& names) {
  const auto found = links.find(agent);
  if (found == links.end() || refusing) return;
  if (!running) {
    names_before_start[agent] = names;
    return;
  }
  give_servers(*found->second, list_of(names));
  after(*found->second);
}

void SessionPool::Impl::give_servers(Link& link, SharedServerList list) {
  if (!list || link.servers == list) return;
  const bool first = !link.servers;
  link.servers = std::move(list);
  link.moves = false;
  if (first || link.dead) return;
  if (link.queued_at) {
    // Its turn comes where it is going to, or another server's budget would pay for it.
    if (&server_for(link) == link.queued_at) return;
    link.queued_at = nullptr;
    return queue(link);
  }
  if (link.server && !holds(*link.servers, link.server)) leave_server(link);
}

void SessionPool::Impl::leave_server(Link& link) {
  link.moves = link.session.state() == SessionState::online && link.session.answer_due();
  if (link.moves) return;  // its answers first
  Hands hands(*this, link);
  link.session.relocate(clock.steady(), {Remedy::retry, "bgb.moved", "This server is not one of the agent's any more.", {}}, hands);
}

// Servers of location answers that no agent has and no connection is at. Who is looked at is few, so the rest is asked who they know.
void SessionPool::Impl::drop_unused_servers(SteadyTime now, milliseconds idle) {
  next_server_look = now + std::min(server_look_every, config.servers_idle);
  list_names.reset();
  list_of_names.reset();
  std::erase_if(lists, [](const auto& one) { return one.second.expired(); });
  if (std::all_of(servers.begin(), servers.end(), [](const auto& server) { return server->configured; })) return;
  for (auto& server : servers)
    server->in_use = server->configured || server->in_flight > 0 || server->resolving || !server->waiting.empty() ||
                     !server->connected.empty() || (server->http && (server->http->sessions > 0 || server->http->probe));
  for (const auto& [list, unused] : lists)
    for (Server* server : list) server->in_use = true;
  for (const auto& [id, link] : links) {
    if (link->server) link->server->in_use = true;
    if (link->queued_at) link->queued_at->in_use = true;
  }
  for (auto& server : servers)
    if (server->in_use) server->used_at = now;
  const auto dropped = std::erase_if(servers, [&](const auto& server) {
    if (server->in_use || now - server->used_at < idle) return false;
    logger.info("notification server forgotten, no agent has it", kv("server", server->text));
    return true;
  });
  probe->learned_servers.add(-static_cast<double>(dropped));
}

}  // namespace greengate::adapters
