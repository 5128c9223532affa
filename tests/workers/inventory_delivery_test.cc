// Inventories from report to site, step by step: what is sent, what is not, and under which version.
#include "tests/workers/inventory_builder.h"
#include "tests/workers/site_of_one.h"
#include "workers/resync.h"

#include "greengate/v1/frame.pb.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace greengate::test {
namespace {

using namespace workers;
using store::Outcome;
using Fate = SiteOfOne::Fate;

constexpr const char* hardware_door = "MP_HinvEndpoint";
constexpr const char* software_door = "MP_SinvEndpoint";
constexpr std::uint32_t hardware = v1::KIND_HARDWARE_INVENTORY, software = v1::KIND_SOFTWARE_INVENTORY;

InventoryBuilder disks() {
  InventoryBuilder b;
  b.table("Disk", {"*ID", "Size", "~Free"});
  return b;
}

class InventoryDelivery : public ::testing::Test {
 protected:
  explicit InventoryDelivery(InventoryConfig config = {})
      : world({{"Disk", {"ID"}}, {"Card", {"ID"}}, {"FileSystemFile", {"Path", "Name"}}}, config) {}
  ~InventoryDelivery() override { EXPECT_EQ(world.site.complaints(), std::vector<std::string>()); }

  // Reports a state and lets it arrive. Answers "Full 1.0", "Delta 1.1", or the code of why nothing was sent; several in their order.
  std::string report(const InventoryBuilder& state) {
    world.report(hardware, state.state());
    return run();
  }
  std::string report(const v1::SoftwareInventory& state) {
    world.report(software, state);
    return run();
  }
  std::string run() {
    const std::size_t before = world.site.taken().size();
    EXPECT_TRUE(world.run());
    std::string said;
    for (std::size_t i = before; i < world.site.taken().size(); ++i) {
      const auto& taken = world.site.taken()[i];
      said += (said.empty() ? "" : ", ") + taken.type + " " + std::to_string(taken.version.major) + "." + std::to_string(taken.version.minor);
    }
    settled = world.store->take_settled();
    for (const auto& one : settled) {
      if (!one.code.empty()) said += (said.empty() ? "" : ", ") + one.code;
    }
    return said;
  }
  std::string resync(std::uint32_t kind = hardware) {
    EXPECT_TRUE(request_resync(*world.store, world.agent, kind, "P0100001", "2.00", world.clock.wall()));
    return run();
  }
  void expect_site_has(const InventoryBuilder& state) {
    EXPECT_EQ(world.site.comparable(world.site.classes(hardware_door), {}), world.site.comparable(world.site.expected(state.state()), {}));
  }

  SiteOfOne world;
  std::vector<MemoryStore::Settled> settled;
};

TEST_F(InventoryDelivery, TheFirstIsWholeTheNextItsChanges) {
  EXPECT_EQ(report(disks().row({"a", "1", "9"}).row({"b", "1", "9"})), "Full 1.0");
  EXPECT_EQ(report(disks().row({"a", "2", "9"}).row({"b", "1", "9"})), "Delta 1.1");
  EXPECT_EQ(world.site.taken().back().rows, 1u);
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "Delta 1.2");
  EXPECT_EQ(report(disks().row({"a", "2", "9"}).row({"c", "3", "9"})), "Delta 1.3");
  expect_site_has(disks().row({"a", "2", "9"}).row({"c", "3", "9"}));
}

TEST_F(InventoryDelivery, NothingIsSentWhenNothingChangedAndTheAgentHearsWhy) {
  report(disks().row({"a", "1", "9"}));
  EXPECT_EQ(report(disks().row({"a", "1", "5"})), "inventory.unchanged");
  EXPECT_EQ(settled.at(0).outcome, Outcome::superseded);
  EXPECT_EQ(world.outcomes.back().code, "inventory.unchanged");
  EXPECT_EQ(world.outcomes.back().outcome, Outcome::superseded);
  EXPECT_EQ(world.store->pins(), 1u) << "what is not sent needs no number";
  EXPECT_EQ(report(disks().row({"a", "2", "5"})), "Delta 1.1") << "the versions have no hole";
}

