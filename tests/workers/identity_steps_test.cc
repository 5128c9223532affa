// Goal: whatever moment a process dies at, the agent's identity is one the site takes, or becomes so by itself; and no report goes out under a
// key that the site may have given up. Method: a site that keeps records as mp-protocol 4 says, a registry and a door that die at the
// n-th moment, and a new process on what is left; n from the first moment to the last.
#include "workers/identity_steps.h"

#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/utf16.h"
#include "core/random.h"
#include "tests/support/fake_device_registry.h"
#include "tests/support/fake_report_queue.h"
#include "tests/support/manual_clock.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <gtest/gtest.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <unistd.h>

namespace greengate::test {
namespace {

using namespace workers;
using adapters::Verdict;
using std::chrono::milliseconds;

struct Died {};

/// Counts the moments at which a process can die, and dies at one of them.
struct Fate {
  std::function<bool(int)> dies = [](int) { return false; };
  int moments = 0;
  void moment() {
    if (dies(moments++)) throw Died();
  }
};

class MortalRegistry : public FakeDeviceRegistry {
 public:
  explicit MortalRegistry(Fate& fate) : fate_(fate) {}
  Result<void> set_site_identity(const AgentId& id, const store::SiteIdentity& identity) override {
    return write([&] { return FakeDeviceRegistry::set_site_identity(id, identity); });
  }
  Result<void> set_fact(const AgentId& id, const std::string& name, const std::string& value) override {
    return write([&] { return FakeDeviceRegistry::set_fact(id, name, value); });
  }
  std::uint64_t counter(const AgentId&, const std::string& name) const override { return name == "inventory_major" ? inventories : 0; }

  std::uint64_t inventories = 0;
  std::function<void()> watch = [] {};
  bool broken = false;

 private:
  template <class Write>
  Result<void> write(Write write) {
    if (broken) return fail(Remedy::retry, "registry.disk", "The fake disk fails.");
    fate_.moment();  // before the sync: nothing of it is there
    auto written = write();
    watch();
    fate_.moment();  // after the sync, before anyone was told
    return written;
  }
  Fate& fate_;
};

class WatchedQueue : public FakeReportQueue {
 public:
  void hold(const AgentId& agent) override { held.insert(agent); }
  void unhold(const AgentId& agent) override { held.erase(agent); }
  Result<ItemId> keep_own(store::NewReport report) override {
    own.push_back(std::move(report));
    return ItemId(own.size());
  }
  Result<std::vector<store::ReportTrace>> trace(const AgentId&, std::uint32_t) override {
    std::vector<store::ReportTrace> traces(3);
    traces[1].leased = under_way > 0;
    if (under_way > 0) --under_way;
    return traces;
  }
  std::set<AgentId> held;
  std::vector<store::NewReport> own;
  int under_way = 0;
};

std::string between(const std::string& text, const std::string& open, const std::string& close) {
  const auto start = text.find(open);
  if (start == std::string::npos) return {};
  const auto end = text.find(close, start + open.size());
  return text.substr(start + open.size(), end - start - open.size());
}

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

/// Did the key of this certificate sign the SMSID, as a registration hint does (4.6)?
bool vouches(const std::string& certificate, const std::string& hint_hex, const std::string& sms_id) {
  const auto* at = reinterpret_cast<const unsigned char*>(certificate.data());
  const std::unique_ptr<X509, decltype(&X509_free)> x509(d2i_X509(nullptr, &at, static_cast<long>(certificate.size())), X509_free);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  std::string signature = bytes_of_hex(hint_hex);
  std::reverse(signature.begin(), signature.end());
  const std::string text = adapters::utf16_from_utf8(sms_id) + std::string(2, '\0');
  const auto bytes = [](const std::string& of) { return reinterpret_cast<const unsigned char*>(of.data()); };
  return x509 && context &&
         EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, X509_get0_pubkey(x509.get())) == 1 &&
         EVP_DigestVerify(context.get(), bytes(signature), signature.size(), bytes(text), text.size()) == 1;
}

/// A site's records of its clients, by the book.
class BookSite {
 public:
  struct Record {
    std::string certificate;
    bool confirmed = false;
    int agent_type = 0;
    std::string proxy;
  };
  std::map<std::string, Record> records;
  int confirmations_before_yes = 1;
  bool rejects_renewals = false;
  bool answers_nothing = false;
  std::vector<std::string> asked;

