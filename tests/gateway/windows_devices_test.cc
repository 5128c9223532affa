#include "gateway/windows_devices.h"

#include "gateway/sealed_channels.h"
#include "store/open_store.h"
#include "tests/adapters/mdm/scripted_device.h"
#include "tests/store/store_fixture.h"

#include <sys/stat.h>
#include <boost/json.hpp>

#include <filesystem>
#include <fstream>

namespace greengate::test {
namespace {

using namespace adapters;
using namespace gateway;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

/// Notes what it is told; wakes nobody.
class FakeWaker final : public adapters::Waker {
 public:
  std::string_view name() const override { return "fake waker"; }
  Result<void> start() override { return {}; }
  void drain(SteadyTime) override {}
  void stop() override {}
  std::map<AgentId, adapters::WakeAnswer> wake(std::span<const AgentId> devices, const adapters::WakeOrder& order) override {
    for (const AgentId& device : devices) told.push_back("wake " + device.raw() + " " + order.reason + (order.urgent ? " urgent" : ""));
    return {};
  }
  void session_opened(const AgentId& device) override { told.push_back("opened " + device.raw()); }
  void session_closed(const AgentId& device) override { told.push_back("closed " + device.raw()); }
  void channel_read(const AgentId& device, const adapters::ChannelReading& reading) override {
    told.push_back("read " + device.raw() + " " + reading.enrollment + " " + (reading.uri ? "uri" : "none") + " " +
                   (reading.push_status ? std::to_string(*reading.push_status) : "-"));
  }
  std::string pfn_to_set(const AgentId&) override { return pfn; }
  void forget(const AgentId& device) override { told.push_back("forget " + device.raw()); }
  std::optional<adapters::ChannelView> view(const AgentId&) const override {
    adapters::ChannelView view;
    view.state = "active";
    view.fingerprint = "0123456789abcdef";
    return view;
  }

  std::string pfn;
  std::vector<std::string> told;
};

class Windows : public StoreTest {
 protected:
  Windows() {
    table_ = directory_.path() + "/devices.toml";
    config_windows_.enrolments = table_;
    config_windows_.endpoint.visit.provider = "FABRIKAM";
    device_.nodes["Get " + push_root + "/ChannelURI"] = {200, push_channel};
    device_.nodes["Get " + push_root + "/Status"] = {200, "0"};
  }
  void SetUp() override { open(); }
  void TearDown() override {
    windows_.reset();
    close();
  }

  void write_table(const std::vector<std::pair<std::string, std::string>>& rows, char filler = 'a') {
    const std::string next = table_ + ".next";
    {
      std::ofstream file(next);
      for (const auto& [name, id] : rows) {
        file << "[[device]]\nname = \"" << name << "\"\ndevice_id = \"" << id << "\"\ncertificate_sha256 = \"" << print_of(id, filler) << "\"\n";
      }
    }
    std::filesystem::rename(next, table_);
  }
  static std::string print_of(const std::string& id, char filler = 'a') {
    std::string print;
    for (const char c : id.substr(0, 32)) print += std::isxdigit(static_cast<unsigned char>(c)) ? static_cast<char>(std::tolower(c)) : '0';
    return print + std::string(64 - print.size(), filler);
  }
  static adapters::DmPeer peer(const std::string& id) {
    adapters::DmPeer made;
    made.fingerprint = print_of(id);
    made.serial = "aff";
    made.in_time = true;
    return made;
  }