TEST_F(InventoryDelivery, AClassTheAgentCouldNotLookAtStaysAtTheSite) {
  auto both = disks().row({"a", "1", "9"});
  both.table("Card", {"*ID"}).row({"x"});
  report(both);
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "Delta 1.1");
  auto after = disks().row({"a", "2", "9"});
  after.table("Card", {"*ID"}).row({"x"});
  expect_site_has(after);
  EXPECT_EQ(resync(), "Full 2.0");
  expect_site_has(after);
}

TEST_F(InventoryDelivery, AWholeInventoryKeepsWhatItDoesNotSpeakOf) {
  auto both = disks().row({"a", "1", "9"});
  both.table("Card", {"*ID"}).row({"x"});
  report(both);
  world.report(hardware, disks().row({"a", "2", "9"}).state());
  EXPECT_EQ(resync(), "Full 2.0") << "the site's wish and the newer state in one";
  auto after = disks().row({"a", "2", "9"});
  after.table("Card", {"*ID"}).row({"x"});
  expect_site_has(after);
}

TEST_F(InventoryDelivery, AClassThatIsEmptyNowIsDeleted) {
  report(disks().row({"a", "1", "9"}).row({"b", "1", "9"}));
  EXPECT_EQ(report(disks()), "Delta 1.1");
  EXPECT_TRUE(world.site.classes(hardware_door).empty());
  EXPECT_EQ(resync(), "inventory.empty") << "a Full without instances is never sent";
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "Delta 1.2");
}

TEST_F(InventoryDelivery, AnEmptyFirstInventoryIsNotSent) {
  EXPECT_EQ(report(disks()), "inventory.empty");
  EXPECT_EQ(settled.at(0).outcome, Outcome::superseded);
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "Full 1.0");
}

TEST_F(InventoryDelivery, AChangeNoDeltaCanTellMakesAWholeInventory) {
  report(disks().row({"a", "1", "9"}).row({"b", "1", "9"}));
  InventoryBuilder other_keys;
  other_keys.table("Disk", {"*ID", "*Size"}).row({"a", "1"}).row({"b", "1"});
  EXPECT_EQ(report(other_keys), "Full 2.0");
}

TEST_F(InventoryDelivery, MoreChangesThanInstancesMakeAWholeInventory) {
  report(disks().row({"a", "1", "9"}).row({"b", "1", "9"}).row({"c", "1", "9"}));
  EXPECT_EQ(report(disks().row({"d", "1", "9"})), "Full 2.0");
  expect_site_has(disks().row({"d", "1", "9"}));
}

TEST_F(InventoryDelivery, AResendIsTheSameMessage) {
  report(disks().row({"a", "1", "9"}));
  for (const Fate fate : {Fate::taken_but_answer_lost, Fate::lost}) {
    world.next_fate(fate);
    world.report(hardware, disks().row({"a", std::to_string(10 + static_cast<int>(fate)), "9"}).state());
    EXPECT_TRUE(world.run());
  }
  EXPECT_EQ(world.site.taken().size(), 3u);
  EXPECT_EQ(world.site.taken().back().version, (SiteModel::Version{1, 2}));
}

TEST_F(InventoryDelivery, ANewerStateWaitsForTheMessageThatWasAttempted) {
  report(disks().row({"a", "1", "9"}).row({"b", "1", "9"}));
  world.next_fate(Fate::lost);
  world.report(hardware, disks().row({"a", "2", "9"}).row({"b", "1", "9"}).state());
  world.carry_once();
  EXPECT_EQ(report(disks().row({"a", "3", "9"}).row({"b", "1", "9"})), "Delta 1.1, Delta 1.2");
}

TEST_F(InventoryDelivery, AfterAMessageTheSiteRefusedComesAWholeInventory) {
  report(disks().row({"a", "1", "9"}).row({"b", "1", "9"}));
  world.next_fate(Fate::refused);
  EXPECT_EQ(report(disks().row({"a", "2", "9"}).row({"b", "1", "9"})), "mp.bad_request");
  EXPECT_EQ(report(disks().row({"a", "3", "9"}).row({"b", "1", "9"})), "Full 2.0");
  world.next_fate(Fate::refused);
  report(disks().row({"a", "4", "9"}).row({"b", "1", "9"}));
  EXPECT_EQ(report(disks().row({"a", "3", "9"}).row({"b", "1", "9"})), "Full 3.0") << "even back at the baseline: nobody knows what the site did";
}

