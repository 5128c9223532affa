#include "gateway/admission.h"

#include <gtest/gtest.h>

#include <random>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;
using Kind = ReportVerdict::Kind;

const SteadyTime start{1h};

AdmissionConfig small() {
  AdmissionConfig config;
  config.frame_bytes_max = 1 << 20;
  config.report_bytes_max = 1'000;
  config.reports_per_frame_max = 4;
  config.in_flight_max = 3;
  config.in_flight_bytes_max = 10'000;
  config.memory_bytes_max = 20'000;
  config.reports_per_second = 10;
  config.reports_burst = 100;
  return config;
}

v1::Report report(std::uint64_t sequence, std::size_t body_bytes = 10) {
  v1::Report made;
  made.set_sequence(sequence);
  made.set_lane(v1::LANE_INVENTORY);
  made.set_kind(v1::KIND_HARDWARE_INVENTORY);
  made.set_body(std::string(body_bytes, 'x'));
  return made;
}

std::string code(const std::optional<Refusal>& refusal) { return refusal ? refusal->code : ""; }

TEST(Admission, PutsBulkInItsOwnLaneWhateverTheAgentSays) {
  v1::Report report;
  report.set_lane(v1::LANE_CONTROL);
  for (const auto& [kind, lane] : {std::pair(v1::KIND_DISCOVERY, v1::LANE_DISCOVERY), std::pair(v1::KIND_HARDWARE_INVENTORY, v1::LANE_INVENTORY),
                                   std::pair(v1::KIND_SOFTWARE_INVENTORY, v1::LANE_INVENTORY), std::pair(v1::KIND_FILE_CHUNK, v1::LANE_FILES),
                                   std::pair(v1::KIND_IDMIF, v1::LANE_FILES), std::pair(v1::KIND_STATE_MESSAGES, v1::LANE_CONTROL),
                                   std::pair(v1::KIND_METERING, v1::LANE_CONTROL)}) {
    report.set_kind(kind);
    EXPECT_EQ(gateway::lane_of(report), lane) << kind;
  }
}

TEST(Admission, JudgesAFrameByWhoSendsIt) {
  const Admission admission(small());
  using F = v1::Frame;
  struct Case {
    Standing standing;
    F::KindCase kind;
    const char* code;
  };
  for (const Case& each : std::initializer_list<Case>{
           {Standing::unknown, F::kEnrol, ""},
           {Standing::unknown, F::kHello, "agent.unknown"},
           {Standing::unknown, F::kPublish, "agent.unknown"},
           {Standing::unknown, F::kPing, "agent.unknown"},
           {Standing::pending, F::kEnrol, ""},
           {Standing::pending, F::kPing, ""},
           {Standing::pending, F::kHello, "agent.pending"},
           {Standing::pending, F::kPublish, "agent.pending"},
           {Standing::greeting, F::kHello, ""},
           {Standing::greeting, F::kPing, ""},
           {Standing::greeting, F::kPublish, "agent.hello_first"},
           {Standing::greeting, F::kTaskResult, "agent.hello_first"},
           {Standing::active, F::kPublish, ""},
           {Standing::active, F::kTaskResult, ""},
           {Standing::active, F::kHello, ""},
           {Standing::active, F::KIND_NOT_SET, ""},
           {Standing::active, F::kWelcome, "frame.kind_unexpected"},
           {Standing::unknown, F::kReceipts, "frame.kind_unexpected"},
       })
    EXPECT_EQ(code(admission.kind(each.standing, each.kind)), each.code) << each.kind;
}

TEST(Admission, WantsNothingFromThoseCutOff) {
  const Admission admission(small());
  EXPECT_EQ(code(admission.shape(Standing::revoked, "")), "agent.revoked");
  EXPECT_EQ(code(admission.shape(Standing::replaced, "")), "agent.replaced");
}