  /// Without sockets and without its thread: the table is read as start() does.
  void build() {
    windows_ = std::make_unique<WindowsDevices>(config_windows_, registry(), clock_, metrics_);
    windows_->connect({.collect =
                           [this](const AgentId& agent, std::uint32_t) {
                             collected_.push_back(agent);
                             auto handed = waiting_;
                             return handed;
                           },
                       .task_result =
                           [this](const AgentId&, const v1::TaskResult& result) {
                             results_.push_back(std::to_string(result.notification_id()) + " " + v1::TaskOutcome_Name(result.outcome()).substr(13));
                             std::erase_if(waiting_, [&](const v1::Notification& task) { return task.notification_id() == result.notification_id(); });
                           },
                       .stands = [this](const AgentId& agent, bool active) { stands_.push_back(agent.raw() + (active ? " active" : " gone")); }},
                      &waker_);
    clock_.advance(minutes(1));
    windows_->tick();
  }
  AgentId agent(const std::string& id) {
    const auto device = registry().find_by_key(windows_key(id));
    EXPECT_TRUE(device) << id;
    return device ? device->id : AgentId();
  }
  /// A whole session of the device, message by message through the endpoint.
  std::string visit(const std::string& id, int messages = 100) {
    device_.id = id;
    device_.session = std::to_string(++session_);
    std::optional<DmMessage> message = device_.package1();
    std::string said;
    for (; message && messages > 0; --messages) {
      const DmReply reply = windows_->handle(peer(id), write_syncml(*message));
      if (reply.status != 200) return reply.code;
      message = device_.next(reply.body);
    }
    return "done";
  }
  std::string post(const std::string& id) {
    device_.id = id;
    device_.session = std::to_string(++session_);
    return windows_->handle(peer(id), write_syncml(device_.package1())).body;
  }