TEST_F(InventoryDelivery, AMessageThatWasTakenButNotSettledIsSentAgainUnchanged) {
  report(disks().row({"a", "1", "9"}));
  world.store->fail_settling("queue.disk");
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "Delta 1.1");
  EXPECT_EQ(world.store->waiting(), 0u);
  EXPECT_EQ(report(disks().row({"a", "3", "9"})), "Delta 1.2");
}

TEST_F(InventoryDelivery, AWorkerThatLostItsLeaseLeavesEverythingToTheNext) {
  report(disks().row({"a", "1", "9"}));
  world.store->revoke_lease_at_settling();
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "Delta 1.1");
  EXPECT_EQ(report(disks().row({"a", "3", "9"})), "Delta 1.2");
}

TEST_F(InventoryDelivery, WithoutItsBaselineTheNextInventoryIsWhole) {
  report(disks().row({"a", "1", "9"}));
  world.store->lose_baselines();
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "Full 2.0");
  world.store->spoil_baselines("\x07 of a later version");
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "Full 3.0");
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "inventory.unchanged");
}

TEST_F(InventoryDelivery, ADeltaWhoseBaselineIsGoneIsNumberedAnewAsAWhole) {
  report(disks().row({"a", "1", "9"}).row({"b", "1", "9"}));
  world.next_fate(Fate::taken_but_answer_lost);
  world.report(hardware, disks().row({"a", "2", "9"}).row({"b", "1", "9"}).state());
  world.carry_once();
  EXPECT_EQ(world.site.taken().back().type, "Delta");
  world.store->lose_baselines();
  EXPECT_EQ(run(), "Full 2.0");
  expect_site_has(disks().row({"a", "2", "9"}).row({"b", "1", "9"}));
}

TEST_F(InventoryDelivery, ADeviceWithAnotherNameAtTheSiteStartsAnew) {
  report(disks().row({"a", "1", "9"}));
  world.rename();
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "Full 2.0");
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "inventory.unchanged");
}

TEST_F(InventoryDelivery, AResyncAfterAChangeOfNameAtTheSiteIsAnsweredFromWhatWasKnownBefore) {
  report(disks().row({"a", "1", "9"}));
  world.rename();
  EXPECT_EQ(resync(), "Full 2.0") << "or the new record would lack it until the agent speaks again";
  expect_site_has(disks().row({"a", "1", "9"}));
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "Delta 2.1");
}

TEST_F(InventoryDelivery, AResyncIsAnsweredFromTheBaselineWithoutTheAgent) {
  report(disks().row({"a", "1", "9"}));
  report(disks().row({"a", "2", "8"}));
  EXPECT_EQ(resync(), "Full 2.0");
  expect_site_has(disks().row({"a", "2", "8"}));
  ASSERT_EQ(settled.size(), 1u);
  EXPECT_EQ(settled[0].outcome, Outcome::delivered);
  EXPECT_EQ(settled[0].tracking, world.site.taken().back().message_id);
  EXPECT_EQ(world.outcomes.size(), 2u) << "the agent hears nothing of a report it did not make";
  EXPECT_EQ(report(disks().row({"a", "2", "8"})), "inventory.unchanged");
  EXPECT_EQ(report(disks().row({"a", "3", "8"})), "Delta 2.1");
}

TEST_F(InventoryDelivery, ANewerStateThatWaitsAnswersTheResync) {
  report(disks().row({"a", "1", "9"}));
  ASSERT_TRUE(request_resync(*world.store, world.agent, hardware, "P0100001", "2.00", world.clock.wall()));
  ASSERT_TRUE(request_resync(*world.store, world.agent, hardware, "P0100001", "3.00", world.clock.wall()));
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "Full 2.0");
  ASSERT_EQ(settled.size(), 3u);
  EXPECT_EQ(settled[0].outcome, Outcome::superseded);
  EXPECT_EQ(settled[1].outcome, Outcome::superseded);
  EXPECT_EQ(settled[2].outcome, Outcome::delivered);
  expect_site_has(disks().row({"a", "2", "9"}));
}

