#pragma once

#include "adapters/mp/registration.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/result.h"
#include "store/device_registry.h"
#include "store/report_queue.h"
#include "workers/courier.h"
#include "workers/identities.h"
#include "workers/identity_life.h"
#include "workers/key_pool.h"
#include "workers/next_identity.h"

#include <cstdint>
#include <optional>

namespace greengate::workers {

/// Does what an IdentityLife says is next: keys, messages to the site, and what must be on disk before and after.
///
/// Promise   A life moves on only after what it says is on disk, so that a crash between any two changes leaves an identity that the site
///           takes, or one it will take after the steps that remain. A key is on disk before the site hears of it. Reports of an
///           agent are held whenever the site might lose them, before the request that makes it so leaves.
/// Threads   Any; one step of an agent at a time.
/// Source    mp-protocol 4.1, 4.4 to 4.7, 6.3; docs/reference/registration.md
class IdentitySteps {
 public:
  IdentitySteps(const LifeRules& rules, const adapters::MpSettings& settings, store::DeviceRegistry& devices,
                store::ReportQueue& reports, Identities& identities, KeyPool& keys, Courier& courier, const Clock& clock);

  /// Where this agent stands, by what is on disk.
  IdentityLife life_of(const store::Device& device, std::uint64_t seed) const;

  struct Step {
    bool over = false;         ///< Nothing more for this agent: it is gone, or we are stopping.
    bool became_ready = false;
    const char* outcome = "";  ///< What came of a question to the site; empty when none was put.
  };
  /// Waits for the disk and the site.
  Step take(const AgentId& agent, IdentityLife& life);

  /// Holds or releases the agent's reports, as its life wants.
  void hold_or_release(const AgentId& agent, const IdentityLife& life);
  Moment now() const { return {clock_.wall(), clock_.steady()}; }

 private:
  /// The answer to a registration or confirmation; nothing: 200 and nothing.
  using Heard = Result<std::optional<adapters::RegistrationReply>>;
  Heard exchange(Result<adapters::OutgoingMessage> message);
  adapters::ReportFacts facts() const;

  Result<void> make_key(store::Device& device, IdentityLife& life);
  Result<void> look(const store::Device& device, IdentityLife& life);
  Result<void> prepare_next(const store::Device& device, IdentityLife& life);
  Step ask_in_use(const store::Device& device, IdentityLife& life);
  Step ask_next(const store::Device& device, IdentityLife& life);
  Step conclude(const store::Device& device, IdentityLife& life, const Heard& heard, const NextIdentity* next);
  /// Puts on disk what the turn says, then moves the life.
  Result<void> commit(const store::Device& device, IdentityLife& life, const IdentityLife& after, const LifeTurn& turn,
                      const SmsId& answered_id, const NextIdentity* next);
  Step failed(const AgentId& agent, IdentityLife& life, const Error& error);
  Result<void> save_standing(store::Device& device, const IdentityLife& life);
  /// Makes the gateway send whole inventories where it has sent any.
  Result<void> ask_resync(const store::Device& device);
  Result<bool> messages_under_way(const AgentId& agent);
  void tell(const store::Device& device, const IdentityLife& life, const LifeTurn& turn) const;

  const LifeRules& rules_;
  const adapters::MpSettings& settings_;
  store::DeviceRegistry& devices_;
  store::ReportQueue& reports_;
  Identities& identities_;
  KeyPool& keys_;
  Courier& courier_;
  const Clock& clock_;
  const Log log_{"registration"};
};

}  // namespace greengate::workers