  std::string table_;
  WindowsConfig config_windows_;
  FakeWaker waker_;
  ScriptedDevice device_;
  std::vector<AgentId> collected_;
  std::vector<v1::Notification> waiting_;
  std::vector<std::string> results_, stands_;
  std::unique_ptr<WindowsDevices> windows_;
  int session_ = 100;
};

v1::Notification task(std::uint64_t id, v1::Task what) {
  v1::Notification made;
  made.set_notification_id(id);
  made.set_task(what);
  return made;
}

TEST_F(Windows, each_row_becomes_an_active_device_of_the_registry) {
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  build();
  const auto device = registry().find_by_key(windows_key("0A01"));
  ASSERT_TRUE(device);
  EXPECT_EQ(device->state, store::DeviceState::active);
  EXPECT_EQ(device->host_name, "PC-1");
  EXPECT_EQ(device->operating_system, "Windows");
  EXPECT_EQ(device->key.raw().size(), 40u);
  EXPECT_EQ(stands_.size(), 2u);
  EXPECT_TRUE(windows_->knows(device->id));
  windows_.reset();
  reopen();
  EXPECT_EQ(registry().find_by_key(windows_key("0a01"))->id, device->id);  // and stays the same one
}

TEST_F(Windows, a_session_reads_the_channel_and_hands_over_what_waits) {
  write_table({{"PC-1", "0A01"}});
  build();
  waiting_ = {task(7, v1::TASK_UPDATE_SIGNATURES)};
  EXPECT_EQ(visit("0A01"), "done");
  const std::string id = agent("0A01").raw();
  EXPECT_EQ(waker_.told, (std::vector<std::string>{"opened " + id, "read " + id + " aff uri 0", "closed " + id}));
  EXPECT_EQ(results_, (std::vector<std::string>{"7 ACCEPTED", "7 COMPLETED"}));
}

TEST_F(Windows, an_unknown_certificate_is_refused_and_so_is_one_out_of_its_time) {
  write_table({{"PC-1", "0A01"}});
  build();
  EXPECT_EQ(visit("0A09"), "mdm.unknown_certificate");
  adapters::DmPeer expired = peer("0A01");
  expired.in_time = false;
  EXPECT_EQ(windows_->handle(expired, "").code, "mdm.certificate_time");
}

TEST_F(Windows, work_for_a_device_that_is_away_wakes_it_and_for_one_that_is_here_does_not) {
  write_table({{"PC-1", "0A01"}});
  build();
  const AgentId id = agent("0A01");
  windows_->wake(id, v1::TASK_QUICK_SCAN, clock_.wall(), clock_.wall() + hours(1), true);
  windows_->wake(AgentId("no-windows-device"), v1::TASK_QUICK_SCAN, clock_.wall(), clock_.wall() + hours(1), true);
  EXPECT_EQ(waker_.told, std::vector<std::string>{"wake " + id.raw() + " TASK_QUICK_SCAN urgent"});
  waker_.told.clear();

  const std::string reply = post("0A01");
  waiting_ = {task(8, v1::TASK_UPDATE_SIGNATURES)};
  windows_->wake(id, v1::TASK_UPDATE_SIGNATURES, clock_.wall(), clock_.wall() + hours(1), false);
  auto message = device_.next(reply);
  while (message) message = device_.next(windows_->handle(peer("0A01"), write_syncml(*message)).body);
  EXPECT_EQ(results_, (std::vector<std::string>{"8 ACCEPTED", "8 COMPLETED"}));
  for (const std::string& told : waker_.told) EXPECT_FALSE(told.starts_with("wake")) << told;
}

TEST_F(Windows, work_that_came_too_late_for_a_session_wakes_the_device_after_it) {
  write_table({{"PC-1", "0A01"}});
  build();
  const AgentId id = agent("0A01");
  post("0A01");
  windows_->wake(id, v1::TASK_QUICK_SCAN, clock_.wall(), clock_.wall() + hours(1), true);
  clock_.advance(minutes(6));  // the device never came back to its session
  windows_->tick();
  ASSERT_FALSE(waker_.told.empty());
  EXPECT_EQ(waker_.told.back(), "wake " + id.raw() + " TASK_QUICK_SCAN urgent");
}

TEST_F(Windows, work_that_begins_later_wakes_the_device_then_and_not_before) {
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  build();
  const AgentId one = agent("0A01"), two = agent("0A02");
  const WallTime now = clock_.wall();
  windows_->wake(two, v1::TASK_MACHINE_POLICY, now + seconds(90), now + hours(1), false);
  windows_->wake(one, v1::TASK_DISCOVERY, now + seconds(30), now + hours(1), false);
  windows_->wake(AgentId("no-windows-device"), v1::TASK_DISCOVERY, now + seconds(30), now + hours(1), false);
  windows_->tick();
  clock_.advance(seconds(30) - std::chrono::milliseconds(1));
  windows_->tick();
  EXPECT_TRUE(waker_.told.empty()) << waker_.told[0];
  EXPECT_NE(boost::json::serialize(windows_->explained(one)).find("\"wake_due_in_ms\":1,"), std::string::npos);
  clock_.advance(std::chrono::milliseconds(1));
  windows_->tick();
  EXPECT_EQ(waker_.told, std::vector<std::string>{"wake " + one.raw() + " TASK_DISCOVERY"});
  clock_.advance(seconds(60));
  windows_->tick();
  windows_->tick();
  EXPECT_EQ(waker_.told.size(), 2u) << "each once";
  EXPECT_EQ(waker_.told.back(), "wake " + two.raw() + " TASK_MACHINE_POLICY");
}

TEST_F(Windows, what_is_due_together_is_one_wake_and_a_newer_one_of_its_kind_takes_the_others_place) {
  write_table({{"PC-1", "0A01"}});
  build();
  const AgentId id = agent("0A01");
  const WallTime now = clock_.wall();
  windows_->wake(id, v1::TASK_DISCOVERY, now + seconds(10), now + hours(1), false);
  windows_->wake(id, v1::TASK_DISCOVERY, now + seconds(40), now + hours(1), false);
  windows_->wake(id, v1::TASK_UPDATE_SIGNATURES, now + seconds(41), now + hours(2), false);
  clock_.advance(seconds(20));
  windows_->tick();
  EXPECT_TRUE(waker_.told.empty());
  clock_.advance(seconds(30));
  windows_->tick();
  EXPECT_EQ(waker_.told, std::vector<std::string>{"wake " + id.raw() + " TASK_UPDATE_SIGNATURES"});
}

TEST_F(Windows, a_device_that_comes_by_itself_is_not_woken_for_what_it_took_along) {
  write_table({{"PC-1", "0A01"}});
  build();
  const AgentId id = agent("0A01");
  windows_->wake(id, v1::TASK_DISCOVERY, clock_.wall() + seconds(30), clock_.wall() + hours(1), false);
  clock_.advance(seconds(30));  // due, and nobody looked at the time yet
  EXPECT_EQ(visit("0A01"), "done");
  windows_->tick();
  for (const std::string& told : waker_.told) EXPECT_FALSE(told.starts_with("wake")) << told;
}

TEST_F(Windows, work_that_becomes_due_in_a_session_is_handed_over_in_it_or_wakes_the_device_after_it) {
  write_table({{"PC-1", "0A01"}});
  build();
  const AgentId id = agent("0A01");
  windows_->wake(id, v1::TASK_DISCOVERY, clock_.wall() + seconds(30), clock_.wall() + hours(1), false);
  const std::string reply = post("0A01");
  clock_.advance(seconds(30));
  windows_->tick();
  for (const std::string& told : waker_.told) EXPECT_FALSE(told.starts_with("wake")) << told;
  clock_.advance(minutes(6));  // the device never came back to its session
  windows_->tick();
  EXPECT_EQ(waker_.told.back(), "wake " + id.raw() + " TASK_DISCOVERY");
}

TEST_F(Windows, nobody_is_woken_for_what_has_expired_or_once_it_is_revoked) {
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  build();
  const AgentId one = agent("0A01"), two = agent("0A02");
  const WallTime now = clock_.wall();
  windows_->wake(one, v1::TASK_DISCOVERY, now + seconds(30), now + seconds(40), false);
  windows_->wake(two, v1::TASK_DISCOVERY, now + seconds(30), now + hours(1), false);
  ASSERT_TRUE(registry().set_state(two, store::DeviceState::revoked));
  windows_->state_changed(two, store::DeviceState::revoked);
  clock_.advance(seconds(41));
  windows_->tick();
  for (const std::string& told : waker_.told) EXPECT_FALSE(told.starts_with("wake")) << told;
}

TEST_F(Windows, a_row_that_goes_revokes_its_device_and_one_that_returns_lets_it_in_again) {
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  build();
  const AgentId id = agent("0A01");
  write_table({{"PC-2", "0A02"}});
  clock_.advance(seconds(10));
  windows_->tick();
  EXPECT_EQ(registry().find(id)->state, store::DeviceState::revoked);
  EXPECT_EQ(stands_.back(), id.raw() + " gone");
  EXPECT_FALSE(windows_->knows(id));
  EXPECT_EQ(visit("0A01"), "mdm.unknown_certificate");
  EXPECT_EQ(visit("0A02"), "done");
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  clock_.advance(seconds(10));
  windows_->tick();
  EXPECT_EQ(registry().find(id)->state, store::DeviceState::active);
  EXPECT_EQ(visit("0A01"), "done");
}

TEST_F(Windows, a_device_that_enrolled_anew_begins_without_a_channel) {
  write_table({{"PC-1", "0A01"}});
  build();
  EXPECT_EQ(visit("0A01"), "done");
  const AgentId id = agent("0A01");
  const auto forgotten = [&] { return std::count(waker_.told.begin(), waker_.told.end(), "forget " + id.raw()); };
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  clock_.advance(seconds(10));
  windows_->tick();
  EXPECT_EQ(forgotten(), 0) << "the table changed, its certificate did not";
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}}, 'b');
  clock_.advance(seconds(10));
  windows_->tick();
  EXPECT_EQ(forgotten(), 1);
  EXPECT_EQ(visit("0A01"), "mdm.unknown_certificate") << "the certificate of before";
}