TEST_F(InventoryDelivery, AResyncIsWholeEvenWhenNothingChanged) {
  report(disks().row({"a", "1", "9"}));
  ASSERT_TRUE(request_resync(*world.store, world.agent, hardware, "P0100001", "2.00", world.clock.wall()));
  EXPECT_EQ(report(disks().row({"a", "1", "9"})), "Full 2.0");
}

TEST_F(InventoryDelivery, AResyncWhoseAnswerWasLostIsTheSameMessageAgain) {
  report(disks().row({"a", "1", "9"}));
  world.next_fate(Fate::taken_but_answer_lost);
  EXPECT_EQ(resync(), "Full 2.0");
  EXPECT_EQ(settled.at(0).outcome, Outcome::delivered);
}

TEST_F(InventoryDelivery, AResyncOfWhatWasNeverKnownAsksTheAgent) {
  EXPECT_EQ(resync(software), "inventory.nothing_known");
  EXPECT_EQ(settled.at(0).outcome, Outcome::superseded);
  EXPECT_EQ(world.wanted, std::vector<std::uint32_t>{software});
}

TEST_F(InventoryDelivery, AResyncOfSomethingElseIsRefusedOrBuried) {
  const auto refused = request_resync(*world.store, world.agent, v1::KIND_DISCOVERY, "P", "1", world.clock.wall());
  ASSERT_FALSE(refused);
  EXPECT_STREQ(refused.error().code, "resync.kind");
  world.store->put({world.agent, 0, 99}, v1::KIND_RESYNC, "\xff no");
  EXPECT_EQ(run(), "report.kind_unknown");
  EXPECT_TRUE(world.outcomes.empty());
}

TEST_F(InventoryDelivery, AnOlderStateThatIsTriedAgainDoesNotReplaceANewer) {
  report(disks().row({"a", "1", "9"}));
  world.next_fate(Fate::refused);
  report(disks().row({"a", "2", "9"}));
  EXPECT_EQ(report(disks().row({"a", "3", "9"})), "Full 2.0");
  ASSERT_TRUE(world.store->replay({}));
  EXPECT_EQ(run(), "inventory.older");
  expect_site_has(disks().row({"a", "3", "9"}));

  // Beside a newer one that still waits it is the one that gives way.
  world.next_fate(Fate::refused);
  report(disks().row({"a", "4", "9"}));
  world.report(hardware, disks().row({"a", "5", "9"}).state());
  ASSERT_TRUE(world.store->replay({}));
  EXPECT_EQ(run(), "Full 3.0");
  expect_site_has(disks().row({"a", "5", "9"}));
}

// Two workers with one group, as after a lease that ran out and came back: the slower one finds the site further on.
TEST_F(InventoryDelivery, AMessageTheSiteIsAlreadyBeyondIsNotSent) {
  report(disks().row({"a", "1", "9"}));
  world.next_fate(Fate::lost);
  world.report(hardware, disks().row({"a", "2", "9"}).state());
  world.carry_once();
  const auto batch = *world.store->lease(store::LaneSet::all(), 256, 32u << 20, {});
  const auto now = *static_cast<store::Baselines&>(*world.store).find(world.agent, hardware);
  ASSERT_TRUE(world.store->settle(batch->lease, {}, {{hardware, 2, 0, now->full_at, now->body}}));
  EXPECT_EQ(run(), "inventory.older");
}

TEST_F(InventoryDelivery, WhatCannotBeReadIsBuriedAndTheNextIsJudgedAsBefore) {
  report(disks().row({"a", "1", "9"}));
  world.report_bytes(hardware, "\xff\xff no");
  EXPECT_EQ(run(), "report.malformed");
  EXPECT_EQ(settled.at(0).outcome, Outcome::buried);
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "Delta 1.1") << "it was never numbered";
}

