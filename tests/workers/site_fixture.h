#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/settings.h"
#include "core/metrics.h"
#include "store/open_store.h"
#include "store/sealer.h"
#include "tests/support/manual_clock.h"
#include "workers/courier.h"
#include "workers/identities.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <vector>

namespace greengate::test {

/// A management point that keeps what it was sent and answers by a function; none: it takes every Post.
class ScriptedDoor : public workers::MpDoor {
 public:
  using Answer = std::function<Result<adapters::Verdict>(const adapters::OutgoingMessage&)>;

  const std::string& name() const override { return name_; }
  Result<std::string> get(std::string_view target) override {
    Document document;
    {
      std::lock_guard lock(mutex_);
      got_.emplace_back(target);
      document = document_;
    }
    changed_.notify_all();
    return document ? document(std::string(target)) : Result<std::string>(std::string());
  }
  Result<adapters::Verdict> send(const adapters::OutgoingMessage& message) override {
    Answer answer;
    {
      std::lock_guard lock(mutex_);
      sent_.push_back({message.endpoint, message.message_id});
      answer = answer_;
    }
    changed_.notify_all();
    return answer ? answer(message) : Result<adapters::Verdict>(adapters::Verdict{});
  }

  struct Sent {
    std::string endpoint, message_id;
  };
  using Document = std::function<Result<std::string>(const std::string& target)>;
  /// What GETs are answered with; none: an empty document.
  void give(Document document) {
    std::lock_guard lock(mutex_);
    document_ = std::move(document);
  }
  std::vector<std::string> got() const {
    std::lock_guard lock(mutex_);
    return got_;
  }
  void answer_with(Answer answer) {
    std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  std::vector<Sent> sent() const {
    std::lock_guard lock(mutex_);
    return sent_;
  }
  /// Waits, at most ten seconds, until so many messages came.
  bool wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return sent_.size() >= count; });
  }

 private:
  std::string name_ = "http://mp01.example.test";
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::vector<Sent> sent_;
  std::vector<std::string> got_;
  Answer answer_;
  Document document_;
};

/// A real store in a folder of its own, one enrolled agent, and one scripted management point.
class SiteFixture : public ::testing::Test {
 protected:
  SiteFixture() {
    folder_ = std::filesystem::temp_directory_path() / ("greengate-workers-" + std::to_string(getpid()) + "-" +
                                                       ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    store::StoreConfig config;
    config.directory = folder_.string();
    auto store = store::open_store(config, clock_, metrics_);
    if (!store) throw std::runtime_error(store.error().message);
    store_ = std::move(*store);
    if (auto started = store_->start(); !started) throw std::runtime_error(started.error().message);
    settings_.site_code = "P01";
    auto sealer = store::Sealer::from_key_file((folder_ / "seal.key").string(), true);
    if (!sealer) throw std::runtime_error(sealer.error().message);
    identities_ = std::make_unique<workers::Identities>(settings_, store_->devices(), *sealer, 16);
    agent_ = enrol("db01");

    open_courier({});
  }
  ~SiteFixture() override {
    store_->stop();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  void open_courier(workers::PacingConfig pacing) {
    workers::CourierConfig courier;
    courier.rest = {std::chrono::milliseconds(50), std::chrono::milliseconds(50)};
    courier.pacing = std::move(pacing);
    auto door = std::make_unique<ScriptedDoor>();
    door_ = door.get();
    std::vector<std::unique_ptr<workers::MpDoor>> doors;
    doors.push_back(std::move(door));
    courier_ = std::make_unique<workers::Courier>(courier, std::move(doors), clock_, metrics_, 1);
  }

  AgentId enrol(const std::string& host) {
    store::EnrolRequest request;
    request.key = AgentKey(host + std::string(40 - host.size(), 'k'));
    request.host_name = host;
    request.fqdn = host + ".example.test";
    std::promise<Result<store::Device>> done;
    store_->devices().enrol(request, [&](Result<store::Device> device) { done.set_value(std::move(device)); });
    const auto pending = done.get_future().get();
    EXPECT_TRUE(pending) << pending.error().message;
    EXPECT_TRUE(store_->devices().set_state(pending->id, store::DeviceState::active));
    return pending->id;
  }

  /// As if the site had confirmed it.
  void make_ready(const AgentId& agent) {
    static const auto key = adapters::SigningKey::generate();
    ASSERT_TRUE(key);
    auto certificate = key->self_signed_certificate(settings_.certificate, clock_.wall());
    ASSERT_TRUE(certificate);
    auto sealed = identities_->seal(agent, *key, *certificate);
    ASSERT_TRUE(sealed);
    store::SiteIdentity site;
    site.state = store::IdentityState::ready;
    site.sms_id = adapters::new_sms_id();
    site.sealed = *sealed;
    site.state_since = clock_.wall();
    ASSERT_TRUE(store_->devices().set_site_identity(agent, site));
  }

  void keep(const AgentId& agent, std::uint64_t sequence, std::uint32_t kind, std::string body, store::Lane lane = store::Lane::state) {
    store::NewReport report;
    report.name = {agent, 1, sequence};
    report.kind = kind;
    report.lane = lane;
    report.collected_at = clock_.wall();
    report.body = std::move(body);
    std::vector<store::NewReport> batch;
    batch.push_back(std::move(report));
    std::promise<Result<std::vector<store::KeepResult>>> done;
    store_->reports().keep(std::move(batch), [&](auto result) { done.set_value(std::move(result)); });
    const auto kept = done.get_future().get();
    ASSERT_TRUE(kept) << kept.error().message;
    ASSERT_EQ(kept->at(0).kept, store::Kept::stored);
  }

  static std::string state_body(int messages = 1) {
    v1::StateMessages all;
    for (int i = 0; i < messages; ++i) {
      v1::StateMessage& message = *all.add_messages();
      message.set_time_ms(1'768'472'430'000);
      message.set_topic_type(500);
      message.set_topic_id("505fda07-b4f3-45fb-83d9-8642554e2773");
      message.set_state_id(2);
    }
    return all.SerializeAsString();
  }
  static std::string discovery_body() {
    v1::Discovery discovery;
    discovery.set_host_name("db01");
    discovery.set_fqdn("db01.example.test");
    return discovery.SerializeAsString();
  }

  std::filesystem::path folder_;
  ManualClock clock_;
  Metrics metrics_;
  adapters::MpSettings settings_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<workers::Identities> identities_;
  std::unique_ptr<workers::Courier> courier_;
  ScriptedDoor* door_ = nullptr;
  AgentId agent_;
};

}  // namespace greengate::test
