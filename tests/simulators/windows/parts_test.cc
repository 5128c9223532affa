#include "core/random.h"
#include "simulators/common/base64.h"
#include "simulators/common/client_hello.h"
#include "simulators/common/sim_clock.h"
#include "simulators/mdm_device/schedules.h"
#include "simulators/mdm_device/syncml.h"
#include "simulators/wns/token_service.h"

#include <boost/asio.hpp>
#include <boost/json.hpp>

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

json::array cases_of(const std::string& name) {
  std::ifstream in(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/wns/" + name, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return json::parse(text.str()).at("cases").as_array();
}

TEST(RenewalSchedule, KeepsEveryVector) {
  for (const json::value& each : cases_of("renewal-schedule.json")) {
    const std::string build(each.at("build").as_string());
    const bool network = each.at("network").as_bool();
    EXPECT_EQ(mdm::renewal_is_tried(build, network), each.at("attempt_made").as_bool()) << each;
    const auto delay = mdm::renewal_delay(build, each.at("expiry_in").as_int64(), network, each.at("attempt_made").as_bool());
    EXPECT_EQ(delay.min_s, each.at("delay_min").as_int64()) << each;
    EXPECT_EQ(delay.max_s, each.at("delay_max").as_int64()) << each;
  }
}

TEST(Md5Credential, KeepsEveryVector) {
  for (const json::value& each : cases_of("dm-auth-md5.json")) {
    const auto nonce = from_base64(std::string(each.at("nonce_base64").as_string()));
    ASSERT_TRUE(nonce);
    EXPECT_EQ(mdm::md5_credential(std::string(each.at("user").as_string()), std::string(each.at("password").as_string()), *nonce),
              std::string(each.at("cred_data").as_string()));
  }
}

TEST(PollSchedule, GoesThroughItsSetsAndRefusesWhatIsNone) {
  auto schedule = mdm::PollSchedule::parse("15x2,60x1,1440x0");
  ASSERT_TRUE(schedule);
  std::vector<std::int64_t> minutes;
  for (int i = 0; i < 5; ++i) minutes.push_back(schedule->next_s() / 60);
  EXPECT_EQ(minutes, (std::vector<std::int64_t>{15, 15, 60, 1440, 1440}));
  for (const char* wrong : {"15", "15x", "x5", "15x5,60x10,1440x0,5x5", "-1x0", "15 x 5"})
    EXPECT_FALSE(mdm::PollSchedule::parse(wrong)) << wrong;
  EXPECT_FALSE(mdm::PollSchedule::parse("15x0,60x0")->valid());
  EXPECT_FALSE(mdm::PollSchedule::parse("")->valid());
}

TEST(Form, BreaksAtNothing) {
  EXPECT_FALSE(wns::read_form("a"));
  EXPECT_FALSE(wns::read_form("a=%4"));
  EXPECT_FALSE(wns::read_form("a=%4x"));
  const auto form = wns::read_form("a=%2B%2f&b=x+y&c=");
  ASSERT_TRUE(form);
  EXPECT_EQ(*form, (HttpFields{{"a", "+/"}, {"b", "x y"}, {"c", ""}}));
}

TEST(ClientHello, IsCutAnywhereAndBentAnywhereWithoutHarm) {
  // A hello of our own making: version, random, no session, one suite, no compression, server_name and ALPN.
  const std::string name = "wns2-sim1p.notify.windows.com";
  const auto block = [](int bytes, const std::string& content) {
    std::string out;
    for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(content.size() >> (8 * i));
    return out + content;
  };
  using namespace std::string_literals;
  const std::string extensions = "\0\0"s + block(2, block(2, "\0"s + block(2, name))) + "\0\x10"s +
                                 block(2, block(2, block(1, "h2") + block(1, "http/1.1")));
  const std::string hello =
      "\x03\x03"s + std::string(32, 'r') + block(1, "") + block(2, "\x13\x01") + block(1, "\0"s) + block(2, extensions);
  const std::string record = "\x16\x03\x01"s + block(2, "\x01"s + block(3, hello));
  EXPECT_EQ(first_record_bytes(record), record.size());
  const auto read = read_client_hello(record);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->server_name, name);
  EXPECT_EQ(read->protocols, (std::vector<std::string>{"h2", "http/1.1"}));
  for (std::size_t cut = 0; cut < record.size(); ++cut)
    EXPECT_FALSE(read_client_hello(std::string_view(record).substr(0, cut))) << cut;
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE(seed);
  Dice dice(seed);
  for (int i = 0; i < 20'000; ++i) {
    std::string bent = record;
    for (std::int64_t k = dice.between(1, 4); k > 0; --k)
      bent[static_cast<std::size_t>(dice.between(0, static_cast<std::int64_t>(bent.size()) - 1))] =
          static_cast<char>(dice.between(0, 255));
    const auto bent_read = read_client_hello(bent);
    if (bent_read) {
      EXPECT_LE(bent_read->server_name.size(), record.size());
    }
  }
}