  Verdict answer(const adapters::OutgoingMessage& message) {
    const auto parts = adapters::parse_multipart(message.http_body, message.content_type, "");
    const auto plain = adapters::inflate_zlib(parts->payload, 1 << 20);
    const std::string body = adapters::utf8_from_utf16(plain->substr(0, plain->size() - 4));
    const bool confirming = between(body, "RequestType=\"", "\"") == "Confirmation";
    const std::string proposed = between(body, "SMSID=\"", "\"");
    const std::string signing = between(body, "<Signing ", "</Signing>");
    const std::string der = bytes_of_hex(signing.substr(signing.find('>') + 1));
    const std::string hint = between(body, "<RegistrationHint>", "</RegistrationHint>");
    asked.push_back(confirming ? "confirmation" : !hint.empty() ? "registration with hint" : "registration");
    if (answers_nothing) return {Verdict::Kind::refused, {}};

    const auto known = records.find(proposed);
    if (confirming) {
      if (known == records.end()) return status(2, "");
      if (known->second.certificate != der) return status(3, "");
      if (!known->second.confirmed && confirmations_left_-- > 0) return status(1, proposed);
      known->second.confirmed = true;
      return status(0, proposed);
    }
    std::string id = proposed;
    if (known != records.end() && known->second.certificate != der) {
      if (rejects_renewals) return status(3, "");
      if (!hint.empty() && vouches(known->second.certificate, hint, proposed))
        known->second.certificate = der;
      else
        id = adapters::new_sms_id().raw();  // taken by another: one of its own
    }
    Record& record = records[id];
    record.certificate = der;
    record.agent_type = std::stoi(between(body, "AgentType=\"", "\""));
    record.proxy = between(body, "<Signature SMSID=\"", "\"");
    if (!record.confirmed) confirmations_left_ = confirmations_before_yes;
    return status(record.confirmed ? 0 : 1, id);
  }

 private:
  static Verdict status(int status, const std::string& id) {
    Verdict verdict;
    verdict.kind = Verdict::Kind::reply;
    verdict.xml = "<ClientRegistrationResponse ResponseType=\"Registration\" Status=\"" + std::to_string(status) + "\"" +
                  (id.empty() ? "" : " SMSID=\"" + id + "\"") + " />";
    return verdict;
  }
  int confirmations_left_ = 0;
};

class MortalDoor : public MpDoor {
 public:
  MortalDoor(BookSite& site, Fate& fate) : site_(site), fate_(fate) {}
  const std::string& name() const override { return name_; }
  Result<std::string> get(std::string_view) override { return std::string(); }
  Result<Verdict> send(const adapters::OutgoingMessage& message) override {
    fate_.moment();  // before it left
    Verdict verdict = site_.answer(message);
    fate_.moment();  // the site has it, and we did not hear so
    return verdict;
  }