TEST(Admission, BoundsAFrameBeforeItIsParsed) {
  const Admission admission(small());
  v1::Frame frame;
  for (std::uint64_t i = 1; i <= 4; ++i) *frame.mutable_publish()->add_reports() = report(i);
  EXPECT_EQ(code(admission.shape(Standing::active, frame.SerializeAsString())), "");
  *frame.mutable_publish()->add_reports() = report(5);
  EXPECT_EQ(code(admission.shape(Standing::active, frame.SerializeAsString())), "frame.too_many_reports");

  EXPECT_EQ(code(admission.shape(Standing::active, std::string((1 << 20) + 1, 0))), "frame.too_large");
  EXPECT_EQ(code(admission.shape(Standing::unknown, std::string(70'000, 0))), "frame.too_large");
  EXPECT_EQ(code(admission.shape(Standing::greeting, std::string(70'000, 0))), "agent.hello_first");

  v1::Frame large_hello;
  large_hello.mutable_hello()->set_host_name(std::string(70'000, 'x'));
  EXPECT_EQ(code(admission.shape(Standing::active, large_hello.SerializeAsString())), "frame.too_large");
}

// Goal: a frame of a megabyte cannot become a message of a hundred. Method: many tiny fields, at each level.
TEST(Admission, RefusesAFrameThatUnfoldsIntoMuchMore) {
  const Admission admission(small());
  const auto nested = [](char tag, const std::string& inside) {
    std::string made(1, tag);
    for (std::size_t rest = inside.size(); ; rest >>= 7) {
      made += static_cast<char>(rest < 128 ? rest : (rest & 127) | 128);
      if (rest < 128) break;
    }
    return made + inside;
  };
  std::string unknown_fields;
  for (int i = 0; i < 10'000; ++i) unknown_fields += std::string("\x78\x01", 2);  // field 15, varint
  EXPECT_EQ(code(admission.shape(Standing::active, unknown_fields)), "frame.malformed");
  EXPECT_EQ(code(admission.shape(Standing::active, nested(0x1a, unknown_fields))), "frame.too_many_reports");
  EXPECT_EQ(code(admission.shape(Standing::active, nested(0x1a, nested(0x0a, unknown_fields)))), "frame.malformed");
  std::string empty_reports;
  for (int i = 0; i < 10'000; ++i) empty_reports += std::string("\x0a\x00", 2);
  EXPECT_EQ(code(admission.shape(Standing::active, nested(0x1a, empty_reports))), "frame.too_many_reports");
}

// Whatever the walk lets through, protobuf may still refuse; what protobuf writes, the walk must let through.
TEST(Admission, NeverRefusesTheShapeOfWhatProtobufWrote) {
  const unsigned seed = std::random_device{}();
  std::printf("seed %u\n", seed);
  std::mt19937_64 random(seed);
  const Admission admission(small());
  for (int i = 0; i < 2'000; ++i) {
    v1::Frame frame;
    for (std::uint64_t n = random() % 5; n > 0; --n) {
      v1::Report& made = *frame.mutable_publish()->add_reports();
      made.set_sequence(random() >> (random() % 64));
      made.set_skipped(random() >> (random() % 64));
      made.set_lane(static_cast<v1::Lane>(random() % 10));
      made.set_collected_at_ms(static_cast<std::int64_t>(random()));
      made.set_ttl_s(static_cast<std::uint32_t>(random()));
      made.set_body(std::string(random() % 300, static_cast<char>(random())));
    }
    EXPECT_EQ(code(admission.shape(Standing::active, frame.SerializeAsString())), "");
    std::string cut = frame.SerializeAsString();
    cut.resize(random() % (cut.size() + 1));
    v1::Frame parsed;
    if (parsed.ParseFromString(cut))
      EXPECT_EQ(code(admission.shape(Standing::active, cut)), "");
    else
      EXPECT_EQ(code(admission.shape(Standing::active, cut)), "frame.malformed");
  }
}

TEST(Admission, RejectsForGoodWhatCanNeverBeKept) {
  const Admission admission(small());
  Account account(small());
  const auto rejected = [&](const v1::Report& each) {
    const ReportVerdict verdict = admission.report(account, each, 0, start);
    EXPECT_EQ(verdict.kind, Kind::reject);
    return std::string(verdict.why.code);
  };
  EXPECT_EQ(rejected(report(0)), "report.sequence_zero");
  v1::Report odd = report(3);
  odd.set_skipped(3);
  EXPECT_EQ(rejected(odd), "report.skipped");
  odd = report(1);
  odd.set_lane(v1::LANE_UNSPECIFIED);
  EXPECT_EQ(rejected(odd), "report.lane_unknown");
  odd.set_lane(static_cast<v1::Lane>(6));
  EXPECT_EQ(rejected(odd), "report.lane_unknown");
  odd = report(1);
  odd.set_kind(v1::KIND_UNSPECIFIED);
  EXPECT_EQ(rejected(odd), "report.kind_unknown");
  odd.set_kind(static_cast<v1::Kind>(77));
  EXPECT_EQ(rejected(odd), "report.kind_unknown");
  odd.set_kind(v1::KIND_RESYNC);  // would make the gateway send everything again at an agent's word
  EXPECT_EQ(rejected(odd), "report.kind_reserved");
  EXPECT_EQ(rejected(report(1, 1'001)), "report.too_large");
  EXPECT_EQ(account.in_flight, 0u);
}

TEST(Admission, MakesTheNextReportStepOverRejectedOnes) {
  const Admission admission(small());
  Account account(small());
  v1::Report bad = report(3);
  bad.set_skipped(1);  // 2 never comes
  bad.set_kind(static_cast<v1::Kind>(77));
  EXPECT_EQ(admission.report(account, bad, 0, start).kind, Kind::reject);
  bad.set_sequence(4);
  bad.set_skipped(0);
  EXPECT_EQ(admission.report(account, bad, 0, start).kind, Kind::reject);
  EXPECT_EQ(admission.report(account, report(5), 0, start).skipped, 3u);  // 2, 3 and 4

  v1::Report by_itself = report(5);  // the agent already counted them as skipped
  by_itself.set_skipped(3);
  EXPECT_EQ(admission.report(account, by_itself, 0, start).skipped, 3u);
  EXPECT_EQ(admission.report(account, report(7), 0, start).skipped, 0u);  // 6 is simply missing
}

TEST(Admission, ThrottlesByCreditsMemoryAndRate) {
  AdmissionConfig config = small();
  const Admission admission(config);
  Account account(config);
  for (std::uint64_t i = 1; i <= 3; ++i)
    EXPECT_EQ(admission.report(account, report(i), 0, start).kind, Kind::take);
  ReportVerdict verdict = admission.report(account, report(4), 0, start);
  EXPECT_EQ(verdict.kind, Kind::throttle);
  EXPECT_STREQ(verdict.why.code, "flow.credits");
  EXPECT_GT(verdict.why.retry_after, 0ms);
  EXPECT_EQ(account.in_flight, 3u);

  config.in_flight_max = 100;
  config.in_flight_bytes_max = 2'000;
  Account by_bytes(config);
  const Admission bytes(config);
  EXPECT_EQ(bytes.report(by_bytes, report(1, 1'000), 0, start).kind, Kind::take);
  EXPECT_STREQ(bytes.report(by_bytes, report(2, 1'000), 0, start).why.code, "flow.credits");

  Account other(config);
  EXPECT_STREQ(bytes.report(other, report(1, 1'000), 19'500, start).why.code, "gateway.busy");

  config.in_flight_bytes_max = 1 << 20;
  config.reports_burst = 2;
  const Admission rates(config);
  Account hasty(config);
  EXPECT_EQ(rates.report(hasty, report(1), 0, start).kind, Kind::take);
  EXPECT_EQ(rates.report(hasty, report(2), 0, start).kind, Kind::take);
  verdict = rates.report(hasty, report(3), 0, start);
  EXPECT_STREQ(verdict.why.code, "flow.rate");
  EXPECT_EQ(rates.report(hasty, report(3), 0, start + verdict.why.retry_after).kind, Kind::take);
}

TEST(Admission, AlwaysHasRoomForOneReportOfTheLargestSize) {
  AdmissionConfig config = small();
  config.in_flight_bytes_max = 1'000;  // less than a report of 1000 bytes costs
  config.memory_bytes_max = 1'000;
  const Admission admission(config);
  Account account(config);
  EXPECT_EQ(admission.report(account, report(1, 1'000), 0, start).kind, Kind::take);
}

}  // namespace
}  // namespace greengate::gateway