TEST(SyncMl, TellsWhatAServerGotWrong) {
  const std::string begin = "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><SessionID>1</SessionID></SyncHdr><SyncBody>";
  const auto breaches = [&](const std::string& body) {
    const auto message = mdm::read_message(begin + body + "<Final/></SyncBody></SyncML>");
    return message ? message->breaches.size() : 99;
  };
  EXPECT_EQ(breaches("<Get><CmdID>1</CmdID></Get>"), 0u);
  EXPECT_EQ(breaches("<Get></Get>"), 1u);
  EXPECT_EQ(breaches("<Get><CmdID>1</CmdID></Get><Get><CmdID>1</CmdID></Get>"), 1u);
  EXPECT_EQ(breaches("<Get><CmdID>0</CmdID></Get>"), 1u);
  EXPECT_EQ(breaches("<Get><CmdID>1</CmdID><Item><Meta><Format>chr</Format></Meta></Item></Get>"), 1u);
  EXPECT_FALSE(mdm::read_message("<!DOCTYPE a><SyncML/>"));
  EXPECT_FALSE(mdm::read_message(begin));
}

TEST(SimClock, RunsWhatFallsDueInItsOrderAndAtItsMoment) {
  asio::io_context io;
  SimClock clock(io, SimClock::Mode::held, from_millis(1'000'000));
  std::vector<std::pair<std::string, std::int64_t>> events;
  const auto note = [&](std::string what) { events.emplace_back(std::move(what), clock.now_ms() - 1'000'000); };
  clock.at(1'000'300, [&] { note("third"); });
  clock.at(1'000'100, [&] {
    note("first");
    clock.after(std::chrono::milliseconds(100), [&] { note("second"); });
  });
  const auto never = clock.at(1'000'200, [&] { note("never"); });
  clock.cancel(never);
  clock.at(1'000'400, [&] { note("too late"); });
  bool rested = false;
  asio::co_spawn(io, clock.advance_to(1'000'300), [&](std::exception_ptr, bool result) {
    rested = result;
    io.stop();
  });
  io.run();
  EXPECT_TRUE(rested);
  EXPECT_EQ(events, (std::vector<std::pair<std::string, std::int64_t>>{{"first", 100}, {"second", 200}, {"third", 300}}));
}

asio::awaitable<void> sleeper(SimClock& clock, std::vector<std::int64_t>& woken, std::shared_ptr<SimClock::Busy> busy) {
  for (int i = 0; i < 3; ++i) {
    co_await clock.sleep(std::chrono::hours(10), *busy);
    woken.push_back(clock.now_ms());
  }
}

TEST(SimClock, ASleepingWorkDoesNotHoldItUp) {
  asio::io_context io;
  SimClock clock(io, SimClock::Mode::held, from_millis(0));
  std::vector<std::int64_t> woken;
  asio::co_spawn(io, sleeper(clock, woken, std::make_shared<SimClock::Busy>(clock)), [](std::exception_ptr) {});
  asio::co_spawn(io, clock.advance_to(100LL * 3'600'000), [&](std::exception_ptr, bool) { io.stop(); });
  io.run();
  EXPECT_EQ(woken, (std::vector<std::int64_t>{36'000'000, 72'000'000, 108'000'000}));
}

TEST(SimClock, WorkThatDoesNotRestIsWaitedForOnlySoLong) {
  asio::io_context io;
  SimClock clock(io, SimClock::Mode::held, from_millis(0));
  clock.set_patience(std::chrono::milliseconds(30));
  const SimClock::Busy forever(clock);
  bool rested = true;
  asio::co_spawn(io, clock.advance_to(1000), [&](std::exception_ptr, bool result) {
    rested = result;
    io.stop();
  });
  io.run();
  EXPECT_FALSE(rested);
  EXPECT_EQ(clock.now_ms(), 1000);
}

}  // namespace
}  // namespace greengate::sim