TEST_F(InventoryDelivery, HardwareAndSoftwareAreNumberedApartAndPinnedTogether) {
  world.report(hardware, disks().row({"a", "1", "9"}).state());
  world.report(software, files({{"/bin/", "a", 1}, {"/bin/", "b", 1}}));
  EXPECT_EQ(run(), "Full 1.0, Full 1.0");
  EXPECT_EQ(world.store->pins(), 1u) << "one sync for both";
  world.report(hardware, disks().row({"a", "1", "9"}).state());
  world.report(software, files({{"/bin/", "a", 2}, {"/bin/", "b", 1}}));
  EXPECT_EQ(run(), "Delta 1.1, inventory.unchanged");
  EXPECT_EQ(world.store->counter("inventory_minor"), 0u);
  EXPECT_EQ(world.store->counter("software_minor"), 1u);
  EXPECT_EQ(world.site.taken().back().endpoint, software_door);
}

TEST_F(InventoryDelivery, FilesAreAddedChangedAndDeletedByTheirPath) {
  EXPECT_EQ(report(files({{"/bin/", "a", 1}, {"/bin/", "b", 1}, {"/sbin/", "a", 1}, {"/sbin/", "d", 1}})), "Full 1.0");
  EXPECT_EQ(report(files({{"/sbin/", "a", 2}, {"/bin/", "c", 1}, {"/bin/", "a", 1}, {"/sbin/", "d", 1}})), "Delta 1.1");
  const auto& rows = world.site.classes(software_door).at("FileSystemFile");
  std::vector<std::string> names;
  for (const auto& [key, row] : rows) names.push_back(row.at("Path").at(0) + row.at("Name").at(0) + " " + row.at("Size").at(0));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"/bin/a 1", "/bin/c 1", "/sbin/a 2", "/sbin/d 1"}));
  EXPECT_EQ(resync(software), "Full 2.0");
}

class FewDeltas : public InventoryDelivery {
 protected:
  FewDeltas() : InventoryDelivery(config()) {}
  static InventoryConfig config() {
    InventoryConfig config;
    config.deltas_max = 2;
    config.full_interval = std::chrono::hours(24);
    config.churning = {"Disk.Size"};
    return config;
  }
  static InventoryBuilder card(const std::string& id) {
    auto b = disks().row({"a", "1", "9"}).row({"b", "1", "9"});
    b.table("Card", {"*ID"}).row({id});
    return b;
  }
};

TEST_F(FewDeltas, SoManyDeltasAndThenAWholeInventory) {
  std::string said;
  for (const char* id : {"a", "b", "c", "d", "e"}) said += report(card(id)) + "; ";
  EXPECT_EQ(said, "Full 1.0; Delta 1.1; Delta 1.2; Full 2.0; Delta 2.1; ");
}

TEST_F(FewDeltas, AWholeInventoryIsDueByTimeEvenWhenNothingChanged) {
  report(card("a"));
  world.clock.advance(std::chrono::hours(20));
  EXPECT_EQ(report(card("a")), "inventory.unchanged");
  world.clock.advance(std::chrono::hours(20));
  EXPECT_EQ(report(card("a")), "Full 2.0");
  EXPECT_EQ(report(card("a")), "inventory.unchanged");
}

TEST_F(FewDeltas, TheOperatorsChurningPropertiesAreNoChange) {
  report(disks().row({"a", "1", "9"}));
  EXPECT_EQ(report(disks().row({"a", "2", "9"})), "inventory.unchanged");
}

TEST(InventoryConfig, ComplainsAboutEverySetting) {
  workers::InventoryConfig config;
  config.full_interval = std::chrono::minutes(1);
  config.deltas_max = 2'000'000;
  config.churning = {"nonsense"};
  std::vector<std::string> keys;
  for (const auto& problem : config.problems()) keys.push_back(problem.key);
  EXPECT_EQ(keys, (std::vector<std::string>{"inventory.churning", "inventory.full_interval", "inventory.deltas_max"}));
}

}  // namespace
}  // namespace greengate::test
