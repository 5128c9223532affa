// Goal: the specification's scenarios, as far as they concern the sender. Method: the core on a clock in hand, answers by script.
#include "adapters/wns/pacing.h"
#include "core/log.h"
#include "tests/adapters/wns/lab.h"

namespace greengate::test {
namespace {

using namespace greengate::adapters;

PushAnswer throttled(unsigned status, const std::string& retry_after) {
  return answered(status, {{"X-WNS-STATUS", "appthrottled"}, {"Retry-After", retry_after}});
}

TEST(Wake, IsPushedAndConfirmedByTheSession) {
  Lab lab;
  lab.enroll(1);
  EXPECT_EQ(lab.wake(1).state, WakeState::pushed);
  EXPECT_EQ(lab.pushes.size(), 1u);
  EXPECT_EQ(lab.token_requests, 1);
  lab.advance(seconds(1));
  lab.core->session_opened(device(1));
  EXPECT_EQ(lab.wake_state(1), "confirmed");
  EXPECT_EQ(lab.core->wakes(), 0u);
}

TEST(Wake, CarriesATimeToLiveWithinItsBounds) {
  Lab lab;
  for (int i = 1; i <= 4; ++i) lab.enroll(i);
  lab.wake(1, false, seconds(10));
  lab.wake(2, false, seconds(3'600));
  lab.wake(3, true, hours(100));
  const auto& pushes = lab.pushes;
  ASSERT_EQ(pushes.size(), 3u);
  EXPECT_EQ(pushes[0].order.ttl, seconds(300));
  EXPECT_EQ(pushes[1].order.ttl, seconds(3'600));
  EXPECT_EQ(pushes[2].order.ttl, seconds(28'800));
  EXPECT_FALSE(pushes[0].order.urgent);
  EXPECT_TRUE(pushes[2].order.urgent);
}

TEST(Wake, IsOneHoweverManyAskForIt) {
  Lab lab;
  lab.enroll(1);
  int joined = 0;
  for (int i = 0; i < 50; ++i) {
    joined += lab.wake(1).joined ? 1 : 0;
    lab.advance(milliseconds(20));
  }
  EXPECT_EQ(joined, 49);
  EXPECT_EQ(lab.pushes.size(), 1u);
}

TEST(Wake, KeepsAMinuteBetweenPushesToOneChannel) {
  Lab lab;
  lab.enroll(1);
  lab.wake(1);
  lab.session(1, uri_of(1));
  EXPECT_EQ(lab.wake(1).state, WakeState::waiting_channel);
  lab.advance(seconds(59));
  EXPECT_EQ(lab.pushes.size(), 1u);
  lab.advance(seconds(1));
  EXPECT_EQ(lab.pushes.size(), 2u);
}

TEST(Wake, DuringASessionIsTheSessionsOwn) {
  Lab lab;
  lab.enroll(1);
  lab.core->session_opened(device(1));
  const WakeAnswer answer = lab.wake(1);
  EXPECT_EQ(answer.state, WakeState::confirmed);
  EXPECT_EQ(answer.code, "wake.session_open");
  EXPECT_TRUE(lab.pushes.empty());
  lab.advance(minutes(31));  // nobody closed it
  EXPECT_EQ(lab.wake(1).state, WakeState::pushed);
}

TEST(Wake, OfAnUnknownDeviceIsAnErrorOfThatOneOnly) {
  Lab lab;
  EXPECT_EQ(lab.wake(9).code, "wake.unknown_device");
  EXPECT_EQ(lab.core->channels(), 0u);
}

TEST(Wake, OfADeviceThatReportedAForeignHostIsNotSent) {
  Lab lab;
  lab.session(1, "https://attacker.example/x");
  const WakeAnswer answer = lab.wake(1);
  EXPECT_EQ(answer.state, WakeState::no_channel);
  EXPECT_EQ(answer.code, "wake.invalid_channel");
  EXPECT_TRUE(lab.pushes.empty());
  EXPECT_EQ(lab.token_requests, 0);
  EXPECT_EQ(lab.metric("greengate_wns_alarms_total{alarm=\"hostile_uri\"}"), 1);
}

TEST(Wake, IsPushedAgainThreeTimesThenLeftToThePoll) {
  Lab lab;
  lab.enroll(1);
  lab.wake(1);
  const SteadyTime began = lab.clock.steady();
  lab.advance(hours(2));
  ASSERT_EQ(lab.pushes.size(), 4u);
  EXPECT_EQ(lab.pushes[1].at - began, seconds(360));
  EXPECT_EQ(lab.pushes[2].at - began, minutes(15));
  EXPECT_EQ(lab.pushes[3].at - began, minutes(60));
  EXPECT_EQ(lab.wake_state(1), "unconfirmed");
  // One correlation vector a wake, counted on.
  EXPECT_EQ(lab.pushes[0].order.correlation.substr(22), ".0");
  EXPECT_EQ(lab.pushes[3].order.correlation, lab.pushes[0].order.correlation.substr(0, 22) + ".3");
}

TEST(Wake, KeptForADeviceThatIsAwayIsNotPushedAgainBeforeItsTimeToLiveIsOver) {
  for (const char* word : {"received", "dropped"}) {
    Lab lab;
    lab.enroll(1);
    lab.script = [&](const PushOrder&) { return answered(200, {{"X-WNS-Status", word}, {"X-WNS-DeviceConnectionStatus", "disconnected"}}); };
    lab.wake(1, false, hours(2));
    lab.advance(hours(2) - seconds(1));
    EXPECT_EQ(lab.pushes.size(), 1u) << word;
    lab.advance(seconds(2));
    EXPECT_EQ(lab.wake_state(1), "expired") << word;
    EXPECT_EQ(lab.pushes.size(), 1u) << word;
  }
}

TEST(Wake, ThatWasDroppedForADeviceAwayIsPushedByTheNextOrder) {
  Lab lab;
  lab.enroll(1);
  lab.script = [](const PushOrder&) { return answered(200, {{"X-WNS-Status", "dropped"}, {"X-WNS-DeviceConnectionStatus", "disconnected"}}); };
  lab.wake(1);
  lab.advance(minutes(2));
  EXPECT_TRUE(lab.wake(1).joined);
  EXPECT_EQ(lab.pushes.size(), 2u);
}

TEST(Wake, ThatBecomesUrgentIsPushedAgainWithPriority) {
  Lab lab;
  lab.enroll(1);
  lab.wake(1);
  lab.advance(seconds(300));
  EXPECT_EQ(lab.pushes.size(), 1u);
  lab.wake(1, true);
  ASSERT_EQ(lab.pushes.size(), 2u);
  EXPECT_TRUE(lab.pushes[1].order.urgent);
}

TEST(Wake, PutsUrgentOnesFirst) {
  Lab lab;
  lab.running = false;
  for (int i = 1; i <= 5; ++i) lab.enroll(i);
  for (int i = 1; i <= 4; ++i) lab.wake(i);
  lab.wake(5, true);
  lab.run();
  EXPECT_TRUE(lab.pushes.front().order.urgent);
}

TEST(Wake, ExpiresWithoutAnErrorWhenItsDeadlinePasses) {
  Lab lab;
  lab.enroll(1);
  lab.token_script = [](const TokenOrder&) -> Result<TokenGrant> { return fail(Remedy::retry, "http.timeout", "No."); };
  EXPECT_EQ(lab.wake(1, false, minutes(30)).state, WakeState::waiting_token);
  lab.advance(minutes(31));
  EXPECT_EQ(lab.wake_state(1), "expired");
  EXPECT_TRUE(lab.pushes.empty());
  WakeOrder late;
  late.deadline = lab.clock.wall() - seconds(1);
  EXPECT_EQ(lab.core->wake(device(1), late).state, WakeState::expired);
}

TEST(Wake, IsNotMovedByTheWallClock) {
  Lab lab;
  lab.enroll(1);
  lab.wake(1, false, hours(3));
  lab.clock.jump_wall(hours(24));
  lab.advance(seconds(359));
  EXPECT_EQ(lab.wake_state(1), "pushed");
  EXPECT_EQ(lab.pushes.size(), 1u);
  lab.clock.jump_wall(hours(-48));
  lab.advance(seconds(1));
  EXPECT_EQ(lab.pushes.size(), 2u);
}

TEST(Tokens, AreAskedForOnceByTwoHundredDevices) {
  Lab lab;
  lab.running = false;
  for (int i = 1; i <= 200; ++i) lab.enroll(i);
  for (int i = 1; i <= 200; ++i) lab.wake(i);
  lab.advance(seconds(5));
  EXPECT_EQ(lab.token_requests, 1);
  EXPECT_EQ(lab.pushes.size(), 200u);
}

TEST(Tokens, RefusedForTwoHundredAreReplacedOnceAndEachPushIsSentOnceMore) {
  Lab lab;
  lab.enroll(201);
  lab.wake(201);  // the host has answered before, so it gets all its connections
  ASSERT_EQ(lab.pushes.size(), 1u);
  lab.running = false;
  for (int i = 1; i <= 200; ++i) lab.enroll(i);
  for (int i = 1; i <= 200; ++i) lab.wake(i);
  lab.script = [](const PushOrder& order) { return order.token->reveal() == "TOKEN-1" ? answered(401) : received(); };
  lab.hold = true;
  lab.advance(seconds(1));
  lab.hold = false;
  EXPECT_EQ(lab.held.size(), 16u);  // connections to the one host
  lab.answer_held(answered(401));
  lab.advance(seconds(10));
  EXPECT_EQ(lab.token_requests, 2);
  for (int i = 1; i <= 200; ++i) EXPECT_LE(lab.pushes_to(i), 2u);
  EXPECT_EQ(lab.pushes.size(), 1u + 216u);
}

TEST(Tokens, RefusedTwiceStopTheAppAndNotTheChannels) {
  Lab lab;
  lab.enroll(1);
  lab.enroll(2);
  lab.script = [](const PushOrder&) { return answered(401); };
  lab.wake(1);
  EXPECT_EQ(lab.pushes.size(), 2u);
  EXPECT_EQ(lab.core->tokens(0).state(lab.clock.steady()), CredentialState::suspect);
  EXPECT_EQ(lab.state(1), "active");
  EXPECT_EQ(lab.wake(2).state, WakeState::waiting_token);
  lab.advance(minutes(4));
  EXPECT_EQ(lab.pushes.size(), 2u);
  lab.advance(minutes(21));
  EXPECT_LE(lab.pushes.size(), 7u);  // one probe in five minutes
  EXPECT_GE(lab.pushes.size(), 5u);
  lab.script = [](const PushOrder&) { return received(); };
  lab.advance(minutes(15));
  EXPECT_EQ(lab.core->tokens(0).state(lab.clock.steady()), CredentialState::ok);
  EXPECT_EQ(lab.metric("greengate_wns_alarms_total{alarm=\"credentials_suspect\"}"), 1);
}

TEST(Tokens, RefusedTwiceToOneWakeMakeItWaitHoweverFarApart) {
  Lab lab;
  lab.enroll(1);
  lab.script = [](const PushOrder&) { return answered(401); };
  lab.token_script = [&](const TokenOrder&) -> Result<TokenGrant> {
    if (lab.token_requests == 2) return fail(Remedy::retry, "wns.token_busy", "Later.", minutes(6));
    return Lab::grant("TOKEN-" + std::to_string(lab.token_requests));
  };
  lab.wake(1);
  lab.advance(minutes(6));
  ASSERT_EQ(lab.pushes.size(), 2u);
  EXPECT_FALSE(lab.core->tokens(0).suspect());
  EXPECT_EQ(lab.wake_state(1), "waiting_token");
  lab.advance(seconds(59));
  EXPECT_EQ(lab.pushes.size(), 2u);
  lab.advance(seconds(1));
  EXPECT_EQ(lab.pushes.size(), 3u);
}

TEST(Tokens, RefusedForGoodAreAskedForOnceAnHourUntilTheSecretIsReplaced) {
  Lab lab;
  lab.enroll(1);
  lab.token_script = [](const TokenOrder&) -> Result<TokenGrant> { return fail(Remedy::reject, "wns.token_closed", "It is closed."); };
  lab.wake(1);
  lab.advance(minutes(59));
  EXPECT_EQ(lab.token_requests, 1);
  EXPECT_EQ(lab.wake_state(1), "waiting_token");
  EXPECT_EQ(lab.core->tokens(0).state(lab.clock.steady()), CredentialState::refused);
  EXPECT_EQ(lab.metric("greengate_wns_alarms_total{alarm=\"endpoint_closed\"}"), 1);
  lab.token_script = [](const TokenOrder&) { return Lab::grant("NEW"); };
  lab.core->secrets_changed(0, 1);
  lab.advance(seconds(1));
  EXPECT_EQ(lab.pushes.size(), 1u);
}

TEST(Channels, EndAtTheirAnswersAndAreNotPushedToAgain) {
  for (const auto& [answer, why] : std::vector<std::pair<PushAnswer, std::string>>{
           {answered(404), "channel_unknown"},
           {answered(410), "channel_expired"},
           {answered(410, {{"X-WNS-STATUS", "revoked"}}), "channel_revoked"}}) {
    Lab lab;
    lab.enroll(1);
    lab.script = [&answer = answer](const PushOrder&) { return answer; };
    lab.wake(1);
    EXPECT_EQ(lab.state(1), "dead") << why;
    EXPECT_EQ(lab.core->view(device(1))->why, why);
    EXPECT_EQ(lab.wake_state(1), "no_channel") << why;
    EXPECT_EQ(lab.wake(1).code, "wake.channel_dead") << why;
    EXPECT_EQ(lab.pushes.size(), 1u) << why;
    EXPECT_EQ(lab.session(1, uri_of(1)), lab.settings.apps[0].pfn) << why;  // set again
    EXPECT_EQ(lab.state(1), "dead") << why;
    lab.session(1, uri_of(1, 2));
    EXPECT_EQ(lab.state(1), "active") << why;
  }
}

TEST(Channels, AreNotEndedByALateAnswerAboutTheOneBefore) {
  Lab lab;
  lab.enroll(1);
  lab.hold = true;
  lab.wake(1);
  lab.session(1, uri_of(1, 2));
  lab.answer_held(answered(410));
  EXPECT_EQ(lab.state(1), "active");
}

TEST(Channels, AreNeverEndedByThrottlesAndFailures) {
  const std::vector<PushAnswer> answers{throttled(406, "1"), throttled(429, "1"), answered(503), answered(500), answered(502), failed("http.timeout"),
                                        failed("http.tls_untrusted"), failed("http.redirect"), answered(400), answered(413), answered(401)};
  for (const PushAnswer& answer : answers) {
    Lab lab;
    lab.enroll(1);
    lab.script = [&](const PushOrder&) { return answer; };
    lab.wake(1);
    lab.advance(hours(9));
    EXPECT_EQ(lab.state(1), "active") << answer.status << answer.failure;
    EXPECT_LE(lab.pushes.size(), 8u) << answer.status << answer.failure;
    EXPECT_EQ(lab.core->wakes(), 0u);
  }
}

TEST(Channels, OlderThanThirtyDaysAreLeftToThePoll) {
  Lab lab;
  lab.enroll(1);
  lab.advance(hours(24) * 40);
  EXPECT_EQ(lab.state(1), "suspect_old");
  EXPECT_EQ(lab.wake(1).code, "wake.channel_old");
  EXPECT_EQ(lab.session(1, uri_of(1)), lab.settings.apps[0].pfn);
}

TEST(Channels, InQuarantineAreTriedOnceADay) {
  Lab lab;
  lab.enroll(1);
  lab.script = [](const PushOrder&) { return answered(403); };
  lab.wake(1);
  EXPECT_EQ(lab.state(1), "quarantine");
  EXPECT_EQ(lab.wake_state(1), "failed");
  EXPECT_EQ(lab.wake(1).code, "wake.quarantine");
  lab.advance(hours(24));
  lab.script = [](const PushOrder&) { return received(); };
  EXPECT_EQ(lab.wake(1).state, WakeState::pushed);
  EXPECT_EQ(lab.state(1), "active");
}

TEST(Channels, OfABlockedAppAllWait) {
  Lab lab;
  for (int i = 1; i <= 50; ++i) lab.enroll(i);
  lab.running = false;
  for (int i = 1; i <= 50; ++i) lab.wake(i);
  lab.script = [](const PushOrder&) { return answered(410, {}, "Domain Blocked"); };
  lab.advance(seconds(10));
  EXPECT_LE(lab.pushes.size(), 16u);
  EXPECT_EQ(lab.core->wakes(), 0u);
  EXPECT_EQ(lab.state(50), "quarantine");
  EXPECT_EQ(lab.wake(50).code, "wake.app_blocked");
}

TEST(Channels, ThatAreThrottledWaitAlone) {
  Lab lab;
  lab.enroll(1);
  lab.enroll(2);
  int pushes_to_first = 0;
  lab.script = [&](const PushOrder& order) {
    const bool first = order.channel.target == "/?token=QUFB%2b1-1%3d";
    if (first && ++pushes_to_first == 2) return answered(200, {{"X-WNS-Status", "channelthrottled"}});
    return received();
  };
  lab.wake(1);
  lab.session(1, uri_of(1));
  lab.advance(seconds(90));
  EXPECT_EQ(lab.wake(1).state, WakeState::waiting_channel);
  EXPECT_EQ(lab.wake(2).state, WakeState::pushed);
  lab.advance(seconds(599));
  EXPECT_EQ(pushes_to_first, 2);
  lab.advance(seconds(62));  // a tenth of jitter at most
  EXPECT_EQ(pushes_to_first, 3);
}

TEST(Throttle, OfTheAppStopsEverythingAndOneProbeEndsIt) {
  for (const unsigned status : {406u, 429u}) {
    Lab lab;
    lab.running = false;
    for (int i = 1; i <= 100; ++i) lab.enroll(i);
    for (int i = 1; i <= 100; ++i) lab.wake(i);
    lab.script = [&](const PushOrder&) { return throttled(status, "900"); };
    lab.hold = true;
    lab.advance(seconds(1));
    lab.answer_held(throttled(status, "900"));
    lab.hold = false;
    const std::size_t before = lab.pushes.size();
    EXPECT_LE(before, 16u);
    EXPECT_EQ(lab.wake_state(100), "waiting_app");
    lab.advance(seconds(899));
    EXPECT_EQ(lab.pushes.size(), before);
    lab.advance(seconds(2));
    EXPECT_EQ(lab.pushes.size(), before + 1);
    lab.script = [](const PushOrder&) { return received(); };
    lab.advance(seconds(897));
    EXPECT_EQ(lab.pushes.size(), before + 1);
    lab.advance(seconds(3));
    // From a tenth of the rate: 20 a second.
    EXPECT_GT(lab.pushes.size(), before + 10);
    EXPECT_LE(lab.pushes.size(), before + 2 + 61);
    lab.advance(seconds(30));
    EXPECT_EQ(lab.core->wakes(), 100u);
    for (int i = 1; i <= 100; ++i) EXPECT_EQ(lab.state(i), "active");
  }
}

TEST(Pace, OfAnAppIsABucket) {
  Lab lab;
  lab.settings.sessions_per_second = 100'000;
  Lab wide(lab.settings);
  wide.running = false;
  for (int i = 1; i <= 1'000; ++i) wide.enroll(i, 1, "h" + std::to_string(i % 10) + ".notify.windows.com");
  for (int i = 1; i <= 1'000; ++i) wide.wake(i);
  wide.advance(milliseconds(1));
  EXPECT_LE(wide.pushes.size(), 201u);
  wide.advance(seconds(1));
  EXPECT_LE(wide.pushes.size(), 402u);
  wide.advance(seconds(4));
  EXPECT_EQ(wide.pushes.size(), 1'000u);
}

TEST(Pace, FollowsWhatTheManagementServerCanTake) {
  WnsSettings settings = lab_settings();
  settings.sessions_per_second = 50;
  Lab lab(settings);
  lab.running = false;
  for (int i = 1; i <= 5'000; ++i) lab.enroll(i, 1, "h" + std::to_string(i % 10) + ".notify.windows.com");
  for (int i = 1; i <= 5'000; ++i) lab.wake(i, false, hours(1));
  std::size_t before = 0;
  for (int second = 0; second < 20; ++second) {
    lab.advance(seconds(1));
    EXPECT_LE(lab.pushes.size() - before, 60u);
    before = lab.pushes.size();
  }
  EXPECT_GT(before, 900u);
}

TEST(Pace, HoldsRequestsPerAppAndPerHost) {
  Lab lab;
  const auto host = [](int i) { return "h" + std::to_string(i % 10) + ".notify.windows.com"; };
  for (int i = 501; i <= 510; ++i) lab.enroll(i, 1, host(i)), lab.wake(i);  // each host has answered before
  ASSERT_EQ(lab.pushes.size(), 10u);
  lab.running = false;
  for (int i = 1; i <= 500; ++i) lab.enroll(i, 1, host(i));
  for (int i = 1; i <= 500; ++i) lab.wake(i);
  lab.hold = true;
  lab.advance(seconds(5));
  EXPECT_EQ(lab.held.size(), 64u);
  EXPECT_EQ(lab.core->pushes_in_flight(), 64u);
}

TEST(Host, ThatIsDownIsLeftAloneAndTheOthersGoOn) {
  Lab lab;
  lab.running = false;
  const std::string sick = "wns2-sim1p.notify.windows.com", well = "db5.notify.windows.com";
  for (int i = 1; i <= 500; ++i) lab.enroll(i, 1, sick);
  for (int i = 501; i <= 600; ++i) lab.enroll(i, 1, well);
  for (int i = 1; i <= 600; ++i) lab.wake(i);
  std::size_t to_sick = 0, to_well = 0;
  lab.script = [&](const PushOrder& order) {
    ++(order.channel.host == sick ? to_sick : to_well);
    return order.channel.host == sick ? failed("http.connect_timeout") : received();
  };
  lab.advance(seconds(5));
  EXPECT_LE(to_sick, 20u);
  EXPECT_EQ(to_well, 100u);
  lab.advance(minutes(30));
  EXPECT_LE(to_sick, 30u);  // one probe in five minutes by then
  for (int i = 1; i <= 500; ++i) EXPECT_EQ(lab.state(i), "active");
  lab.script = [](const PushOrder&) { return received(); };
  lab.advance(minutes(10));
  EXPECT_GE(lab.pushes.size(), 500u);
}

TEST(Host, ThatAsksForTimeGetsIt) {
  Lab lab;
  lab.enroll(1);
  lab.enroll(2);
  lab.script = [](const PushOrder&) { return answered(503, {{"Retry-After", "120"}}); };
  lab.wake(1);
  EXPECT_EQ(lab.pushes.size(), 1u);
  lab.wake(2);
  lab.advance(seconds(119));
  EXPECT_EQ(lab.pushes.size(), 1u);
  lab.script = [](const PushOrder&) { return received(); };
  lab.advance(seconds(30));
  EXPECT_EQ(lab.pushes.size(), 3u);
}

TEST(Host, DistinguishesAProbeFromWhatLeftBefore) {
  WnsSettings settings = lab_settings();
  HostPace host(settings);
  JumpyClock clock;
  const auto now = [&] { return clock.steady(); };
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(host.started(now()));
  for (int i = 0; i < 5; ++i) host.finished(false, HostPace::End::failed, {}, now());
  EXPECT_TRUE(host.open(now()));
  const SteadyTime first = host.next_at(now());
  EXPECT_EQ(first - now(), seconds(1));
  host.finished(false, HostPace::End::failed, {}, now());  // a straggler makes it no longer
  EXPECT_EQ(host.next_at(now()), first);
  host.finished(false, HostPace::End::answered, {}, now());  // nor does one that got through before close it
  EXPECT_FALSE(host.can_start(now()));
  clock.advance(seconds(1));
  ASSERT_TRUE(host.can_start(now()));
  EXPECT_TRUE(host.started(now()));
  EXPECT_FALSE(host.can_start(now()));
  host.finished(true, HostPace::End::failed, {}, now());
  EXPECT_EQ(host.next_at(now()) - now(), seconds(2));
  clock.advance(seconds(2));
  EXPECT_TRUE(host.started(now()));
  host.finished(true, HostPace::End::answered, {}, now());
  EXPECT_TRUE(host.can_start(now()));
}

TEST(Host, ThatNeverAnsweredCostsNoMoreThanTheBreakerBears) {
  WnsSettings settings = lab_settings();
  HostPace host(settings);
  JumpyClock clock;
  const auto start_all = [&] {
    std::uint32_t started = 0;
    for (; started < 100 && host.can_start(clock.steady()); ++started) EXPECT_FALSE(host.started(clock.steady()));
    return started;
  };
  EXPECT_EQ(start_all(), settings.breaker_failures);
  host.finished(false, HostPace::End::failed, {}, clock.steady());
  EXPECT_EQ(start_all(), 0u) << "another one would be one more than five";
  host.finished(false, HostPace::End::answered, {}, clock.steady());
  EXPECT_EQ(start_all(), settings.connections_per_host_max - (settings.breaker_failures - 2)) << "it lives";
}

TEST(Devices, ThatUnenrolAreForgotten) {
  Lab lab;
  lab.enroll(1);
  lab.core->take_records(10);
  lab.hold = true;
  lab.wake(1);
  lab.core->forget(device(1));
  EXPECT_FALSE(lab.core->view(device(1)));
  EXPECT_EQ(lab.wake(1).code, "wake.unknown_device");
  lab.answer_held(received());  // comes too late to matter
  const auto records = lab.core->take_records(10);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_TRUE(records[0].second.empty());
}

TEST(Devices, ThatAreForgottenDoNotComeBackFromWhatIsStillToBeErased) {
  Lab lab;
  lab.enroll(1);
  const std::string record = lab.core->take_records(10).at(0).second;
  lab.core->forget(device(1));
  lab.core->load(device(1), *decode_record(record));  // somebody looks while the book still has it
  EXPECT_FALSE(lab.core->knows(device(1)));
  EXPECT_TRUE(lab.core->take_records(10).at(0).second.empty());
  lab.core->load(device(1), *decode_record(record));
  EXPECT_FALSE(lab.core->knows(device(1)));
  lab.core->take_records(10);
  EXPECT_EQ(lab.core->forgotten(), 1u);
}

TEST(Devices, ThatLieAreEachNamed) {
  Lab lab;
  static int lines = 0;
  lines = 0;
  set_log_sink([](std::string_view line) { lines += line.find("alarm=hostile_uri") != std::string_view::npos ? 1 : 0; });
  for (int i = 1; i <= 5; ++i) lab.session(i, "https://attacker.example/x");
  set_log_sink(nullptr);
  EXPECT_EQ(lines, 5);
}

TEST(Devices, ThatEnrolAnewStartClean) {
  Lab lab;
  lab.enroll(1);
  lab.session(1, std::nullopt, std::nullopt, "0B");
  EXPECT_EQ(lab.state(1), "none");
  EXPECT_EQ(lab.wake(1).code, "wake.no_channel");
  lab.session(1, uri_of(1, 2), 0, "0B");
  EXPECT_EQ(lab.state(1), "active");
}

TEST(Devices, KeepTheirAppWhenAnotherComesFirst) {
  WnsSettings settings = lab_settings();
  settings.apps.insert(settings.apps.begin(), settings.apps[0]);
  settings.apps[0].pfn = "newer.app_1";
  Lab lab(settings);
  ChannelRecord record;
  record.state = ChannelRecord::State::active;
  record.enrollment = "0A";
  record.uri = uri_of(1);
  record.pfn = settings.apps[1].pfn;
  record.first_seen = lab.clock.wall();
  lab.core->load(device(1), record);
  lab.token_script = [](const TokenOrder& order) { return Lab::grant("TOKEN-OF-APP-" + std::to_string(order.app)); };
  lab.wake(1);
  ASSERT_EQ(lab.pushes.size(), 1u);
  EXPECT_EQ(lab.pushes[0].order.token->reveal(), "TOKEN-OF-APP-1");
  record.pfn = "gone.app_1";
  lab.core->load(device(2), record);
  EXPECT_EQ(lab.wake(2).code, "wake.no_app");
  EXPECT_EQ(lab.session(2, uri_of(1)), "newer.app_1");
}

TEST(Devices, AboveTheBoundLeaveMemoryWhenIdle) {
  WnsSettings settings = lab_settings();
  settings.channels_in_memory_max = 1'000;
  Lab lab(settings);
  for (int i = 1; i <= 3'000; ++i) {
    lab.enroll(i);
    if (i == 1) {
      lab.hold = true;
      lab.wake(1);  // has something under way
    }
    lab.core->take_records(10);
  }
  EXPECT_LE(lab.core->channels(), 1'001u);
  EXPECT_TRUE(lab.core->knows(device(1)));
}

TEST(Stock, TellsWhatChannelsThereAreAndAlarmsWhenTheyDie) {
  Lab lab;
  for (int i = 1; i <= 20; ++i) lab.enroll(i);
  lab.core->take_stock();
  EXPECT_EQ(lab.metric("greengate_wns_channels{state=\"active\"}"), 20);
  EXPECT_EQ(lab.metric("greengate_wns_channels_by_age{days=\"0-15\"}"), 20);
  lab.script = [](const PushOrder&) { return answered(410); };
  for (int i = 1; i <= 5; ++i) lab.wake(i);
  lab.core->take_stock();
  EXPECT_EQ(lab.metric("greengate_wns_channels{state=\"dead\"}"), 5);
  EXPECT_EQ(lab.metric("greengate_wns_alarms_total{alarm=\"channels_dying\"}"), 1);
  lab.advance(hours(17));
  lab.core->take_stock();
  EXPECT_EQ(lab.metric("greengate_wns_silent_devices"), 15);
}

TEST(Stock, AlarmsWhenPushesLeadToNoSessions) {
  Lab lab;
  for (int i = 1; i <= 40; ++i) lab.enroll(i);
  for (int i = 1; i <= 40; ++i) lab.wake(i, false, minutes(10));
  lab.advance(minutes(61));
  lab.core->take_stock();
  EXPECT_EQ(lab.metric("greengate_wns_alarms_total{alarm=\"unconfirmed\"}"), 1);
}

}  // namespace
}  // namespace greengate::test
