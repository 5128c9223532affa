#include "workers/coalescer.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using workers::CoalescerConfig;
using workers::Plan;
using workers::plan_messages;

// A device's batch, built report by report.
class BatchBuilder {
 public:
  BatchBuilder& add(std::uint32_t kind, std::size_t bytes = 10, std::uint64_t group = 0) {
    store::LeasedReport report;
    report.id = ItemId(batch_.reports.size() + 1);
    report.kind = kind;
    report.body = std::string(bytes, 'x');
    report.group = group;
    if (group) report.note = "note " + std::to_string(group);
    batch_.reports.push_back(std::move(report));
    return *this;
  }
  const store::Batch& batch() const { return batch_; }

 private:
  store::Batch batch_;
};

std::vector<std::uint64_t> ids(const std::vector<const store::LeasedReport*>& reports) {
  std::vector<std::uint64_t> ids;
  for (const auto* report : reports) ids.push_back(report->id.raw());
  return ids;
}

using Ids = std::vector<std::uint64_t>;

TEST(Coalescer, JoinsWaitingStateMessagesIntoOneReportAndKeepsTheirOrder) {
  BatchBuilder b;
  b.add(v1::KIND_STATE_MESSAGES).add(v1::KIND_STATE_MESSAGES).add(v1::KIND_STATE_MESSAGES);
  const Plan plan = plan_messages(b.batch(), {});
  ASSERT_EQ(plan.messages.size(), 1u);
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{1, 2, 3}));
}

TEST(Coalescer, SendsOnlyTheNewestInventoryAndCallsTheOlderSuperseded) {
  BatchBuilder b;
  b.add(v1::KIND_HARDWARE_INVENTORY).add(v1::KIND_DISCOVERY).add(v1::KIND_HARDWARE_INVENTORY).add(v1::KIND_DISCOVERY);
  const Plan plan = plan_messages(b.batch(), {});
  ASSERT_EQ(plan.messages.size(), 2u);
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{3}));
  EXPECT_EQ(ids(plan.messages[1].reports), (Ids{4}));
  EXPECT_EQ(ids(plan.superseded), (Ids{1, 2}));
}

TEST(Coalescer, NeverChangesAGroupThatWasAttemptedBefore) {
  BatchBuilder b;
  b.add(v1::KIND_STATE_MESSAGES, 10, 7).add(v1::KIND_STATE_MESSAGES, 10, 7).add(v1::KIND_STATE_MESSAGES);
  const Plan plan = plan_messages(b.batch(), {});
  ASSERT_EQ(plan.messages.size(), 2u);
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{1, 2}));
  EXPECT_EQ(plan.messages[0].note, "note 7");
  EXPECT_EQ(ids(plan.messages[1].reports), (Ids{3}));
  EXPECT_EQ(plan.messages[1].note, "");
}

TEST(Coalescer, SendsAnAttemptedInventoryAgainEvenIfANewerOneWaits) {
  BatchBuilder b;
  b.add(v1::KIND_HARDWARE_INVENTORY, 10, 3).add(v1::KIND_HARDWARE_INVENTORY);
  const Plan plan = plan_messages(b.batch(), {});
  ASSERT_EQ(plan.messages.size(), 2u);
  EXPECT_TRUE(plan.superseded.empty());
}

TEST(Coalescer, TakesTheNewestByItsSequenceNotByItsPlace) {
  BatchBuilder b;
  b.add(v1::KIND_SOFTWARE_INVENTORY).add(v1::KIND_SOFTWARE_INVENTORY);
  store::Batch batch = b.batch();
  batch.reports[0].name.sequence = 8;
  batch.reports[1].name.sequence = 7;  // a dead letter that was tried again
  const Plan plan = plan_messages(batch, {});
  ASSERT_EQ(plan.messages.size(), 1u);
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{1}));
  EXPECT_EQ(ids(plan.superseded), (Ids{2}));
}

std::string resync_of(std::uint32_t kind) {
  v1::ResyncRequest request;
  request.set_kind(kind);
  return request.SerializeAsString();
}

TEST(Coalescer, PutsARequestForEverythingAgainTogetherWithTheNewestStateOfItsKind) {
  BatchBuilder b;
  b.add(v1::KIND_RESYNC).add(v1::KIND_SOFTWARE_INVENTORY).add(v1::KIND_HARDWARE_INVENTORY).add(v1::KIND_HARDWARE_INVENTORY).add(v1::KIND_RESYNC);
  store::Batch batch = b.batch();
  batch.reports[0].body = resync_of(v1::KIND_HARDWARE_INVENTORY);
  batch.reports[4].body = resync_of(v1::KIND_HARDWARE_INVENTORY);
  const Plan plan = plan_messages(batch, {});
  ASSERT_EQ(plan.messages.size(), 2u);
  EXPECT_EQ(plan.messages[0].kind, std::uint32_t{v1::KIND_HARDWARE_INVENTORY});
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{1, 4, 5}));
  EXPECT_EQ(ids(plan.messages[1].reports), (Ids{2}));
  EXPECT_EQ(ids(plan.superseded), (Ids{3}));
}

TEST(Coalescer, ARequestNobodyUnderstandsIsAMessageOfItsOwn) {
  BatchBuilder b;
  b.add(v1::KIND_RESYNC).add(v1::KIND_RESYNC);
  store::Batch batch = b.batch();
  batch.reports[0].body = resync_of(v1::KIND_DISCOVERY);
  const Plan plan = plan_messages(batch, {});
  ASSERT_EQ(plan.messages.size(), 2u);
  EXPECT_EQ(plan.messages[0].kind, std::uint32_t{v1::KIND_RESYNC});
}

TEST(Coalescer, StopsJoiningAtItsBoundsOfCountAndBytes) {
  CoalescerConfig config;
  config.state_reports_max = 2;
  config.state_bytes_max = 100;
  BatchBuilder b;
  b.add(v1::KIND_STATE_MESSAGES, 10).add(v1::KIND_STATE_MESSAGES, 10).add(v1::KIND_STATE_MESSAGES, 60).add(v1::KIND_STATE_MESSAGES, 60);
  const Plan plan = plan_messages(b.batch(), config);
  ASSERT_EQ(plan.messages.size(), 3u);
  EXPECT_EQ(ids(plan.messages[0].reports), (Ids{1, 2}));
  EXPECT_EQ(ids(plan.messages[1].reports), (Ids{3}));
  EXPECT_EQ(ids(plan.messages[2].reports), (Ids{4}));
}

TEST(Coalescer, GivesAnUnknownKindAMessageOfItsOwn) {
  BatchBuilder b;
  b.add(999).add(999);
  EXPECT_EQ(plan_messages(b.batch(), {}).messages.size(), 2u);
}

}  // namespace
}  // namespace greengate::test