 private:
  BookSite& site_;
  Fate& fate_;
  const std::string name_ = "http://mp01.example.test";
};

class IdentityStepsTest : public ::testing::Test {
 protected:
  IdentityStepsTest() : keys_(1, few_keys()), registry_(std::make_unique<MortalRegistry>(fate_)) {
    EXPECT_TRUE(keys_.start());
    folder_ = std::filesystem::temp_directory_path() / ("greengate-identity-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    sealer_.emplace(store::Sealer::from_key_file((folder_ / "seal.key").string(), true).value());
    settings_.site_code = "P01";
  }
  ~IdentityStepsTest() override {
    keys_.stop();
    std::filesystem::remove_all(folder_);
  }

  /// Keys are dear, and no estate needs more than three: they come round again.
  static KeyPool::Maker few_keys() {
    struct Keys {
      std::mutex mutex;
      std::vector<adapters::SigningKey> made;
      std::size_t at = 0;
    };
    return [keys = std::make_shared<Keys>()](const std::atomic<bool>&) -> Result<adapters::SigningKey> {
      std::lock_guard lock(keys->mutex);
      if (keys->made.size() < 3) keys->made.push_back(adapters::SigningKey::generate().value());
      return keys->made[keys->at++ % 3];
    };
  }

  /// An active agent nobody at the site knows, in an estate of its own.
  void fresh_estate() {
    process_.reset();
    fate_ = {};
    site_ = BookSite();
    queue_ = std::make_unique<WatchedQueue>();
    registry_ = std::make_unique<MortalRegistry>(fate_);
    agent_ = registry_->put(AgentKey(std::string(40, 'k')), store::DeviceState::active).id;
    registry_->note_seen(agent_, clock_.wall(), "db01", "db01.example.test", "Debian", "1");
    registry_->watch = [this] { check(); };
  }
  /// The same, ready at the site with a key that all these estates share, as keys are dear.
  void ready_estate() {
    fresh_estate();
    static const adapters::SigningKey key = adapters::SigningKey::generate().value();
    const std::string certificate = key.self_signed_certificate(settings_.certificate, clock_.wall()).value();
    Identities identities(settings_, *registry_, *sealer_, 16);
    store::SiteIdentity identity;
    identity.state = store::IdentityState::ready;
    identity.sms_id = adapters::new_sms_id();
    identity.sealed = identities.seal(agent_, key, certificate).value();
    identity.state_since = clock_.wall();
    ASSERT_TRUE(registry_->FakeDeviceRegistry::set_site_identity(agent_, identity));
    site_.records[identity.sms_id.raw()] = {certificate, true, 0, {}};
    registry_->inventories = 5;
  }

  /// What lives and dies together.
  struct Process {
    Process(IdentityStepsTest& test)
        : identities(test.settings_, *test.registry_, *test.sealer_, 16, test.common_),
          courier({}, doors(test), test.clock_, test.metrics_, 1),
          steps(test.rules_, test.settings_, *test.registry_, *test.queue_, identities, test.keys_, courier, test.clock_),
          life(steps.life_of(*test.registry_->find(test.agent_), ++test.seed_)) {
      test.queue_->held.clear();  // in memory only
      steps.hold_or_release(test.agent_, life);
    }
    static std::vector<std::unique_ptr<MpDoor>> doors(IdentityStepsTest& test) {
      std::vector<std::unique_ptr<MpDoor>> all;
      all.push_back(std::make_unique<MortalDoor>(test.site_, test.fate_));
      return all;
    }
    Identities identities;
    Courier courier;
    IdentitySteps steps;
    IdentityLife life;
  };
  void start() {
    process_.emplace(*this);
    check();
  }
  IdentityLife& life() { return process_->life; }
  store::SiteIdentity on_disk() { return registry_->find(agent_)->site; }

  /// One step, when it is due.
  IdentitySteps::Step step() {
    const auto wait = std::chrono::ceil<milliseconds>(life().due() - clock_.steady());
    if (wait > milliseconds(0)) clock_.advance(wait);
    const auto step = process_->steps.take(agent_, life());
    check();
    return step;
  }
  /// Until the site takes what the agent signs and nothing is left to do; or says why not.
  void run_home() {
    for (int i = 0; i < 60; ++i) {
      if (life().state() == LifeState::ready && life().certificate_ends()) {
        if (!policy_is_asked_ || site_takes_it()) return;
        life().invoke_refused(process_->steps.now());  // a signed question, and nothing for an answer
        clock_.advance(rules_.refusal_spacing);
        continue;
      }
      step();
    }
    ADD_FAILURE() << "stuck in " << name_of(life().state()) << ", " << life().last_code();
  }
  /// Would the site take what this agent signs, with what is on disk?
  bool site_takes_it() {
    const auto device = registry_->find(agent_);
    Identities identities(settings_, *registry_, *sealer_, 16, common_);
    const auto identity = identities.of(*device);
    const auto record = site_.records.find(device->site.sms_id.raw());
    return identity && record != site_.records.end() && record->second.confirmed &&
           adapters::certificate_matches(record->second.certificate, identity->key);
  }
  /// At every moment: what is not held is taken.
  void check() {
    if (!process_ || policy_is_asked_ || queue_->held.contains(agent_) || on_disk().state != store::IdentityState::ready) return;
    EXPECT_TRUE(site_takes_it()) << "reports would be lost in " << name_of(life().state()) << ", moment " << fate_.moments;
  }

  /// Runs `begin` in an estate made by `make`, once for every moment at which the process can die.
  void die_at_every_moment(const std::function<void()>& make, const std::function<void()>& begin) {
    int moments = 0;
    for (int moment = 0;; ++moment) {
      make();
      bool died = false;
      fate_.dies = [moment](int now) { return now == moment; };
      try {
        start();
        begin();
        run_home();
      } catch (const Died&) {
        died = true;
        start();
        run_home();
      }
      ASSERT_FALSE(HasFailure()) << "died at moment " << moment;
      EXPECT_TRUE(site_takes_it()) << "died at moment " << moment;
      EXPECT_FALSE(queue_->held.contains(agent_));
      if (!died) {
        moments = moment;
        break;
      }
    }
    EXPECT_GE(moments, 6) << "so few moments are no test";
  }

  Fate fate_;
  BookSite site_;
  ManualClock clock_;
  Metrics metrics_;
  KeyPool keys_;
  adapters::MpSettings settings_;
  LifeRules rules_;
  std::filesystem::path folder_;
  std::optional<store::Sealer> sealer_;
  std::unique_ptr<MortalRegistry> registry_;
  std::unique_ptr<WatchedQueue> queue_;
  std::shared_ptr<CommonIdentity> common_;
  AgentId agent_;
  std::uint64_t seed_ = 0;
  bool policy_is_asked_ = false;  // the site itself lost the record: only its refusals can tell
  std::optional<Process> process_;
};

TEST_F(IdentityStepsTest, ComesHomeFromEveryDeathOnTheWayToItsFirstRecord) {
  die_at_every_moment([this] { fresh_estate(); }, [] {});
  EXPECT_EQ(site_.records.size(), 1u);
}

TEST_F(IdentityStepsTest, ComesHomeFromEveryDeathOfAKeyChangeUnderTheSameSmsid) {
  settings_.registration_hint = adapters::HintUse::always;
  std::string before;
  die_at_every_moment(
      [&] {
        ready_estate();
        before = on_disk().sms_id.raw() + on_disk().sealed;
      },
      [&] { ASSERT_TRUE(life().rotate(process_->steps.now())); });
  EXPECT_NE(on_disk().sms_id.raw() + on_disk().sealed, before);
  EXPECT_EQ(on_disk().sms_id.raw(), before.substr(0, 41)) << "the hint keeps the SMSID";
  EXPECT_EQ(site_.records.size(), 1u);
  EXPECT_EQ(registry_->fact(agent_, next_identity_fact).value().value_or(""), "") << "no second key lies about";
}

TEST_F(IdentityStepsTest, ComesHomeFromEveryDeathOfAKeyChangeToANewRecord) {
  std::string before;
  die_at_every_moment(
      [&] {
        ready_estate();
        before = on_disk().sms_id.raw();
      },
      [&] { ASSERT_TRUE(life().rotate(process_->steps.now())); });
  EXPECT_NE(on_disk().sms_id.raw(), before) << "without a hint the site gives another SMSID";
  ASSERT_EQ(queue_->own.size(), 1u) << "the new record has no inventory";
  EXPECT_EQ(queue_->own[0].kind, static_cast<std::uint32_t>(v1::KIND_RESYNC));
  v1::ResyncRequest request;
  ASSERT_TRUE(request.ParseFromString(queue_->own[0].body));
  EXPECT_EQ(request.kind(), static_cast<std::uint32_t>(v1::KIND_HARDWARE_INVENTORY));
}

TEST_F(IdentityStepsTest, ComesHomeFromEveryDeathOfACertificatesRenewal) {
  for (const auto use : {adapters::HintUse::never, adapters::HintUse::always}) {
    settings_.registration_hint = use;
    die_at_every_moment([this] { ready_estate(); },
                        [this] {
                          clock_.advance(std::chrono::hours(24 * 350));
                          for (int i = 0; i < 3 && life().state() == LifeState::ready; ++i) step();
                          ASSERT_EQ(life().state(), LifeState::renewing);
                        });
  }
}

TEST_F(IdentityStepsTest, ComesHomeFromEveryDeathAfterTheSiteLostItsRecord) {
  policy_is_asked_ = true;
  die_at_every_moment(
      [this] {
        ready_estate();
        site_.records.clear();
      },
      [] {});
  EXPECT_EQ(site_.asked.size(), 4u) << "confirmation, registration, confirmation twice";
  EXPECT_EQ(site_.records.size(), 1u) << "under the SMSID it had";
  EXPECT_EQ(queue_->own.size(), 1u) << "and everything again";
}

TEST_F(IdentityStepsTest, ComesHomeFromAnyNumberOfDeaths) {
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 dice(seed);
  for (int round = 0; round < 40; ++round) {
    settings_.registration_hint = dice() % 2 == 0 ? adapters::HintUse::always : adapters::HintUse::never;
    ready_estate();
    site_.confirmations_before_yes = static_cast<int>(dice() % 3);
    bool wants_rotation = true;
    fate_.dies = [&dice](int) { return dice() % 8 == 0; };
    for (int life_number = 0; life_number < 100; ++life_number) {
      try {
        start();
        if (std::exchange(wants_rotation, false)) {
          ASSERT_TRUE(life().rotate(process_->steps.now()));
        }
        run_home();
        break;
      } catch (const Died&) {
      }
    }
    fate_.dies = [](int) { return false; };
    start();
    run_home();
    ASSERT_TRUE(site_takes_it()) << "round " << round;
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
}

TEST_F(IdentityStepsTest, KeepsTheOldIdentityWhenTheSiteWillNotRenew) {
  ready_estate();
  const store::SiteIdentity before = on_disk();
  site_.rejects_renewals = true;
  start();
  ASSERT_TRUE(life().rotate(process_->steps.now()));
  for (int i = 0; i < 10; ++i) step();
  EXPECT_EQ(on_disk().sealed, before.sealed);
  EXPECT_EQ(on_disk().sms_id, before.sms_id);
  EXPECT_EQ(on_disk().state, store::IdentityState::ready);
  EXPECT_FALSE(queue_->held.contains(agent_));
  EXPECT_STREQ(life().last_code(), "renewal.rejected");
}

TEST_F(IdentityStepsTest, SendsNothingForANewKeyWhileTheOldOnesMessagesAreUnderWay) {
  ready_estate();
  settings_.registration_hint = adapters::HintUse::always;
  queue_->under_way = 3;
  start();
  ASSERT_TRUE(life().rotate(process_->steps.now()));
  step();  // prepares
  for (int i = 0; i < 3; ++i) {
    step();
    EXPECT_TRUE(site_.asked.empty());
    EXPECT_TRUE(queue_->held.contains(agent_)) << "or new ones would follow for ever";
  }
  step();
  EXPECT_EQ(site_.asked, std::vector<std::string>{"registration with hint"});
}

TEST_F(IdentityStepsTest, DoesNotMoveOnWhatIsNotOnDisk) {
  fresh_estate();
  start();
  step();
  registry_->broken = true;
  step();
  EXPECT_EQ(life().state(), LifeState::registering);
  EXPECT_STREQ(life().last_code(), "registry.disk");
  registry_->broken = false;
  run_home();
  EXPECT_EQ(site_.records.size(), 1u) << "the same proposal again";
}

TEST_F(IdentityStepsTest, ResyncsOnlyWhatWasEverSent) {
  ready_estate();
  registry_->inventories = 0;
  start();
  ASSERT_TRUE(life().rotate(process_->steps.now()));
  step();
  run_home();
  EXPECT_TRUE(queue_->own.empty());
}

// Common keys

TEST_F(IdentityStepsTest, RegistersEveryClientUnderOneSharedKey) {
  const std::string file = (folder_ / "shared.identity").string();
  common_ = CommonIdentity::shared_key(file, *sealer_, settings_.certificate, clock_.wall()).value();
  fresh_estate();
  start();
  run_home();
  ASSERT_EQ(site_.records.size(), 1u);
  EXPECT_EQ(site_.records.begin()->second.certificate, common_->pair().certificate_der);
  EXPECT_EQ(site_.records.begin()->second.agent_type, 0);
  EXPECT_TRUE(CommonIdentity::is_mark(on_disk().sealed)) << "no key in the agent's record";

  const auto again = CommonIdentity::shared_key(file, *sealer_, settings_.certificate, clock_.wall());
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->mark(), common_->mark()) << "the key survives a restart";
}

TEST_F(IdentityStepsTest, RenewsASharedCertificateUnderTheSameKeyAndTellsTheSiteForEachClient) {
  common_ = CommonIdentity::shared_key((folder_ / "renewed.identity").string(), *sealer_, settings_.certificate, clock_.wall()).value();
  settings_.registration_hint = adapters::HintUse::always;
  fresh_estate();
  start();
  run_home();
  const std::string before = on_disk().sealed, key = common_->pair().key.public_key_blob_hex();
  clock_.advance(std::chrono::hours(24 * 350));
  for (int i = 0; i < 5 && on_disk().sealed == before; ++i) step();
  run_home();
  EXPECT_NE(on_disk().sealed, before);
  EXPECT_EQ(common_->pair().key.public_key_blob_hex(), key);
  EXPECT_EQ(site_.records.at(on_disk().sms_id.raw()).certificate, common_->pair().certificate_der);
  EXPECT_EQ(site_.records.size(), 1u);
}

TEST_F(IdentityStepsTest, GoesFromItsOwnKeyToTheSharedOneWithoutAGap) {
  common_ = CommonIdentity::shared_key((folder_ / "switched.identity").string(), *sealer_, settings_.certificate, clock_.wall()).value();
  die_at_every_moment([this] { ready_estate(); },
                      [this] {
                        for (int i = 0; i < 3 && life().state() == LifeState::ready; ++i) step();
                        ASSERT_EQ(life().state(), LifeState::renewing);
                      });
  EXPECT_TRUE(CommonIdentity::is_mark(on_disk().sealed));
}

TEST_F(IdentityStepsTest, MakesAKeyOfItsOwnWhenTheSharedOneIsGone) {
  common_ = CommonIdentity::shared_key((folder_ / "gone.identity").string(), *sealer_, settings_.certificate, clock_.wall()).value();
  fresh_estate();
  start();
  run_home();
  common_.reset();
  registry_->watch = [] {};
  start();
  EXPECT_EQ(life().state(), LifeState::none);
  EXPECT_TRUE(queue_->held.contains(agent_));
  run_home();
  EXPECT_FALSE(CommonIdentity::is_mark(on_disk().sealed));
  EXPECT_TRUE(site_takes_it());
}

TEST_F(IdentityStepsTest, AsksNothingForAnAgentThatIsNotActive) {
  fresh_estate();
  start();
  ASSERT_TRUE(registry_->set_state(agent_, store::DeviceState::revoked));
  EXPECT_TRUE(step().over);
  EXPECT_TRUE(site_.asked.empty());
}

}  // namespace
}  // namespace greengate::test
