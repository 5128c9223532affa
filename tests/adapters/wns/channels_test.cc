// Goal: a channel lives, ages and ends as say, over restarts too. Method: readings of made-up sessions on a wall clock in hand.
#include "adapters/wns/channels.h"
#include "tests/adapters/wns/lab.h"

namespace greengate::test {
namespace {

using namespace greengate::adapters;

const std::string pfn = "fabrikam.mdm_8wekyb3d8bbwe";
constexpr hours day(24);

struct Life {
  ReadingResult read(std::optional<std::string> uri, std::optional<int> status = 0, const std::string& enrollment = "0A") {
    ChannelReading reading;
    reading.enrollment = enrollment;
    reading.uri = std::move(uri);
    reading.push_status = status;
    return apply_reading(record, reading, pfn, now, settings);
  }
  bool set_pfn(bool configured = true) { return take_pfn_turn(record, pfn, configured, now, settings); }
  std::string standing() const { return standing_name(standing_of(record, now, settings)); }
  bool end(const std::string& uri, ChannelRecord::State to = ChannelRecord::State::dead) {
    return end_channel(record, uri, to, "channel_expired", now);
  }

  WnsSettings settings = lab_settings();
  WallTime now = from_millis(1'768'469'400'000);
  ChannelRecord record;
};

TEST(Channel, IsActiveFromAReadingOnAndAgesByItsFirstOne) {
  Life life;
  EXPECT_EQ(life.standing(), "none");
  EXPECT_TRUE(life.read(uri_of(1)).new_channel);
  EXPECT_EQ(life.standing(), "active");
  life.now += day * 15 - seconds(1);
  EXPECT_FALSE(life.read(uri_of(1)).changed);
  EXPECT_EQ(life.standing(), "active");
  life.now += seconds(1);
  EXPECT_EQ(life.standing(), "renew_due");
  EXPECT_TRUE(may_push(life.record, life.now, life.settings));
  life.now += day * 15;
  EXPECT_EQ(life.standing(), "suspect_old");
  EXPECT_FALSE(may_push(life.record, life.now, life.settings));
  EXPECT_TRUE(life.read(uri_of(1, 2)).new_channel);
  EXPECT_EQ(life.standing(), "active");
}

TEST(Channel, GetsNoOlderByAClockThatJumpsBack) {
  Life life;
  life.read(uri_of(1));
  life.now -= day * 3;
  EXPECT_EQ(life.standing(), "active");
  life.now += day * 4;
  EXPECT_EQ(life.standing(), "active");
}

TEST(Channel, StaysDeadUntilADifferentOneIsReported) {
  Life life;
  life.read(uri_of(1));
  EXPECT_TRUE(life.end(uri_of(1)));
  EXPECT_EQ(life.standing(), "dead");
  life.read(uri_of(1));
  EXPECT_EQ(life.standing(), "dead");
  life.read(std::nullopt);
  life.read(uri_of(1));
  EXPECT_EQ(life.standing(), "dead");
  life.read(uri_of(1, 2));
  EXPECT_EQ(life.standing(), "active");
}

TEST(Channel, IsNotKilledByALateWordAboutTheOneBefore) {
  Life life;
  life.read(uri_of(1));
  life.read(uri_of(1, 2));
  EXPECT_FALSE(life.end(uri_of(1)));
  EXPECT_EQ(life.standing(), "active");
}

TEST(Channel, IsTriedOnceADayInQuarantine) {
  Life life;
  life.read(uri_of(1));
  EXPECT_TRUE(life.end(uri_of(1), ChannelRecord::State::quarantine));
  EXPECT_FALSE(may_push(life.record, life.now, life.settings));
  EXPECT_FALSE(life.set_pfn());  // a 403 is no fault of the device
  life.now += day;
  EXPECT_TRUE(may_push(life.record, life.now, life.settings));
  EXPECT_TRUE(life.end(uri_of(1), ChannelRecord::State::quarantine));
  EXPECT_FALSE(may_push(life.record, life.now, life.settings));
  life.read(uri_of(1, 2));
  EXPECT_EQ(life.standing(), "active");
}

TEST(Channel, OfAHostileUriIsInvalidAndOnlyItsHostIsTold) {
  Life life;
  life.read(uri_of(1));
  const ReadingResult result = life.read("https://user:pw@attacker.example/?token=QQ");
  EXPECT_TRUE(result.refused);
  EXPECT_EQ(result.host, "attacker.example");
  EXPECT_EQ(life.standing(), "invalid");
  EXPECT_TRUE(life.record.uri.empty());
  EXPECT_EQ(encode_record(life.record).find("attacker"), std::string::npos);
  EXPECT_TRUE(life.read(std::string(1 << 20, 'x')).refused);
}

TEST(Channel, StartsCleanWithANewEnrolment) {
  Life life;
  life.read(uri_of(1));
  life.end(uri_of(1));
  EXPECT_TRUE(life.read(std::nullopt, std::nullopt, "0B").enrolled_anew);
  EXPECT_EQ(life.standing(), "none");
  EXPECT_TRUE(life.record.uri.empty());
  EXPECT_TRUE(life.read(uri_of(1), 0, "0B").new_channel);  // even the same address: it is another enrolment's
}

TEST(Channel, MayChangeTenTimesADay) {
  Life life;
  for (int i = 1; i <= 10; ++i) EXPECT_TRUE(life.read(uri_of(1, i)).new_channel) << i;
  EXPECT_TRUE(life.read(uri_of(1, 11)).flapping);
  EXPECT_EQ(life.record.uri, uri_of(1, 10));
  life.now += day;
  EXPECT_TRUE(life.read(uri_of(1, 12)).new_channel);
}

TEST(Pfn, IsSetInTheFirstSessionAndThenLeftAlone) {
  Life life;
  EXPECT_TRUE(life.set_pfn());
  life.read(uri_of(1));
  EXPECT_FALSE(life.set_pfn());
  life.now += day * 24;
  EXPECT_FALSE(life.set_pfn());
}

TEST(Pfn, IsSetAgainAtDay25OnceADay) {
  Life life;
  life.set_pfn();
  life.read(uri_of(1));
  life.now += day * 25;
  EXPECT_TRUE(life.set_pfn());
  EXPECT_FALSE(life.set_pfn());
  life.now += hours(23);
  EXPECT_FALSE(life.set_pfn());
  life.now += hours(1);
  EXPECT_TRUE(life.set_pfn());
}

TEST(Pfn, IsSetAtOnceWhenTheChannelEndedSince) {
  Life life;
  life.set_pfn();
  life.now += hours(1);
  life.read(uri_of(1));
  life.end(uri_of(1));
  EXPECT_TRUE(life.set_pfn());
  life.now += hours(1);
  EXPECT_FALSE(life.set_pfn());
  life.now += day;
  EXPECT_TRUE(life.set_pfn());
}

TEST(Pfn, FollowsTheDevicesOwnStatus) {
  for (const int fine : {0, 6, 7}) {
    Life life;
    life.read(uri_of(1), fine);
    EXPECT_FALSE(life.set_pfn()) << fine;
  }
  for (const int wrong : {1, 2, 3, 4}) {
    Life life;
    life.read(uri_of(1), wrong);
    EXPECT_TRUE(life.set_pfn()) << wrong;
    life.now += hours(1);
    EXPECT_FALSE(life.set_pfn()) << wrong;  // daily
  }
  Life expired;  // 5: now, but four times a day at most
  expired.read(uri_of(1), 5);
  int sets = 0;
  for (int session = 0; session < 20; ++session) sets += expired.set_pfn() ? 1 : 0;
  EXPECT_EQ(sets, 4);
  Life unsupported;
  unsupported.read(std::nullopt, 8);
  EXPECT_FALSE(unsupported.set_pfn());
  unsupported.now += day * 7;
  EXPECT_TRUE(unsupported.set_pfn());
}

TEST(Pfn, MovesADeviceWhoseAppIsGone) {
  Life life;
  life.record.pfn_asked = "old.app_1";
  life.read(uri_of(1));
  EXPECT_EQ(life.record.pfn, "old.app_1");
  EXPECT_TRUE(life.set_pfn(false));
  EXPECT_FALSE(life.set_pfn(false));
  life.read(uri_of(1));  // not yet
  EXPECT_EQ(life.record.pfn, "old.app_1");
  life.read(uri_of(1, 2));
  EXPECT_EQ(life.record.pfn, pfn);
}

TEST(ChannelRecord, IsReadAsItWasWritten) {
  Life life;
  life.set_pfn();
  life.read(uri_of(1), 7);
  life.end(uri_of(1));
  const std::string text = encode_record(life.record);
  const auto read = decode_record(text);
  ASSERT_TRUE(read);
  EXPECT_EQ(encode_record(*read), text);
  EXPECT_EQ(read->uri, uri_of(1));
  EXPECT_EQ(read->push_status, 7);
  EXPECT_EQ(standing_of(*read, life.now, life.settings), Standing::dead);
}

TEST(ChannelRecord, ThatIsBrokenIsSaidToBe) {
  const std::string whole = encode_record(Life().record);
  for (const std::string& text : {std::string(), std::string("[]"), std::string("{}"), whole.substr(0, whole.size() - 1),
                                  std::string("{\"v\":2}"), std::string(1'000, '[')}) {
    const auto read = decode_record(text);
    ASSERT_FALSE(read) << text.substr(0, 50);
    EXPECT_STREQ(read.error().code, "wns.record");
  }
}

}  // namespace
}  // namespace greengate::test
