#include "tests/workers/site_of_one.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

namespace greengate::test {
namespace {

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

const adapters::SigningKey& one_key() {
  static const adapters::SigningKey key = must(adapters::SigningKey::generate());
  return key;
}

}  // namespace

class SiteOfOne::Door final : public workers::MpDoor {
 public:
  explicit Door(SiteOfOne& world) : world_(world) {}
  const std::string& name() const override { return name_; }
  Result<std::string> get(std::string_view) override { return std::string(); }
  Result<adapters::Verdict> send(const adapters::OutgoingMessage& message) override {
    const Fate fate = std::exchange(world_.fate_, Fate::taken);
    if (fate != Fate::lost && fate != Fate::refused) world_.site.take(message);
    switch (fate) {
      case Fate::taken: return adapters::Verdict{};
      case Fate::taken_but_answer_lost:
      case Fate::lost: return fail(Remedy::retry, "http.closed", "cut off.");
      case Fate::refused:
      case Fate::refused_but_taken: break;
    }
    return fail(Remedy::reject, "mp.bad_request", "413.");
  }

 private:
  SiteOfOne& world_;
  const std::string name_ = "http://mp01.example.test";
};

SiteOfOne::SiteOfOne(std::map<std::string, std::vector<std::string>> keys, workers::InventoryConfig config) : site(std::move(keys)) {
  settings.site_code = "P01";
  settings.compression_level = 1;
  store::Device device;
  device.id = agent;
  device.host_name = "db01";
  device.fqdn = "db01.example.test";
  device.state = store::DeviceState::active;
  store = std::make_unique<MemoryStore>(clock, device);
  key_file_ = (std::filesystem::temp_directory_path() / ("greengate-site-of-one-" + std::to_string(getpid()))).string();
  identities_ = std::make_unique<workers::Identities>(settings, *store, must(store::Sealer::from_key_file(key_file_, true)), 4);
  rename();
  translator_ = std::make_unique<workers::Translator>(settings);
  planner_ = std::make_unique<workers::InventoryPlanner>(config, settings, *store, metrics);
  std::vector<std::unique_ptr<workers::MpDoor>> doors;
  doors.push_back(std::make_unique<Door>(*this));
  courier_ = std::make_unique<workers::Courier>(workers::CourierConfig{}, std::move(doors), clock, metrics, 1);
  carrier_ = std::make_unique<workers::Carrier>(workers::CarrierConfig{}, *store, *store, *identities_, *translator_, *planner_, *courier_, clock,
                                                metrics, [this](const workers::ReportOutcome& outcome) { outcomes.push_back(outcome); });
  carrier_->on_state_wanted([this](const AgentId&, std::uint32_t kind) { wanted.push_back(kind); });
}

SiteOfOne::~SiteOfOne() {
  courier_->stop();
  std::filesystem::remove(key_file_);
}

void SiteOfOne::rename() {
  const auto certificate = must(one_key().self_signed_certificate(settings.certificate, clock.wall()));
  store::SiteIdentity identity;
  identity.state = store::IdentityState::ready;
  identity.sms_id = adapters::new_sms_id();
  identity.sealed = must(identities_->seal(agent, one_key(), certificate));
  identity.state_since = clock.wall();
  (void)store->set_site_identity(agent, identity);
  identities_->forget(agent);
}

bool SiteOfOne::carry_once() {
  auto batch = store->lease(store::LaneSet::all(), 256, 32u << 20, {});
  if (!batch || !*batch) return false;
  carrier_->carry(**batch, stopping_);
  clock.advance(std::chrono::hours(1));
  return true;
}

bool SiteOfOne::run() {
  for (int round = 0; round < 50; ++round) {
    if (!carry_once()) return true;
  }
  return false;
}

}  // namespace greengate::test