TEST_F(Windows, a_device_an_operator_revoked_stays_revoked) {
  write_table({{"PC-1", "0A01"}});
  build();
  const AgentId id = agent("0A01");
  ASSERT_TRUE(registry().set_state(id, store::DeviceState::revoked));
  windows_->state_changed(id, store::DeviceState::revoked);
  EXPECT_EQ(visit("0A01"), "mdm.revoked");
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  clock_.advance(seconds(10));
  windows_->tick();
  EXPECT_EQ(registry().find(id)->state, store::DeviceState::revoked);
  ASSERT_TRUE(registry().set_state(id, store::DeviceState::active));
  windows_->state_changed(id, store::DeviceState::active);
  EXPECT_EQ(visit("0A01"), "done");
}

TEST_F(Windows, a_table_with_a_mistake_leaves_the_one_before) {
  write_table({{"PC-1", "0A01"}});
  build();
  { std::ofstream(table_) << "[[device]]\nname = \"PC-1\"\n"; }
  clock_.advance(seconds(10));
  windows_->tick();
  EXPECT_EQ(visit("0A01"), "done");
}

TEST_F(Windows, an_agent_that_calls_itself_one_of_ours_is_left_alone) {
  write_table({{"PC-1", "0A01"}});
  std::promise<AgentId> enrolled;
  store::EnrolRequest request;
  request.key = AgentKey(std::string(40, 'x'));
  request.agent_version = "OMA-DM 1.2";
  registry().enrol(request, [&](Result<store::Device> made) { enrolled.set_value(made->id); });
  const AgentId liar = enrolled.get_future().get();
  ASSERT_TRUE(registry().set_state(liar, store::DeviceState::active));
  build();
  EXPECT_EQ(registry().find(liar)->state, store::DeviceState::active);
  EXPECT_FALSE(windows_->knows(liar));
}

