#include "gateway/session_table.h"

#include "core/check.h"

namespace greengate::gateway {

Session* SessionTable::find(adapters::RoutingId route) {
  const auto found = by_route_.find(route);
  return found == by_route_.end() ? nullptr : found->second.get();
}

Session* SessionTable::find_key(const AgentKey& key) {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second;
}

Session* SessionTable::find_agent(const AgentId& agent) {
  const auto found = by_agent_.find(agent);
  return found == by_agent_.end() ? nullptr : found->second;
}

Session* SessionTable::find_serial(adapters::RoutingId route, std::uint64_t serial) {
  Session* session = find(route);
  return session != nullptr && session->serial == serial ? session : nullptr;
}

Session* SessionTable::open(adapters::RoutingId route, std::string_view key, Standing standing,
                            const AgentId& agent,
                            const std::function<void(Session&)>& replaced) {
  GREENGATE_CHECK(!by_route_.contains(route), "a connection has one session");
  if (by_route_.size() >= sessions_max_) return nullptr;
  if (standing == Standing::unknown && unknown_ >= unknown_max_) return nullptr;

  auto session = std::make_unique<Session>(route, AgentKey(std::string(key)), next_serial_++, admission_);
  Session& opened = *session;
  if (Session* older = find_key(opened.key)) {
    replaced(*older);
    stand(*older, Standing::replaced, older->agent);
  }
  by_route_.emplace(route, std::move(session));
  by_key_.emplace(opened.key, &opened);
  opened.standing = Standing::unknown;
  unknown_ += 1;
  if (standing != Standing::unknown) stand(opened, standing, agent);
  return &opened;
}

void SessionTable::stand(Session& session, Standing standing, const AgentId& agent) {
  unknown_ -= session.standing == Standing::unknown ? 1 : 0;
  active_ -= session.standing == Standing::active ? 1 : 0;
  session.standing = standing;
  unknown_ += standing == Standing::unknown ? 1 : 0;
  active_ += standing == Standing::active ? 1 : 0;

  if (standing == Standing::replaced) {
    forget_names(session);
  } else if (session.agent != agent || !by_agent_.contains(agent)) {
    session.agent = agent;
    if (!agent.raw().empty()) by_agent_[agent] = &session;
  }
}

void SessionTable::close(Session& session) {
  unknown_ -= session.standing == Standing::unknown ? 1 : 0;
  active_ -= session.standing == Standing::active ? 1 : 0;
  forget_names(session);
  by_route_.erase(session.route);
}

void SessionTable::forget_names(Session& session) {
  if (find_key(session.key) == &session) by_key_.erase(session.key);
  if (find_agent(session.agent) == &session) by_agent_.erase(session.agent);
}

void SessionTable::for_each(const std::function<void(Session&)>& visit) {
  for (auto& [route, session] : by_route_) visit(*session);
}

void SessionTable::close_silent(SteadyTime since, const std::function<void(Session&)>& leaving) {
  std::vector<Session*> silent;
  for (auto& [route, session] : by_route_)
    if (session->heard_at < since) silent.push_back(session.get());
  for (Session* session : silent) {
    leaving(*session);
    close(*session);
  }
}

}  // namespace greengate::gateway
