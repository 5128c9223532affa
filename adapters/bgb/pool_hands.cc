// What a session's decisions do in the world: messages written, listener told, numbers counted.
#include "adapters/bgb/pool_http.h"
#include "adapters/bgb/session_pool_impl.h"
#include "core/log.h"

#include <chrono>
#include <string>
#include <utility>

namespace greengate::adapters {

using std::chrono::milliseconds;

namespace {

const Log logger("bgb");

constexpr milliseconds alarm_line_every{1'000};

}  // namespace

void SessionPool::Impl::Hands::queue_attempt() {
  pool_.queue(link_);
}

bool SessionPool::Impl::Hands::advance_address() {
  ++link_.address;
  if (link_.http) return link_.address < link_.http->side.route.addresses.size();
  return link_.server && link_.address < link_.server->addresses.size();
}

bool SessionPool::Impl::Hands::fall_back() {
  return pool_.fall_back(link_);
}

void SessionPool::Impl::Hands::send_sign_in() {
  bgb::Message message;
  message.kind = bgb::Kind::sign_in;
  message.client_id = link_.sms_id.raw();
  message.client_type = link_.server->codec.profile().client_type;
  message.client_version = pool_.config.client_version;
  send(message);
}

void SessionPool::Impl::Hands::send_keep_alive() {
  bgb::Message message;
  message.kind = bgb::Kind::keep_alive;
  message.client_id = link_.sms_id.raw();
  message.client_type = link_.server->codec.profile().client_type;
  message.client_version = pool_.config.client_version;
  pool_.probe->keepalives.add();
  send(message);
}

void SessionPool::Impl::Hands::send_response(std::uint64_t push_id, std::uint64_t task_id,
                                             bool success) {
  if (!link_.connection && !link_.http) return;
  const auto& profile = link_.server->codec.profile();
  bgb::Message message;
  message.kind = bgb::Kind::response;
  message.push_id = push_id;
  message.task_id = task_id;
  message.return_code = success ? profile.success_code : profile.failure_code;
  pool_.probe->answers.add();
  ++link_.answers;
  send(message);
}

void SessionPool::Impl::Hands::close(bool orderly) {
  pool_.drop_http(link_, orderly);
  if (!link_.connection) return;
  link_.connection->finish(orderly);
  link_.connection.reset();
}

void SessionPool::Impl::Hands::deliver(const BgbPush& push) {
  ++link_.pushes;
  pool_.listener.on_push(link_.id, push);
}

void SessionPool::Impl::Hands::went_online() {
  link_.online_since = pool_.clock.wall();
  link_.http_served = link_.http != nullptr;
  logger.debug("session online", kv("agent", link_.id.raw()), kv("server", link_.server->text));
  pool_.listener.on_online(link_.id);
}

void SessionPool::Impl::Hands::went_offline(const Error& why) {
  link_.online_since.reset();
  logger.debug("session offline", kv("agent", link_.id.raw()), kv("code", why.code),
               kv("why", why.message));
  pool_.listener.on_offline(link_.id, why);
}

void SessionPool::Impl::Hands::note(bgb::SessionNote note) {
  if (note == bgb::SessionNote::push_duplicate) ++link_.duplicates;
  pool_.probe->note(note);
}

void SessionPool::Impl::Hands::alarm(bgb::SessionAlarm alarm) {
  const bool refused = alarm == bgb::SessionAlarm::sign_in_refused;
  (refused ? pool_.probe->alarm_refused : pool_.probe->alarm_version).add();
  const auto now = pool_.clock.steady();
  if (now - pool_.last_alarm_line < alarm_line_every) {  // a whole fleet may be refused at once
    ++pool_.alarms_unsaid;
    return;
  }
  pool_.last_alarm_line = now;
  logger.error(refused ? "sign-in refused repeatedly" : "no message version in common",
               kv("agent", link_.id.raw()), kv("sms_id", link_.sms_id.raw()),
               kv("server", link_.server ? link_.server->text : ""),
               kv("unsaid", std::exchange(pool_.alarms_unsaid, 0)));
}

void SessionPool::Impl::Hands::send(bgb::Message& message) {
  if (!link_.connection && !link_.http) return;
  const auto& codec = link_.server->codec;
  const auto& versions = codec.profile().versions;
  message.unix_seconds =
      std::chrono::duration_cast<std::chrono::seconds>(pool_.clock.wall().time_since_epoch())
          .count();
  if (link_.http) return link_.http->say(std::move(message));
  std::string xml, bytes;
  auto written = link_.server->schema.write(message, xml);
  if (written)
    written = codec.encode(message.kind, versions[link_.session.version_index() % versions.size()],
                           xml, bytes);
  if (!written) return link_.connection->broke(std::move(written.error()));
  link_.connection->send(bytes);
}

}  // namespace greengate::adapters
