#include "store/embedded/device_registry.h"

#include "core/random.h"

#include <algorithm>
#include <condition_variable>

namespace greengate::store {

namespace {

constexpr std::size_t kTextBytesMax = 256;
constexpr std::size_t kFactBytesMax = 64u << 10;
constexpr std::int64_t kFactsMax = 64;  // of one device

/// Cut at a character's beginning, so that what is kept stays UTF-8 if it was.
std::string cut(const std::string& text) {
  if (text.size() <= kTextBytesMax) return text;
  std::size_t end = kTextBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

AgentId new_agent_id() {
  static constexpr char digits[] = "0123456789abcdef";
  std::string id;
  for (const unsigned char byte : random_bytes(8)) {
    id.push_back(digits[byte >> 4]);
    id.push_back(digits[byte & 15]);
  }
  return AgentId(std::move(id));
}

Error registry_error(const Error& failure) {
  const bool stopping = failure.remedy == Remedy::halt;
  return Error{failure.remedy, stopping ? "registry.stopping" : "registry.disk", failure.message,
               failure.retry_after};
}

Error unknown(const std::string& what) {
  return Error{Remedy::reject, "registry.unknown", "There is no " + what + ".", {}};
}

bool has_ended(const Token& token, WallTime now) {
  return token.revoked || token.uses >= token.uses_max || token.expires_at <= now;
}

}  // namespace

/// A change of the registry. They are rare beside reports, so their parts may be functions.
class EmbeddedDeviceRegistry::RegistryChange final : public Change {
 public:
  using Apply = std::function<Result<void>(Database&, std::optional<Error>& refused)>;
  using Finish = std::function<void(Result<void>)>;
  RegistryChange(Apply apply, Finish finish)
      : apply_(std::move(apply)), finish_(std::move(finish)) {}

  Result<void> apply(Database& database) override {
    refused_.reset();
    return apply_(database, refused_);
  }
  void finish(const Error* failure) override {
    if (failure) return finish_(tl::unexpected(registry_error(*failure)));
    if (refused_) return finish_(tl::unexpected(*refused_));
    finish_({});
  }

