// Starting: prepares the writer's statements and reads every device, token and counter.

#include "store/embedded/device_registry.h"

namespace greengate::store {

Result<void> EmbeddedDeviceRegistry::load(Database& database) {
  const std::pair<Statement*, const char*> wanted[] = {
      {&put_device_,
       "INSERT OR REPLACE INTO devices VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
       "?13, ?14, ?15)"},
      {&put_seen_,
       "UPDATE devices SET host_name = ?2, fqdn = ?3, operating_system = ?4, agent_version = ?5, "
       "last_seen = ?6 WHERE id = ?1"},
      {&put_token_, "INSERT OR REPLACE INTO tokens VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"},
      {&drop_token_, "DELETE FROM tokens WHERE id = ?1"},
      {&put_counter_, "INSERT OR REPLACE INTO counters VALUES(?1, ?2, ?3)"},
      {&put_fact_, "INSERT OR REPLACE INTO facts VALUES(?1, ?2, ?3)"},
      {&drop_fact_, "DELETE FROM facts WHERE agent = ?1 AND name = ?2"},
      {&count_facts_, "SELECT count(*) FROM facts WHERE agent = ?1 AND name <> ?2"},
  };
  for (const auto& [statement, sql] : wanted) {
    auto prepared = database.prepare(sql);
    if (!prepared) return pass(prepared);
    *statement = std::move(*prepared);
  }
  const std::unique_lock lock(mutex_);
  auto devices = database.prepare("SELECT * FROM devices");
  if (!devices) return pass(devices);
  Step step;
  while ((step = devices->step()) == Step::row) {
    Device device;
    device.id = AgentId(devices->text(0));
    device.key = AgentKey(devices->text(1));
    device.state = static_cast<DeviceState>(devices->number(2));
    device.host_name = devices->text(3);
    device.fqdn = devices->text(4);
    device.operating_system = devices->text(5);
    device.agent_version = devices->text(6);
    device.enrolled_by = devices->text(7);
    device.enrolled_at = from_millis(devices->number(8));
    device.last_seen = from_millis(devices->number(9));
    device.site.state = static_cast<IdentityState>(devices->number(10));
    device.site.sms_id = SmsId(devices->text(11));
    device.site.sealed = devices->text(12);
    device.site.state_since = from_millis(devices->number(13));
    device.site.last_code = devices->text(14);
    if (device.state == DeviceState::pending) ++pending_;
    ids_by_key_.emplace(device.key.raw(), device.id.raw());
    std::string id = device.id.raw();
    devices_.emplace(std::move(id), std::move(device));
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the devices"));

  auto tokens = database.prepare("SELECT * FROM tokens");
  if (!tokens) return pass(tokens);
  while ((step = tokens->step()) == Step::row) {
    Token token;
    token.id = tokens->text(0);
    token.hash = tokens->text(1);
    token.note = tokens->text(2);
    token.uses_max = static_cast<std::uint32_t>(tokens->number(3));
    token.uses = static_cast<std::uint32_t>(tokens->number(4));
    token.created_at = from_millis(tokens->number(5));
    token.expires_at = from_millis(tokens->number(6));
    token.revoked = tokens->number(7) != 0;
    token_ids_by_hash_.emplace(token.hash, token.id);
    std::string id = token.id;
    tokens_.emplace(std::move(id), std::move(token));
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the tokens"));

  auto counters = database.prepare("SELECT agent, name, value FROM counters");
  if (!counters) return pass(counters);
  while ((step = counters->step()) == Step::row) {
    counters_.emplace(CounterKey(counters->text(0), counters->text(1)),
                      counters->number_unsigned(2));
  }
  if (step == Step::failed) return tl::unexpected(database.error("reading the counters"));
  return {};
}

}  // namespace greengate::store