TEST_F(Windows, what_a_device_is_remembered_by_survives_a_restart) {
  write_table({{"PC-1", "0A01"}});
  build();
  waker_.pfn = "app_1";
  device_.nodes["Replace " + push_root + "/PFN"] = {500, std::nullopt};
  EXPECT_EQ(visit("0A01"), "done");
  waker_.pfn.clear();
  windows_.reset();
  reopen();
  build();
  device_.nodes["Replace " + push_root + "/PFN"] = {200, std::nullopt};
  device_.asked.clear();
  EXPECT_EQ(visit("0A01"), "done");
  EXPECT_EQ(device_.asked.at(0), "Replace " + push_root + "/PFN app_1");  // tried again though nobody asked
  const auto about = boost::json::serialize(windows_->explained(agent("0A01")));
  EXPECT_NE(about.find("\"push_registration\":\"set\""), std::string::npos) << about;
  EXPECT_NE(about.find("Fabrikam Test Works"), std::string::npos);
  EXPECT_EQ(about.find("token="), std::string::npos);
  EXPECT_TRUE(windows_->explained(AgentId("other")).is_null());
}

TEST_F(Windows, what_it_cannot_do_is_refused_when_it_is_asked) {
  write_table({{"PC-1", "0A01"}});
  build();
  EXPECT_STREQ(windows_->refused(agent("0A01"), task(1, v1::TASK_HARDWARE_INVENTORY))->code, "task.unsupported");
  EXPECT_STREQ(windows_->refused(agent("0A01"), task(1, v1::TASK_WIPE))->code, "task.wipe_refused");
  EXPECT_FALSE(windows_->refused(agent("0A01"), task(1, v1::TASK_FULL_SCAN)));
  EXPECT_FALSE(windows_->refused(AgentId("other"), task(1, v1::TASK_HARDWARE_INVENTORY)));
}

TEST_F(Windows, an_order_goes_to_those_who_can_do_it) {
  write_table({{"PC-1", "0A01"}});
  build();
  const AgentId ours = agent("0A01"), other("other");
  using Agents = std::vector<AgentId>;
  EXPECT_EQ(able(windows_.get(), {ours, other}, task(0, v1::TASK_QUICK_SCAN)).value(), (Agents{ours, other}));
  EXPECT_EQ(able(windows_.get(), {ours, other}, task(0, v1::TASK_HARDWARE_INVENTORY)).value(), Agents{other});
  EXPECT_STREQ(able(windows_.get(), {ours}, task(0, v1::TASK_HARDWARE_INVENTORY)).error().code, "task.unsupported");
  EXPECT_STREQ(able(windows_.get(), {other}, task(0, v1::TASK_WIPE)).error().code, "task.wipe_refused");
  EXPECT_STREQ(able(nullptr, {other}, task(0, v1::TASK_WIPE)).error().code, "task.wipe_refused");
}

TEST_F(Windows, channels_are_sealed_on_disk_and_open_only_for_their_device) {
  write_table({{"PC-1", "0A01"}, {"PC-2", "0A02"}});
  build();
  auto sealer = store::Sealer::from_key_file(directory_.path() + "/seal.key", true);
  ASSERT_TRUE(sealer);
  SealedChannels book(registry(), *sealer);
  const AgentId one = agent("0A01"), two = agent("0A02");
  ASSERT_TRUE(book.keep(one, push_channel));
  EXPECT_EQ(book.find(one).value(), push_channel);
  EXPECT_EQ(book.find(two).value(), std::nullopt);
  const auto box = registry().fact(one, "mdm.channel").value();
  EXPECT_EQ(box->find("notify"), std::string::npos);
  ASSERT_TRUE(registry().set_fact(two, "mdm.channel", *box));
  EXPECT_FALSE(book.find(two));
  windows_.reset();
  reopen();
  SealedChannels again(registry(), *sealer);
  EXPECT_EQ(again.find(one).value(), push_channel);
  ASSERT_TRUE(again.keep(one, ""));
  EXPECT_EQ(again.find(one).value(), std::nullopt);
}

}  // namespace
}  // namespace greengate::test