 private:
  const Apply apply_;
  const Finish finish_;
  std::optional<Error> refused_;
};

// ---- Answers from memory
// ----------------------------------------------------------------------------------------------------

std::optional<Device> EmbeddedDeviceRegistry::find(const AgentId& id) const {
  const std::shared_lock lock(mutex_);
  const auto found = devices_.find(id.raw());
  return found == devices_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<Device> EmbeddedDeviceRegistry::find_by_key(const AgentKey& key) const {
  const std::shared_lock lock(mutex_);
  const auto id = ids_by_key_.find(key.raw());
  return id == ids_by_key_.end() ? std::nullopt : std::optional(devices_.at(id->second));
}

std::vector<Device> EmbeddedDeviceRegistry::list() const {
  const std::shared_lock lock(mutex_);
  std::vector<Device> devices;
  devices.reserve(devices_.size());
  for (const auto& [id, device] : devices_) devices.push_back(device);
  return devices;
}

void EmbeddedDeviceRegistry::for_each(const std::function<void(const Device&)>& look) const {
  std::vector<std::string> ids;
  {
    const std::shared_lock lock(mutex_);
    ids.reserve(devices_.size());
    for (const auto& [id, device] : devices_) ids.push_back(id);
  }
  // In parts, so that the writer's thread never waits for a fleet to be looked at.
  constexpr std::size_t part = 256;
  for (std::size_t i = 0; i < ids.size();) {
    const std::shared_lock lock(mutex_);
    for (const std::size_t end = std::min(ids.size(), i + part); i < end; ++i) {
      if (const auto found = devices_.find(ids[i]); found != devices_.end()) look(found->second);
    }
  }
}

std::size_t EmbeddedDeviceRegistry::size() const {
  const std::shared_lock lock(mutex_);
  return devices_.size();
}

std::uint64_t EmbeddedDeviceRegistry::counter(const AgentId& id, const std::string& name) const {
  const std::shared_lock lock(mutex_);
  const auto found = counters_.find({id.raw(), name});
  return found == counters_.end() ? 0 : found->second;
}

Result<std::optional<std::string>> EmbeddedDeviceRegistry::fact(const AgentId& id,
                                                                const std::string& name) {
  auto reader = readers_.borrow();
  if (!reader) return tl::unexpected(registry_error(reader.error()));
  Statement& row = (*reader)->fact;
  const ResetAtEnd reset(row);
  row.bind_text(1, id.raw());
  row.bind_text(2, name);
  switch (row.step()) {
    case Step::row:
      return std::optional(row.text(0));
    case Step::done:
      return std::optional<std::string>();
    case Step::failed:
      break;
  }
  return tl::unexpected(registry_error((*reader)->database.error("reading a device's fact")));
}

std::vector<Token> EmbeddedDeviceRegistry::tokens() const {
  const std::shared_lock lock(mutex_);
  std::vector<Token> tokens;
  tokens.reserve(tokens_.size());
  for (const auto& [id, token] : tokens_) tokens.push_back(token);
  return tokens;
}

void EmbeddedDeviceRegistry::note_seen(const AgentId& id, WallTime at, const std::string& host_name,
                                       const std::string& fqdn, const std::string& operating_system,
                                       const std::string& agent_version) {
  const std::unique_lock lock(mutex_);
  const auto found = devices_.find(id.raw());
  if (found == devices_.end()) return;
  Device& device = found->second;
  device.last_seen = std::max(device.last_seen, at);
  device.host_name = cut(host_name);
  device.fqdn = cut(fqdn);
  device.operating_system = cut(operating_system);
  device.agent_version = cut(agent_version);
  seen_unwritten_.insert(id.raw());
}

// ---- Changes
// ----------------------------------------------------------------------------------------------------------------

void EmbeddedDeviceRegistry::enrol(EnrolRequest request, std::function<void(Result<Device>)> done) {
  auto outcome = std::make_shared<Device>();
  writer_->submit(std::make_unique<RegistryChange>(
      [this, request = std::move(request), outcome](Database& database,
                                                    std::optional<Error>& refused) -> Result<void> {
        auto device = apply_enrol(database, request, refused);
        if (!device) return pass(device);
        *outcome = std::move(*device);
        return {};
      },
      [outcome, done = std::move(done)](Result<void> result) {
        if (!result) return done(pass(result));
        done(std::move(*outcome));
      }));
}

Result<Device> EmbeddedDeviceRegistry::apply_enrol(Database& database, const EnrolRequest& request,
                                                   std::optional<Error>& refused) {
  auto known = current_by_key(request.key);
  if (known && known->state == DeviceState::revoked) {
    refused = Error{Remedy::reject,
                    "enrol.revoked",
                    "This key was revoked; an operator can let it in again.",
                    {}};
    return Device{};
  }
  if (known && (known->state == DeviceState::active || request.token_hash.empty())) return *known;
  std::string token_id;
  if (known) {
    std::optional<Error> no_token;
    if (auto spent = spend(database, request.token_hash, token_id, no_token); !spent)
      return pass(spent);
    if (no_token) return *known;  // it waits for an operator as before
    known->state = DeviceState::active;
    known->enrolled_by = "token " + token_id;
    if (auto written = write_device(database, *known); !written) return pass(written);
    return *known;
  }

  const bool pending = request.token_hash.empty();
  if (current_count(false) >= settings_.devices_max) {
    refused = Error{Remedy::reject,
                    "enrol.devices_full",
                    "There are " + std::to_string(settings_.devices_max) +
                        " devices, the most that store.devices_max allows.",
                    {}};
    return Device{};
  }
  if (pending && current_count(true) >= settings_.pending_max) {
    refused = Error{Remedy::reject,
                    "enrol.pending_full",
                    "Too many devices wait for approval; approve or revoke some.",
                    {}};
    return Device{};
  }
  if (!pending) {
    if (auto spent = spend(database, request.token_hash, token_id, refused); !spent)
      return pass(spent);
    if (refused) return Device{};
  }
  Device device;
  do {
    device.id = new_agent_id();
  } while (current(device.id));
  device.key = request.key;
  device.state = pending ? DeviceState::pending : DeviceState::active;
  device.host_name = cut(request.host_name);
  device.fqdn = cut(request.fqdn);
  device.operating_system = cut(request.operating_system);
  device.agent_version = cut(request.agent_version);
  device.enrolled_by = pending ? "operator" : "token " + token_id;
  device.enrolled_at = device.last_seen = from_millis(to_millis(clock_.wall()));
  if (auto written = write_device(database, device); !written) return pass(written);
  staged_keys_[device.key.raw()] = device.id.raw();
  return device;
}

Result<void> EmbeddedDeviceRegistry::spend(Database& database, const std::string& token_hash,
                                           std::string& token_id, std::optional<Error>& refused) {
  auto token = current_token_by_hash(token_hash);
  const auto refuse = [&refused](const char* code, const char* message) -> Result<void> {
    refused = Error{Remedy::reject, code, message, {}};
    return {};
  };
  if (!token) return refuse("enrol.token_unknown", "No enrolment token matches.");
  if (token->revoked) return refuse("enrol.token_revoked", "The enrolment token was revoked.");
  if (token->expires_at <= clock_.wall())
    return refuse("enrol.token_expired", "The enrolment token has expired.");
  if (token->uses >= token->uses_max)
    return refuse("enrol.token_spent", "The enrolment token has been used up.");
  ++token->uses;
  token_id = token->id;
  return write_token(database, *token);
}

Result<Device> EmbeddedDeviceRegistry::set_state(const AgentId& id, DeviceState state) {
  Device changed;
  auto done =
      submit_and_wait([this, &id, state, &changed](Database& database,
                                                   std::optional<Error>& refused) -> Result<void> {
        auto device = current(id);
        if (!device) {
          refused = unknown("device " + id.raw());
          return {};
        }
        device->state = state;
        changed = *device;
        return write_device(database, *device);
      });
  if (!done) return pass(done);
  return changed;
}

Result<void> EmbeddedDeviceRegistry::set_site_identity(const AgentId& id,
                                                       const SiteIdentity& identity) {
  return submit_and_wait(
      [this, &id, &identity](Database& database, std::optional<Error>& refused) -> Result<void> {
        auto device = current(id);
        if (!device) {
          refused = unknown("device " + id.raw());
          return {};
        }
        device->site = identity;
        device->site.state_since = from_millis(to_millis(identity.state_since));
        return write_device(database, *device);
      });
}

Result<void> EmbeddedDeviceRegistry::set_fact(const AgentId& id, const std::string& name,
                                              const std::string& value) {
  if (value.size() > kFactBytesMax || name.size() > kTextBytesMax) {
    return fail(Remedy::reject, "registry.fact_too_large",
                "A fact is at most " + std::to_string(kFactBytesMax) + " bytes, its name " +
                    std::to_string(kTextBytesMax) + ".");
  }
  return submit_and_wait([&](Database& database, std::optional<Error>& refused) -> Result<void> {
    if (!current(id)) {
      refused = unknown("device " + id.raw());
      return {};
    }
    if (value.empty()) {
      drop_fact_.bind_text(1, id.raw());
      drop_fact_.bind_text(2, name);
      if (!drop_fact_.run()) return tl::unexpected(database.error("forgetting a device's fact"));
      return {};
    }
    {
      const ResetAtEnd reset(count_facts_);
      count_facts_.bind_text(1, id.raw());
      count_facts_.bind_text(2, name);
      if (count_facts_.step() != Step::row)
        return tl::unexpected(database.error("counting a device's facts"));
      if (count_facts_.number(0) >= kFactsMax) {
        refused = Error{Remedy::reject,
                        "registry.fact_too_large",
                        "A device has at most " + std::to_string(kFactsMax) + " facts.",
                        {}};
        return {};
      }
    }
    put_fact_.bind_text(1, id.raw());
    put_fact_.bind_text(2, name);
    put_fact_.bind_blob(3, value);
    if (!put_fact_.run()) return tl::unexpected(database.error("writing a device's fact"));
    return {};
  });
}

Result<void> EmbeddedDeviceRegistry::add_token(const Token& token) {
  return submit_and_wait(
      [this, &token](Database& database, std::optional<Error>& refused) -> Result<void> {
        if (current_token(token.id) || current_token_by_hash(token.hash)) {
          refused = Error{Remedy::reject,
                          "registry.token_exists",
                          "There is a token " + token.id + " already.",
                          {}};
          return {};
        }
        std::map<std::string, Token> all;
        {
          const std::shared_lock lock(mutex_);
          all = tokens_;
        }
        for (const auto& [id, staged] : staged_tokens_) {
          if (staged)
            all.insert_or_assign(id, *staged);
          else
            all.erase(id);
        }
        if (all.size() >= settings_.tokens_max) {
          // One that no longer lets anybody in makes room: the oldest of them.
          const Token* oldest = nullptr;
          for (const auto& [id, candidate] : all) {
            if (has_ended(candidate, clock_.wall()) &&
                (!oldest || candidate.created_at < oldest->created_at))
              oldest = &candidate;
          }
          if (!oldest) {
            refused = Error{Remedy::reject,
                            "registry.tokens_full",
                            "There are too many enrolment tokens; revoke some.",
                            {}};
            return {};
          }
          drop_token_.bind_text(1, oldest->id);
          if (!drop_token_.run()) return tl::unexpected(database.error("dropping a token"));
          staged_tokens_[oldest->id] = std::nullopt;
        }
        Token kept = token;
        kept.note = cut(token.note);
        kept.created_at = from_millis(to_millis(token.created_at));
        kept.expires_at = from_millis(to_millis(token.expires_at));
        return write_token(database, kept);
      });
}

Result<void> EmbeddedDeviceRegistry::revoke_token(const std::string& token_id) {
  return submit_and_wait(
      [this, &token_id](Database& database, std::optional<Error>& refused) -> Result<void> {
        auto token = current_token(token_id);
        if (!token) {
          refused = unknown("token " + token_id);
          return {};
        }
        token->revoked = true;
        return write_token(database, *token);
      });
}

Result<void> EmbeddedDeviceRegistry::submit_and_wait(
    std::function<Result<void>(Database&, std::optional<Error>&)> apply) {
  std::mutex mutex;
  std::condition_variable there;
  std::optional<Result<void>> answer;
  writer_->submit(std::make_unique<RegistryChange>(std::move(apply), [&](Result<void> result) {
    // Told under the lock: the waiter ends these variables as soon as it may go on.
    const std::lock_guard lock(mutex);
    answer = std::move(result);
    there.notify_one();
  }));
  std::unique_lock lock(mutex);
  there.wait(lock, [&answer] { return answer.has_value(); });
  return std::move(*answer);
}

Result<void> EmbeddedDeviceRegistry::write_device(Database& database, const Device& device) {
  put_device_.bind_text(1, device.id.raw());
  put_device_.bind_text(2, device.key.raw());
  put_device_.bind(3, static_cast<std::int64_t>(device.state));
  put_device_.bind_text(4, device.host_name);
  put_device_.bind_text(5, device.fqdn);
  put_device_.bind_text(6, device.operating_system);
  put_device_.bind_text(7, device.agent_version);
  put_device_.bind_text(8, device.enrolled_by);
  put_device_.bind(9, to_millis(device.enrolled_at));
  put_device_.bind(10, to_millis(device.last_seen));
  put_device_.bind(11, static_cast<std::int64_t>(device.site.state));
  put_device_.bind_text(12, device.site.sms_id.raw());
  put_device_.bind_blob(13, device.site.sealed);
  put_device_.bind(14, to_millis(device.site.state_since));
  put_device_.bind_text(15, device.site.last_code);
  if (!put_device_.run()) return tl::unexpected(database.error("writing a device"));
  staged_devices_.insert_or_assign(device.id.raw(), device);
  return {};
}

Result<void> EmbeddedDeviceRegistry::write_token(Database& database, const Token& token) {
  put_token_.bind_text(1, token.id);
  put_token_.bind_blob(2, token.hash);
  put_token_.bind_text(3, token.note);
  put_token_.bind(4, token.uses_max);
  put_token_.bind(5, token.uses);
  put_token_.bind(6, to_millis(token.created_at));
  put_token_.bind(7, to_millis(token.expires_at));
  put_token_.bind(8, token.revoked ? 1 : 0);
  if (!put_token_.run()) return tl::unexpected(database.error("writing a token"));
  staged_tokens_.insert_or_assign(token.id, token);
  return {};
}

Result<void> EmbeddedDeviceRegistry::write_counter(Database& database, const AgentId& id,
                                                   const CounterValue& counter) {
  put_counter_.bind_text(1, id.raw());
  put_counter_.bind_text(2, counter.name);
  put_counter_.bind_unsigned(3, counter.value);
  if (!put_counter_.run()) return tl::unexpected(database.error("writing a counter"));
  staged_counters_[{id.raw(), counter.name}] = counter.value;
  return {};
}

void EmbeddedDeviceRegistry::write_seen(bool now_at_all) {
  const SteadyTime now = clock_.steady();
  auto seen = std::make_shared<std::vector<std::string>>();
  {
    const std::unique_lock lock(mutex_);
    if (!seen_written_) seen_written_ = now;
    if (!now_at_all && now - *seen_written_ < settings_.seen_written_every) return;
    seen_written_ = now;
    seen->assign(seen_unwritten_.begin(), seen_unwritten_.end());
    seen_unwritten_.clear();
  }
  if (seen->empty()) return;
  writer_->submit(std::make_unique<RegistryChange>(
      [this, seen](Database& database, std::optional<Error>&) -> Result<void> {
        for (const std::string& id : *seen) {
          const auto device = find(AgentId(id));
          if (!device) continue;
          put_seen_.bind_text(1, id);
          put_seen_.bind_text(2, device->host_name);
          put_seen_.bind_text(3, device->fqdn);
          put_seen_.bind_text(4, device->operating_system);
          put_seen_.bind_text(5, device->agent_version);
          put_seen_.bind(6, to_millis(device->last_seen));
          if (!put_seen_.run())
            return tl::unexpected(database.error("writing when a device was seen"));
        }
        return {};
      },
      [this, seen](Result<void> result) {
        if (result) return;
        const std::unique_lock lock(mutex_);
        seen_unwritten_.insert(seen->begin(), seen->end());
      }));
}

}  // namespace greengate::store
