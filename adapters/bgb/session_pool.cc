// The pool's public face: takes each call to the strand where the sessions live, and shows what is
// there.
#include "adapters/bgb/session_pool.h"

#include "adapters/bgb/session_pool_impl.h"
#include "core/log.h"

#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <utility>

namespace greengate::adapters {

namespace asio = boost::asio;
using bgb::Session;
using bgb::SessionState;
using std::chrono::milliseconds;

namespace {

const Log logger("bgb");

constexpr milliseconds stop_patience{5'000};

}  // namespace

SessionPool::SessionPool(asio::io_context& net, BgbConfig config, const Clock& clock,
                         Metrics& metrics, IdentitySource identities, BgbListener& listener,
                         SessionRight right, RouteSource routes)
    : impl_(std::make_shared<Impl>(net, std::move(config), clock, metrics, std::move(identities),
                                   listener, std::move(right), std::move(routes))) {}

SessionPool::~SessionPool() {
  stop();
}

Result<void> SessionPool::start() {
  if (!impl_->config.enabled) return {};
  if (auto ready = impl_->prepare(); !ready) return ready;
  impl_->used = true;
  asio::post(impl_->strand, [impl = impl_] { impl->begin(); });
  return {};
}

void SessionPool::drain(SteadyTime until) {
  if (!impl_->used || impl_->net.stopped()) return;
  asio::post(impl_->strand, [impl = impl_] { impl->shut_all(); });
  std::unique_lock lock(impl_->mutex);
  impl_->emptied.wait_until(lock, until, [&] { return impl_->quiet; });
}

void SessionPool::stop() {
  if (!impl_->used || impl_->net.stopped() || impl_->strand.running_in_this_thread())
    return impl_->tear_down();
  auto done = std::make_shared<std::promise<void>>();
  asio::post(impl_->strand, [impl = impl_, done] {
    impl->tear_down();
    done->set_value();
  });
  if (done->get_future().wait_for(stop_patience) != std::future_status::ready)
    logger.error("net thread did not answer in time", kv("component", "bgb"));
}

void SessionPool::open(const AgentId& agent, BgbServers servers) {
  impl_->used = true;
  asio::post(impl_->strand, [impl = impl_, agent, servers = std::move(servers)] { impl->open(agent, servers); });
}

void SessionPool::change_servers(const AgentId& agent, BgbServers servers) {
  asio::post(impl_->strand, [impl = impl_, agent, servers = std::move(servers)] { impl->change_servers(agent, servers); });
}

void SessionPool::close(const AgentId& agent) {
  asio::post(impl_->strand, [impl = impl_, agent] { impl->close(agent); });
}

void SessionPool::respond(const AgentId& agent, std::uint64_t push_id, std::uint64_t task_id,
                          bool success) {
  asio::post(impl_->strand, [impl = impl_, agent, push_id, task_id, success] {
    const auto found = impl->links.find(agent);
    if (found == impl->links.end() || !impl->running) return;
    impl->event(*found->second, [&](Session& session, Impl::Hands& hands) {
      session.respond(impl->clock.steady(), push_id, task_id, success, hands);
    });
  });
}

std::optional<BgbSessionView> SessionPool::view(const AgentId& agent) const {
  std::lock_guard lock(impl_->mutex);
  const auto found = impl_->links.find(agent);
  if (found == impl_->links.end()) return std::nullopt;
  const auto& shown = found->second->shown;
  BgbSessionView view;
  view.state = std::string(bgb::state_name(shown.state));
  if (shown.server) {
    view.server = shown.server->text;
    view.message_version = shown.server->message_version;
  }
  view.transport = shown.by_http ? "http" : "tcp";
  view.holds_key = shown.holds_key;
  view.online_since = shown.online_since;
  view.last_error_code = shown.error_code;
  view.last_error_message = shown.error_message;
  view.attempts = shown.attempts;
  view.pushes = shown.pushes;
  view.duplicates = shown.duplicates;
  view.answers = shown.answers;
  return view;
}

BgbPoolView SessionPool::view() const {
  BgbPoolView view;
  std::lock_guard lock(impl_->mutex);
  view.sessions = impl_->links.size();
  for (const auto& [id, link] : impl_->links) {
    const auto state = link->shown.state;
    if (state == SessionState::online)
      ++view.online;
    else if (state == SessionState::backoff || state == SessionState::queued ||
             state == SessionState::off)
      ++view.waiting;
    else
      ++view.connecting;
  }
  return view;
}

}  // namespace greengate::adapters
