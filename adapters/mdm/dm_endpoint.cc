#include "adapters/mdm/dm_endpoint.h"

#include "core/random.h"

#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <deque>
#include <optional>

namespace greengate::adapters {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t nonce_bytes = 16;
constexpr auto busy_retry = std::chrono::seconds(1);

std::array<unsigned char, SHA256_DIGEST_LENGTH> digest_of(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

}  // namespace

std::vector<ConfigProblem> DmEndpointConfig::problems() const {
  std::vector<ConfigProblem> found;
  const auto between = [&](const char* key, std::int64_t value, std::int64_t least, std::int64_t most) {
    if (value >= least && value <= most) return;
    found.push_back({key, std::string(key) + " is " + std::to_string(value) + "; it can be " + std::to_string(least) + " to " + std::to_string(most) + "."});
  };
  between("mdm.sessions_max", sessions_max, 1, 1'000'000);
  between("mdm.sessions_per_second", sessions_per_second, 1, 100'000);
  between("mdm.device_sessions_per_minute", device_sessions_per_minute, 1, 600);
  between("mdm.tasks_per_session_max", visit.tasks_max, 1, 1'000);
  between("mdm.message_bytes_max", static_cast<std::int64_t>(limits.bytes_max), 16 << 10, 4 << 20);
  between("mdm.reply_bytes_max", static_cast<std::int64_t>(visit.session.reply_bytes_max), 4 << 10, 1 << 20);
  if (visit.session.timeout < milliseconds(1'000)) {
    found.push_back({"mdm.session_timeout", "mdm.session_timeout is " + duration_text(visit.session.timeout) + "; it must be at least 1s."});
  }
  if (retry_after < milliseconds(1'000) || retry_after > std::chrono::hours(1)) {
    found.push_back({"mdm.retry_after", "mdm.retry_after is " + duration_text(retry_after) + "; it can be 1s to 1h."});
  }
  if (visit.provider.empty() || visit.provider.size() > 128) {
    found.push_back({"mdm.provider_id", "mdm.provider_id takes 1 to 128 bytes: the ProviderID the devices were enrolled with."});
  }
  return found;
}

/// What is kept of a device while the process lives: its session, and what it did a moment ago.
struct DmEndpoint::Place {
  std::mutex mutex;  // held while a message of the device is worked on; guards all but `opened`
  std::optional<DmVisit> visit;
  std::vector<DmLatelyDone> lately;
  std::array<unsigned char, SHA256_DIGEST_LENGTH> last_message{};
  std::string last_reply;
  bool has_last = false;
  SteadyTime used;
  std::deque<SteadyTime> opened;  ///< Under the endpoint's own mutex.
  bool gone = false;              ///< No longer in the table.
};

DmEndpoint::DmEndpoint(DmEndpointConfig config, Who who, DmHost& host, const Clock& clock, Metrics& metrics)
    : config_(std::move(config)),
      who_(std::move(who)),
      host_(host),
      clock_(clock),
      messages_(metrics.counter("greengate_mdm_messages_total", "Messages of Windows devices that were answered.")),
      sessions_total_(metrics.counter("greengate_mdm_sessions_total", "Sessions of Windows devices that were opened.")),
      sessions_open_(metrics.gauge("greengate_mdm_sessions_open", "Sessions of Windows devices open now.")),
      metrics_(metrics),
      tokens_(config_.sessions_per_second),
      tokens_at_(clock.steady()) {}

DmEndpoint::~DmEndpoint() { close_all(); }

DmReply DmEndpoint::no(unsigned status, const char* code, milliseconds retry_after) {
  metrics_.counter("greengate_mdm_refused_total", "Requests of Windows devices that were refused, by reason.", {{"code", code}}).add();
  DmReply reply;
  reply.status = status;
  reply.code = code;
  reply.body = std::string(code) + "\n";
  reply.retry_after = std::chrono::ceil<std::chrono::seconds>(retry_after);
  return reply;
}

DmReply DmEndpoint::handle(const DmPeer& peer, std::string_view body) {
  if (peer.fingerprint.empty()) return no(401, "mdm.no_certificate");
  auto device = who_(peer);
  if (!device) {
    log_.warn("a certificate was refused", kv("code", device.error().code), kv("fingerprint", peer.fingerprint), kv("remote", peer.remote));
    if (device.error().remedy != Remedy::reject) return no(503, device.error().code, config_.retry_after);
    return no(403, device.error().code);
  }
  if (body.size() > config_.limits.bytes_max) return no(413, "mdm.too_large");
  for (;;) {
    std::shared_ptr<Place> place;
    {
      std::lock_guard lock(mutex_);
      auto& there = places_[device->agent];
      if (!there) there = std::make_shared<Place>();
      place = there;
    }
    std::unique_lock busy(place->mutex, std::try_to_lock);
    if (!busy) return no(429, "mdm.busy", busy_retry);
    if (place->gone) continue;  // swept away in between; it is no longer in the table
    place->used = clock_.steady();
    return in_place(*place, *device, body);
  }
}

DmReply DmEndpoint::in_place(Place& place, const DmDevice& device, std::string_view body) {
  const auto digest = digest_of(body);
  // The answer was lost on its way: the same again, and nothing is done twice.
  if (place.has_last && digest == place.last_message) {
    DmReply again;
    again.body = place.last_reply;
    return again;
  }
  if (!place.visit) {
    // Whatever it says, it would open a session: no work is spent on reading it.
    std::unique_lock lock(mutex_);
    if (auto room = room_at_all(clock_.steady()); !room) {
      lock.unlock();
      return no(429, room.error().code, room.error().retry_after);
    }
  }
  auto message = read_syncml(body, config_.limits);
  if (!message) {
    log_.warn("a message was refused", kv("agent", device.agent.raw()), kv("code", message.error().code), kv("why", message.error().message));
    return no(400, message.error().code);
  }
  if (plain_device_id(message->header.source) != plain_device_id(device.device_id)) {
    log_.warn("a message names another device than its certificate", kv("agent", device.agent.raw()));
    return no(403, "mdm.other_device");
  }
  if (message->header.message_id == 1) {
    if (place.visit) end(place, "replaced");
    if (auto room = room_for(place); !room) {
      return no(429, room.error().code, room.error().retry_after);
    }
    place.visit.emplace(config_.visit, device, host_, place.lately, clock_, message->header, random_bytes(nonce_bytes));
    sessions_total_.add();
    log_.debug("session opened", kv("agent", device.agent.raw()));
  }
  if (!place.visit) return no(400, "mdm.no_session");
  auto reply = place.visit->answer(*message);
  if (!reply) {
    const Error why = reply.error();
    end(place, "refused");
    return no(400, why.code);
  }
  messages_.add();
  place.last_message = digest;
  place.last_reply = *reply;
  place.has_last = true;
  const bool aborted = std::any_of(message->commands.begin(), message->commands.end(),
                                   [](const DmCommand& command) { return command.verb == DmVerb::alert && command.data == "1223"; });
  if (place.visit->over()) {
    const bool admitted = place.visit->admitted();
    end(place, aborted ? "aborted" : admitted ? "done" : "refused");
  }
  DmReply good;
  good.body = std::move(*reply);
  return good;
}

Result<void> DmEndpoint::room_at_all(SteadyTime now) {
  const double passed_s = std::chrono::duration<double>(now - tokens_at_).count();
  tokens_ = std::min<double>(config_.sessions_per_second, tokens_ + passed_s * config_.sessions_per_second);
  tokens_at_ = now;
  if (open_ < config_.sessions_max && tokens_ >= 1) return {};
  // Spread, so that those refused together do not come back together.
  const milliseconds later = config_.retry_after + milliseconds(random_u64() % static_cast<std::uint64_t>(config_.retry_after.count()));
  return fail(Remedy::retry, "mdm.full", "There are too many sessions.", later);
}

Result<void> DmEndpoint::room_for(Place& place) {
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.steady();
  while (!place.opened.empty() && now - place.opened.front() >= std::chrono::minutes(1)) place.opened.pop_front();
  if (place.opened.size() >= config_.device_sessions_per_minute) {
    const auto free_in = std::chrono::duration_cast<milliseconds>(std::chrono::minutes(1) - (now - place.opened.front()));
    return fail(Remedy::retry, "mdm.too_often", "The device opened too many sessions in a minute.", free_in);
  }
  if (auto room = room_at_all(now); !room) return room;
  tokens_ -= 1;
  ++open_;
  sessions_open_.set(static_cast<double>(open_));
  place.opened.push_back(now);
  return {};
}

void DmEndpoint::end(Place& place, const std::string& how) {
  const AgentId agent = place.visit->device().agent;
  place.visit->close(how);
  place.visit.reset();
  // Only what ended well may be asked for again; else an equal package 1 is a new beginning.
  if (how != "done") place.has_last = false;
  log_.debug("session ended", kv("agent", agent.raw()), kv("outcome", how));
  std::lock_guard lock(mutex_);
  --open_;
  sessions_open_.set(static_cast<double>(open_));
}

void DmEndpoint::sweep() {
  const SteadyTime now = clock_.steady();
  std::vector<std::pair<AgentId, std::shared_ptr<Place>>> all;
  {
    std::lock_guard lock(mutex_);
    all.assign(places_.begin(), places_.end());
  }
  const auto idle_max = std::max<SteadyTime::duration>(config_.visit.same_work_window, std::chrono::minutes(2));
  for (auto& [agent, place] : all) {
    std::unique_lock busy(place->mutex, std::try_to_lock);
    if (!busy) continue;
    if (place->visit && place->visit->expired(now)) end(*place, "silent");
    if (place->visit || now - place->used < idle_max) continue;
    // A device that is away costs no memory.
    place->gone = true;
    std::lock_guard lock(mutex_);
    places_.erase(agent);
  }
}

void DmEndpoint::forget(const AgentId& agent) {
  std::shared_ptr<Place> place;
  {
    std::lock_guard lock(mutex_);
    const auto found = places_.find(agent);
    if (found == places_.end()) return;
    place = found->second;
    places_.erase(found);
  }
  std::lock_guard busy(place->mutex);
  place->gone = true;
  if (place->visit) end(*place, "forgotten");
}

void DmEndpoint::close_all() {
  std::unordered_map<AgentId, std::shared_ptr<Place>> all;
  {
    std::lock_guard lock(mutex_);
    all.swap(places_);
  }
  for (auto& [agent, place] : all) {
    std::lock_guard busy(place->mutex);
    place->gone = true;
    if (place->visit) end(*place, "stopped");
  }
}

std::size_t DmEndpoint::open() const {
  std::lock_guard lock(mutex_);
  return open_;
}

}  // namespace greengate::adapters
