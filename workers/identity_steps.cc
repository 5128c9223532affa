#include "workers/identity_steps.h"

#include "workers/resync.h"

#include "greengate/v1/frame.pb.h"

#include <array>
#include <string_view>

namespace greengate::workers {
namespace {

using adapters::RegistrationStatus;
using store::IdentityState;

// What SiteIdentity::last_code says of a standing that IdentityState alone does not tell.
constexpr std::string_view doubted_code = "identity.doubted";
constexpr std::string_view reregistering_code = "identity.registering_again";
constexpr std::string_view renewing_code = "identity.renewing";
constexpr std::string_view rotating_code = "identity.rotating";

constexpr std::uint32_t reports_looked_through = 1'000;

/// Inventories whose deltas build on what the site has, and the counter that says one was ever sent.
struct Inventory {
  v1::Kind kind;
  const char* counter;
};
constexpr std::array<Inventory, 2> inventories{{{v1::KIND_HARDWARE_INVENTORY, "inventory_major"},
                                                {v1::KIND_SOFTWARE_INVENTORY, "software_major"}}};

IdentityState standing_of(LifeState state) {
  switch (state) {
    case LifeState::none:
    case LifeState::registering:
    case LifeState::reregistering: return IdentityState::none;
    case LifeState::pending:
    case LifeState::doubted: return IdentityState::pending;
    case LifeState::ready:
    case LifeState::renewing: return IdentityState::ready;
    case LifeState::rejected: return IdentityState::rejected;
  }
  return IdentityState::none;
}

std::string code_of(const IdentityLife& life) {
  switch (life.state()) {
    case LifeState::doubted: return std::string(doubted_code);
    case LifeState::reregistering: return std::string(reregistering_code);
    case LifeState::renewing: return std::string(life.wants_new_key() ? rotating_code : renewing_code);
    case LifeState::rejected: return "registration.rejected";
    default: return {};
  }
}

}  // namespace

IdentitySteps::IdentitySteps(const LifeRules& rules, const adapters::MpSettings& settings, store::DeviceRegistry& devices,
                             store::ReportQueue& reports, Identities& identities, KeyPool& keys, Courier& courier,
                             const Clock& clock)
    : rules_(rules),
      settings_(settings),
      devices_(devices),
      reports_(reports),
      identities_(identities),
      keys_(keys),
      courier_(courier),
      clock_(clock) {}

IdentityLife IdentitySteps::life_of(const store::Device& device, std::uint64_t seed) const {
  const store::SiteIdentity& site = device.site;
  LifeState state = LifeState::none;
  // A key that cannot be opened any more is as good as none; the SMSID is proposed again.
  if (identities_.usable(site.sealed)) {
    switch (site.state) {
      case IdentityState::none:
        state = site.last_code == reregistering_code ? LifeState::reregistering : LifeState::registering;
        break;
      case IdentityState::pending: state = site.last_code == doubted_code ? LifeState::doubted : LifeState::pending; break;
      case IdentityState::ready:
        state = site.last_code == renewing_code || site.last_code == rotating_code ? LifeState::renewing : LifeState::ready;
        break;
      case IdentityState::rejected: state = LifeState::rejected; break;
    }
  }
  IdentityLife life(rules_, seed, state, site.state_since, now());
  if (site.last_code == rotating_code) life.resume_rotation();
  return life;
}

void IdentitySteps::hold_or_release(const AgentId& agent, const IdentityLife& life) {
  if (life.holds()) {
    reports_.hold(agent);
  } else {
    reports_.unhold(agent);
  }
}

IdentitySteps::Step IdentitySteps::take(const AgentId& agent, IdentityLife& life) {
  auto device = devices_.find(agent);
  if (!device || device->state != store::DeviceState::active) return {true, false, ""};
  if (life.holds()) reports_.hold(agent);
  if (auto saved = save_standing(*device, life); !saved) return failed(agent, life, saved.error());

  Result<void> done;
  switch (life.ask()) {
    case LifeAsk::make_key: done = make_key(*device, life); break;
    case LifeAsk::look: done = look(*device, life); break;
    case LifeAsk::prepare_next: done = prepare_next(*device, life); break;
    case LifeAsk::registration:
    case LifeAsk::confirmation: return ask_in_use(*device, life);
    case LifeAsk::next_registration:
    case LifeAsk::next_confirmation: return ask_next(*device, life);
  }
  if (!done) return failed(agent, life, done.error());
  hold_or_release(agent, life);
  return {};
}

// A doubt or a renewal begins in memory; before anything follows from it, it is on disk.
Result<void> IdentitySteps::save_standing(store::Device& device, const IdentityLife& life) {
  if (life.state() == LifeState::none) return {};
  store::SiteIdentity site = device.site;
  site.state = standing_of(life.state());
  site.last_code = code_of(life);
  if (site.state == device.site.state && site.last_code == device.site.last_code) return {};
  site.state_since = life.since();
  if (auto kept = devices_.set_site_identity(device.id, site); !kept) return kept;
  device.site = std::move(site);
  return {};
}

Result<void> IdentitySteps::make_key(store::Device& device, IdentityLife& life) {
  store::SiteIdentity site = device.site;
  if (CommonIdentity* common = identities_.common()) {
    site.sealed = common->mark();
  } else {
    auto key = keys_.take();
    if (!key) return pass(key);
    auto certificate = key->self_signed_certificate(settings_.certificate, clock_.wall());
    if (!certificate) return pass(certificate);
    auto sealed = identities_.seal(device.id, *key, *certificate);
    if (!sealed) return pass(sealed);
    site.sealed = std::move(*sealed);
  }
  // Proposing an SMSID of our own keeps a lost answer from making a second client record (4.2).
  if (site.sms_id.raw().empty()) site.sms_id = adapters::new_sms_id();
  IdentityLife after = life;
  after.key_made(now());
  site.state = standing_of(after.state());
  site.state_since = after.since();
  site.last_code.clear();
  if (auto kept = devices_.set_site_identity(device.id, site); !kept) return kept;
  life = after;
  return {};
}

Result<void> IdentitySteps::look(const store::Device& device, IdentityLife& life) {
  CommonIdentity* const common = identities_.common();
  if (common) {
    if (auto renewed = common->renew_if_due(clock_.wall(), rules_.renew_before); !renewed) return renewed;
  }
  auto ends = identities_.certificate_ends(device);
  if (!ends) return pass(ends);
  life.certificate_seen(*ends, common == nullptr, identities_.fits(device.site.sealed), now());
  return {};
}

Result<void> IdentitySteps::prepare_next(const store::Device& device, IdentityLife& life) {
  auto in_use = identities_.of(device);
  if (!in_use) return pass(in_use);
  const auto another_key = [&](const adapters::MpIdentity& other) {
    return other.key.public_key_blob_hex() != in_use->key.public_key_blob_hex();
  };
  // One prepared before a crash goes on from where it was: the site may have it already.
  auto kept = devices_.fact(device.id, next_identity_fact);
  if (!kept) return pass(kept);
  if (*kept && !(*kept)->empty()) {
    const auto next = read_next_identity(**kept);
    const auto identity = next && identities_.fits(next->sealed) && next->sealed != device.site.sealed
                              ? identities_.with(device, next->sealed, device.site.sms_id)
                              : fail(Remedy::reject, "identity.none", "there is no next certificate that would do.");
    if (identity && (another_key(*identity) || !life.wants_new_key())) {
      life.next_prepared(another_key(*identity), !next->sms_id.raw().empty(), next->sms_id == device.site.sms_id, now());
      return {};
    }
  }

  NextIdentity next;
  if (CommonIdentity* common = identities_.common()) {
    next.sealed = common->mark();
  } else {
    adapters::SigningKey key = in_use->key;
    // A key that was common to others is never kept as one's own.
    if (life.wants_new_key() || CommonIdentity::is_mark(device.site.sealed)) {
      auto fresh = keys_.take();
      if (!fresh) return pass(fresh);
      key = std::move(*fresh);
    }
    auto certificate = key.self_signed_certificate(settings_.certificate, clock_.wall());
    if (!certificate) return pass(certificate);
    auto sealed = identities_.seal(device.id, key, *certificate);
    if (!sealed) return pass(sealed);
    next.sealed = std::move(*sealed);
  }
  auto identity = identities_.with(device, next.sealed, device.site.sms_id);
  if (!identity) return pass(identity);
  if (auto written = devices_.set_fact(device.id, next_identity_fact, write_next_identity(next)); !written) return written;
  life.next_prepared(another_key(*identity), false, false, now());
  return {};
}

IdentitySteps::Step IdentitySteps::ask_in_use(const store::Device& device, IdentityLife& life) {
  const auto identity = identities_.of(device);
  if (!identity) return failed(device.id, life, identity.error());
  const bool confirming = life.ask() == LifeAsk::confirmation;
  return conclude(device, life,
                  exchange(confirming ? adapters::confirmation_message(settings_, *identity, facts())
                                      : adapters::registration_message(settings_, *identity, facts())),
                  nullptr);
}

IdentitySteps::Step IdentitySteps::ask_next(const store::Device& device, IdentityLife& life) {
  auto in_use = identities_.of(device);
  if (!in_use) return failed(device.id, life, in_use.error());
  auto kept = devices_.fact(device.id, next_identity_fact);
  if (!kept) return failed(device.id, life, kept.error());
  const auto next = read_next_identity(kept->value_or(""));
  const bool confirming = life.ask() == LifeAsk::next_confirmation;
  if (!next || (confirming && next->sms_id.raw().empty())) {
    log_.error("next certificate lost", kv("agent", device.id.raw()), kv("code", "identity.next_lost"));
    life.next_lost(now());
    hold_or_release(device.id, life);
    return {};
  }
  if (const auto ends = identities_.certificate_ends(device)) life.certificate_seen(*ends, true, true, now());

  SmsId proposal = confirming ? next->sms_id : device.site.sms_id;
  if (!confirming && life.proposes_fresh(clock_.wall())) proposal = adapters::new_sms_id();
  const auto identity = identities_.with(device, next->sealed, proposal);
  if (!identity) return failed(device.id, life, identity.error());
  if (confirming) return conclude(device, life, exchange(adapters::confirmation_message(settings_, *identity, facts())), &*next);

  if (life.next_has_new_key()) {
    // From the moment the site takes the new key, what the old one signed is silently lost: nothing may be under way.
    reports_.hold(device.id);
    const auto under_way = messages_under_way(device.id);
    if (!under_way) return failed(device.id, life, under_way.error());
    if (*under_way) {
      life.must_drain(now());
      return {};
    }
  }
  const auto hint = adapters::registration_hint(settings_, *in_use);
  if (!hint) return failed(device.id, life, hint.error());
  return conclude(device, life, exchange(adapters::registration_message(settings_, *identity, facts(), *hint)), &*next);
}

IdentitySteps::Step IdentitySteps::conclude(const store::Device& device, IdentityLife& life, const Heard& heard,
                                            const NextIdentity* next) {
  if (!heard) return failed(device.id, life, heard.error());
  IdentityLife after = life;
  LifeTurn turn;
  SmsId answered_id;
  if (*heard) {
    answered_id = (*heard)->sms_id;
    turn = after.answered((*heard)->status, answered_id.raw().empty() || answered_id == device.site.sms_id, now());
  } else {
    turn = after.refused(now());
  }
  if (auto kept = commit(device, life, after, turn, answered_id, next); !kept) return failed(device.id, life, kept.error());
  hold_or_release(device.id, life);
  tell(device, life, turn);
  return {false, turn.became_ready, turn.outcome};
}

Result<void> IdentitySteps::commit(const store::Device& device, IdentityLife& life, const IdentityLife& after, const LifeTurn& turn,
                                   const SmsId& answered_id, const NextIdentity* next) {
  // First, so that a crash asks twice rather than never; it is held until the agent is ready.
  if (turn.became_ready && turn.resync) {
    if (turn.swap) reports_.hold(device.id);
    if (auto asked = ask_resync(device); !asked) return asked;
  }
  if (turn.keep_next && next) {
    NextIdentity standing = *next;
    standing.sms_id = after.ask() == LifeAsk::next_confirmation ? answered_id : SmsId();
    if (auto kept = devices_.set_fact(device.id, next_identity_fact, write_next_identity(standing)); !kept) return kept;
  }
  store::SiteIdentity site = device.site;
  if (turn.swap && next) site.sealed = next->sealed;
  if (turn.adopt && !answered_id.raw().empty()) site.sms_id = answered_id;  // the site's choice always wins (4.2)
  site.state = standing_of(after.state());
  site.last_code = code_of(after);
  site.state_since = after.since();
  const bool changed = site.sealed != device.site.sealed || site.sms_id != device.site.sms_id || site.state != device.site.state ||
                       site.last_code != device.site.last_code;
  if (changed) {
    if (auto kept = devices_.set_site_identity(device.id, site); !kept) return kept;
  }
  life = after;
  if (turn.swap) identities_.forget(device.id);
  if (turn.swap || turn.drop_next) {
    // What is left behind by a failure here is recognised as the one in use, or as given up, and overwritten by the next renewal.
    if (auto dropped = devices_.set_fact(device.id, next_identity_fact, ""); !dropped) {
      log_.warn("next certificate not forgotten", kv("agent", device.id.raw()), kv("code", dropped.error().code));
    }
  }
  return {};
}

Result<void> IdentitySteps::ask_resync(const store::Device& device) {
  const WallTime at = clock_.wall();
  for (const Inventory& inventory : inventories) {
    if (devices_.counter(device.id, inventory.counter) == 0) continue;
    auto asked = request_resync(reports_, device.id, static_cast<std::uint32_t>(inventory.kind), "registration", std::to_string(to_millis(at)), at);
    if (!asked) return asked;
  }
  return {};
}

Result<bool> IdentitySteps::messages_under_way(const AgentId& agent) {
  auto newest = reports_.trace(agent, reports_looked_through);
  if (!newest) return pass(newest);
  for (const store::ReportTrace& report : *newest) {
    if (report.leased) return true;
  }
  return false;
}

adapters::ReportFacts IdentitySteps::facts() const {
  adapters::ReportFacts facts;
  facts.message_id = adapters::new_message_id();
  facts.made_at = clock_.wall();
  return facts;
}

IdentitySteps::Heard IdentitySteps::exchange(Result<adapters::OutgoingMessage> message) {
  if (!message) return pass(message);
  auto answer = courier_.send(*message);
  if (!answer) return pass(answer);
  // 200 without a body: not processed, or not known (mp-protocol 1.5).
  if (answer->kind != adapters::Verdict::Kind::reply) return std::optional<adapters::RegistrationReply>();
  auto reply = adapters::parse_registration_reply(settings_, answer->xml);
  if (!reply) return pass(reply);
  return std::optional(std::move(*reply));
}

IdentitySteps::Step IdentitySteps::failed(const AgentId& agent, IdentityLife& life, const Error& error) {
  if (error.remedy == Remedy::halt) return {true, false, ""};
  const Moment at = now();
  life.failed(error, at);
  hold_or_release(agent, life);
  log_.warn("registration step failed", kv("agent", agent.raw()), kv("state", name_of(life.state())), kv("code", error.code),
            kv("why", error.message), kv("retry_in_ms", std::chrono::ceil<std::chrono::milliseconds>(life.due() - at.steady)));
  return {false, false, "failed"};
}

void IdentitySteps::tell(const store::Device& device, const IdentityLife& life, const LifeTurn& turn) const {
  const auto id = kv("agent", device.id.raw());
  const auto retry = kv("retry_in_ms", std::chrono::ceil<std::chrono::milliseconds>(life.due() - clock_.steady()));
  const std::string_view outcome = turn.outcome;
  if (turn.became_ready) {
    const auto current = devices_.find(device.id);
    log_.info("agent is ready at the site", id, kv("sms_id", current ? current->site.sms_id.raw() : std::string()),
              kv("outcome", turn.outcome));
  } else if (outcome == "rejected" || outcome == "renewal_rejected" || outcome == "renewal_given_up" || outcome == "again" ||
             outcome == "refused") {
    log_.warn("the site refused a registration step", id, kv("state", name_of(life.state())), kv("outcome", turn.outcome),
              kv("code", life.last_code()), retry);
  } else {
    log_.debug("the site answered a registration step", id, kv("state", name_of(life.state())), kv("outcome", turn.outcome), retry);
  }
}

}  // namespace greengate::workers
