// More devices at the door than may be inside: real TLS, real certificates, the server with its endpoint.
#include "adapters/mdm/dm_endpoint.h"
#include "adapters/mdm/dm_server.h"
#include "tests/adapters/mdm/scripted_device.h"
#include "tests/adapters/mdm/tls_client.h"
#include "tests/support/manual_clock.h"

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace greengate::test {
namespace {

using namespace adapters;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t device_count = 200;
constexpr std::uint32_t sessions_max = 50, connections_max = 80;
constexpr auto retry_after = seconds(60);
constexpr auto own_pause = seconds(45);  ///< Of a device that was closed on without a word.

/// One task for each device.
class House final : public DmHost {
 public:
  void visit_opened(const DmDevice&) override {
    std::lock_guard lock(mutex_);
    open_most = std::max(open_most, ++open_);
  }
  void visit_closed(const DmDevice&) override {
    std::lock_guard lock(mutex_);
    --open_;
  }
  std::string pfn_to_set(const DmDevice&) override { return {}; }
  void channel_read(const DmDevice&, const DmChannel&) override {}
  void pfn_outcome(const DmDevice&, const std::string&, bool) override {}
  std::vector<v1::Notification> collect(const DmDevice& device, std::uint32_t) override {
    std::lock_guard lock(mutex_);
    if (done.contains(device.agent)) return {};
    v1::Notification task;
    task.set_notification_id(1 + std::stoul(device.agent.raw()));
    task.set_task(v1::TASK_UPDATE_SIGNATURES);
    return {task};
  }
  void task_result(const DmDevice& device, const v1::TaskResult& result) override {
    std::lock_guard lock(mutex_);
    EXPECT_EQ(result.notification_id(), 1 + std::stoul(device.agent.raw()));
    if (result.outcome() == v1::TASK_OUTCOME_COMPLETED) ++done[device.agent];
  }
  Result<DmMemory> recall(const DmDevice&) override { return DmMemory{}; }
  Result<void> remember(const DmDevice&, const DmMemory&) override { return {}; }
  void unenrolled(const DmDevice&) override {}

  std::map<AgentId, int> done;
  std::size_t open_most = 0;

 private:
  std::mutex mutex_;
  std::size_t open_ = 0;
};

struct Visitor {
  std::unique_ptr<Certificate> certificate;
  ScriptedDevice device;
  std::unique_ptr<Client> line;
  std::string answer;
  SteadyTime next_try;
  int closed_on = 0, told_later = 0;
  bool over = false;
};

std::string header(const std::string& answer, const std::string& name) {
  const auto at = answer.find(name + ": ");
  if (at == std::string::npos || at > answer.find("\r\n\r\n")) return {};
  return answer.substr(at + name.size() + 2, answer.find("\r\n", at) - at - name.size() - 2);
}

std::uint64_t metric(const Metrics& metrics, const std::string& series) {
  const std::string text = "\n" + metrics.render();
  const auto at = text.find("\n" + series + " ");
  return at == std::string::npos ? 0 : static_cast<std::uint64_t>(std::stod(text.substr(at + series.size() + 2)));
}

/// `what` for each, by a few threads at once.
template <class What>
void for_each(const std::vector<Visitor*>& visitors, What what) {
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (std::size_t at; (at = next++) < visitors.size();) what(*visitors[at]);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Stampede, of_200_devices_at_a_door_for_50_nobody_is_lost) {
  std::string pattern = (std::filesystem::temp_directory_path() / "greengate-stampede-XXXXXX").string();
  ASSERT_TRUE(mkdtemp(pattern.data()));
  const std::filesystem::path folder = pattern;
  ManualClock clock;
  Metrics metrics;
  House house;
  const std::time_t now = std::chrono::system_clock::to_time_t(clock.wall());
  const Certificate authority(folder, "Device CA", nullptr, true, -10, 100, now);
  const Certificate server_certificate(folder, "dm.example.test", nullptr, false, -1, 30, now);

  std::map<std::string, DmDevice> enrolled;  // by fingerprint
  std::vector<Visitor> all(device_count);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string number = std::to_string(i);
    all[i].certificate = std::make_unique<Certificate>(folder, "device-" + number, &authority, false, -1, 30, now);
    all[i].device.id = "DEVICE-" + number;
    all[i].device.nodes["Get " + push_root + "/ChannelURI"] = {200, push_channel};
    all[i].device.nodes["Get " + push_root + "/Status"] = {200, "0"};
    DmDevice device;
    device.agent = AgentId(number);
    device.device_id = all[i].device.id;
    device.enrolment = "0A" + number;
    enrolled.emplace(all[i].certificate->fingerprint(), device);
  }

  DmEndpointConfig rules;
  rules.visit.provider = "FABRIKAM";
  rules.sessions_max = sessions_max;
  rules.sessions_per_second = 1'000;
  rules.retry_after = retry_after;
  DmEndpoint endpoint(
      rules,
      [&](const DmPeer& peer) -> Result<DmDevice> {
        const auto found = enrolled.find(peer.fingerprint);
        if (found == enrolled.end()) return fail(Remedy::reject, "mdm.unknown_certificate", "Nobody.");
        return found->second;
      },
      house, clock, metrics);
  DmServerConfig config;
  config.listen = "127.0.0.1:0";
  config.certificate_file = server_certificate.certificate_file;
  config.key_file = server_certificate.key_file;
  config.client_ca_file = authority.certificate_file;
  config.connections_max = connections_max;
  DmServer server(config, [&](const DmPeer& peer, std::string_view body) { return endpoint.handle(peer, body); }, clock, metrics);
  ASSERT_TRUE(server.start());

  std::uint64_t closed_on = 0, told_later = 0;
  int round = 0;
  for (; round < 40; ++round) {
    std::vector<Visitor*> here;
    for (Visitor& each : all) {
      if (!each.over && each.next_try <= clock.steady()) here.push_back(&each);
    }
    // All knock, and who is let in stays on the line.
    for_each(here, [&](Visitor& each) {
      each.line = std::make_unique<Client>(server.port(), each.certificate.get());
      if (each.line->connected()) return;
      each.line.reset();
      ++each.closed_on;
      each.next_try = clock.steady() + own_pause;
    });
    const auto gone = std::erase_if(here, [](const Visitor* each) { return !each->line; });
    closed_on += gone;
    EXPECT_LE(here.size(), connections_max);
    if (round == 0) {
      EXPECT_EQ(here.size(), connections_max);
      EXPECT_EQ(metric(metrics, "greengate_mdm_connections_open"), connections_max);
      EXPECT_EQ(metric(metrics, "greengate_mdm_connections_total"), connections_max) << "a handshake for each, and for nobody else";
    }
    // All speak at once.
    for_each(here, [&](Visitor& each) {
      each.device.session = std::to_string(100 + round);
      each.answer = each.line->post(write_syncml(each.device.package1()));
    });
    std::vector<Visitor*> inside;
    for (Visitor* each : here) {
      if (status_of(each->answer) == "200 OK") {
        inside.push_back(each);
        continue;
      }
      ASSERT_EQ(status_of(each->answer).substr(0, 3), "429") << each->answer;
      EXPECT_EQ(body_of(each->answer), "mdm.full\n");
      const auto wait = seconds(std::stoi(header(each->answer, "Retry-After")));
      EXPECT_GE(wait, retry_after);
      EXPECT_LE(wait, 2 * retry_after);
      EXPECT_EQ(header(each->answer, "Connection"), "close");
      EXPECT_EQ(each->line->answer(), "");
      each->line.reset();
      each->next_try = clock.steady() + wait;
      ++each->told_later;
      ++told_later;
    }
    EXPECT_EQ(endpoint.open(), inside.size());
    EXPECT_LE(inside.size(), sessions_max);
    if (round == 0) { EXPECT_EQ(inside.size(), sessions_max); }
    // Those inside are served to the end whatever goes on at the door.
    for_each(inside, [&](Visitor& each) {
      for (auto next = each.device.next(body_of(each.answer)); next; next = each.device.next(body_of(each.answer))) {
        each.answer = each.line->post(write_syncml(*next));
        if (status_of(each.answer) != "200 OK") {
          ADD_FAILURE() << each.answer;
          break;
        }
      }
      each.line.reset();
      each.over = true;
    });
    EXPECT_EQ(endpoint.open(), 0u);
    if (std::all_of(all.begin(), all.end(), [](const Visitor& each) { return each.over; })) break;
    clock.advance(seconds(10));
  }
  EXPECT_LT(round, 40);

  ASSERT_EQ(house.done.size(), device_count);
  for (const auto& [agent, times] : house.done) EXPECT_EQ(times, 1) << agent.raw();
  EXPECT_EQ(house.open_most, sessions_max);
  EXPECT_GE(closed_on, device_count - connections_max);
  EXPECT_GE(told_later, connections_max - sessions_max);
  EXPECT_EQ(metric(metrics, "greengate_mdm_connections_refused_total"), closed_on);
  EXPECT_EQ(metric(metrics, "greengate_mdm_refused_total{code=\"mdm.full\"}"), told_later);
  EXPECT_EQ(metric(metrics, "greengate_mdm_sessions_total"), device_count) << "nobody needed a second session";
  server.stop();
  endpoint.close_all();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace greengate::test
