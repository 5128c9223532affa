#include "workers/inventory_delta.h"

#include "workers/inventory_state.h"
#include "tests/workers/inventory_builder.h"

#include <google/protobuf/arena.h>
#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace workers;

// Both states in one arena, as the comparison finds them.
struct Pair {
  explicit Pair(const InventoryBuilder& before, const InventoryBuilder& after)
      : was(*parse_hardware(before.body(), arena)->state), is(*parse_hardware(after.body(), arena)->state) {}
  google::protobuf::Arena arena;
  v1::HardwareInventory& was;
  v1::HardwareInventory& is;
};

// "Disk: -b ~a +c", class by class.
std::string told(const HardwareChanges& changes) {
  if (!changes.can_be_told) return "cannot be told";
  std::string text;
  for (const ClassChanges& one : changes.classes) {
    text += (text.empty() ? "" : "; ") + one.is->name() + ":";
    for (const auto* row : one.deleted) text += " -" + value_at(*row, 0).text();
    for (const auto* row : one.updated) text += " ~" + value_at(*row, 0).text();
    for (const auto* row : one.added) text += " +" + value_at(*row, 0).text();
  }
  return text;
}
std::string told(const InventoryBuilder& before, const InventoryBuilder& after, const Churn& churn = {}) {
  Pair pair(before, after);
  return told(compare(pair.was, pair.is, churn));
}

InventoryBuilder disks() {
  InventoryBuilder b;
  b.table("Disk", {"*ID", "Size", "~Free"});
  return b;
}

TEST(InventoryDelta, TellsWhatIsNewChangedAndGoneByKey) {
  EXPECT_EQ(told(disks().row({"a", "1", "9"}).row({"b", "2", "9"}), disks().row({"c", "3", "9"}).row({"a", "5", "9"})), "Disk: -b ~a +c");
}

TEST(InventoryDelta, TellsNothingWhenNothingChanged) {
  EXPECT_EQ(told(disks().row({"a", "1", "9"}).row({"b", "2", "9"}), disks().row({"b", "2", "9"}).row({"a", "1", "9"})), "")
      << "the order of instances says nothing";
}

TEST(InventoryDelta, AChurningValueAloneIsNoChangeButTravelsWithOne) {
  EXPECT_EQ(told(disks().row({"a", "1", "9"}), disks().row({"a", "1", "4"})), "");
  Pair pair(disks().row({"a", "1", "9"}), disks().row({"a", "2", "4"}));
  const auto changes = compare(pair.was, pair.is, {});
  ASSERT_EQ(changes.rows, 1u);
  EXPECT_EQ(changes.classes[0].updated[0]->values(2).text(), "4");
}

TEST(InventoryDelta, TheGatewaysListOfChurningPropertiesAddsToTheAgents) {
  const auto before = disks().row({"a", "1", "9"}), after = disks().row({"a", "2", "4"});
  EXPECT_EQ(told(before, after, Churn({"Disk.Size"})), "");
  EXPECT_EQ(told(before, after, Churn({"Disk.Other", "Other.Size"})), "Disk: ~a");
}

TEST(InventoryDelta, AKeyNeverChurns) {
  EXPECT_EQ(told(disks().row({"a", "1", "9"}), disks().row({"b", "1", "9"}), Churn({"Disk.ID"})), "Disk: -a +b");
}

TEST(InventoryDelta, AClassThatIsAbsentIsNotSpokenOf) {
  InventoryBuilder before;
  before.table("Disk", {"*ID"}).row({"a"}).table("Card", {"*ID"}).row({"x"});
  InventoryBuilder after;
  after.table("Card", {"*ID"}).row({"y"});
  EXPECT_EQ(told(before, after), "Card: -x +y");
}

TEST(InventoryDelta, AClassThatIsThereWithoutInstancesLostThemAll) {
  EXPECT_EQ(told(disks().row({"a"}).row({"b"}), disks()), "Disk: -a -b");
}

TEST(InventoryDelta, ANewClassIsAllNew) {
  InventoryBuilder nothing;
  EXPECT_EQ(told(nothing, disks().row({"a"})), "Disk: +a");
  EXPECT_EQ(told(nothing, disks()), "") << "a new class without instances adds nothing";
}

TEST(InventoryDelta, PropertiesAreComparedByNameNotByPlace) {
  InventoryBuilder before;
  before.table("Disk", {"Size", "*ID", "*Bus"}).row({"1", "a", "0"});
  InventoryBuilder after;
  after.table("Disk", {"*Bus", "*ID", "New", "Size"}).row({"0", "a", "-", "1"});
  EXPECT_EQ(told(before, after), "");
}

TEST(InventoryDelta, APropertyThatCameOrWentCountsWhereItHasAValue) {
  InventoryBuilder small, wide;
  small.table("Disk", {"*ID"}).row({"a"}).row({"b"});
  wide.table("Disk", {"*ID", "~Free"}).row({"a", "9"}).row({"b"});
  EXPECT_EQ(told(small, wide), "Disk: ~a");
  EXPECT_EQ(told(wide, small), "Disk: ~a");
}

TEST(InventoryDelta, OtherKeysOrAnotherNamespaceCannotBeTold) {
  InventoryBuilder other_keys;
  other_keys.table("Disk", {"*ID", "*Size", "~Free"}).row({"a", "1", "9"});
  EXPECT_EQ(told(disks().row({"a", "1", "9"}), other_keys), "cannot be told");
  Pair pair(disks().row({"a"}), disks().row({"a"}));
  pair.is.mutable_classes(0)->set_name_space("root\\other");
  EXPECT_EQ(told(compare(pair.was, pair.is, {})), "cannot be told");
}

TEST(InventoryDelta, OneInstanceWithoutKeysIsToldAndRetold) {
  const auto one = [](std::initializer_list<std::string> values) {
    InventoryBuilder b;
    b.table("System", {"Name", "~Load"});
    if (values.size() != 0) b.row(values);
    return b;
  };
  EXPECT_EQ(told(one({}), one({"s", "1"})), "System: +s");
  EXPECT_EQ(told(one({"s", "1"}), one({"t", "1"})), "System: ~t");
  EXPECT_EQ(told(one({"s", "1"}), one({"s", "2"})), "");
  EXPECT_EQ(told(one({"s", "1"}), one({})), "cannot be told") << "nothing names what is to go";
}

TEST(InventoryDelta, SeveralInstancesWithoutKeysCanOnlyBeTheSame) {
  const auto several = [](std::initializer_list<std::initializer_list<std::string>> rows) {
    InventoryBuilder b;
    b.table("Line", {"Text", "~Age"});
    for (const auto& row : rows) b.row(row);
    return b;
  };
  EXPECT_EQ(told(several({{"x", "1"}, {"y", "2"}}), several({{"y", "1"}, {"x", "3"}})), "") << "in another order, churned";
  EXPECT_EQ(told(several({{"x", "1"}, {"y", "2"}}), several({{"x", "1"}, {"z", "2"}})), "cannot be told");
  EXPECT_EQ(told(several({{"x", "1"}, {"x", "1"}}), several({{"x", "1"}})), "cannot be told");
}

TEST(InventoryDelta, WhatIsNotSpokenOfStays) {
  InventoryBuilder before;
  before.table("Disk", {"*ID"}).row({"a"}).table("Card", {"*ID"}).row({"x"});
  Pair pair(before, disks().row({"b"}));
  EXPECT_EQ(keep_unspoken(pair.was, pair.is), 1u);
  ASSERT_EQ(pair.is.classes_size(), 2);
  EXPECT_EQ(pair.is.classes(1).name(), "Card");
  EXPECT_EQ(pair.is.classes(1).instances(0).values(0).text(), "x");
}

TEST(InventoryDelta, ChurnedValuesThatWereNotSentStayAsTheSiteHasThem) {
  InventoryBuilder before;
  before.table("Disk", {"Free", "*ID", "Size"}).row({"9", "a", "1"}).row({"9", "b", "1"}).row({"-", "c", "1"});
  Pair pair(before, disks().row({"a", "1", "4"}).row({"b", "2", "4"}).row({"c", "1", "4"}).row({"d", "1", "4"}));
  EXPECT_EQ(keep_unsent(pair.was, pair.is, {}), 2u);
  const auto& rows = pair.is.classes(0).instances();
  EXPECT_EQ(rows[0].values(2).text(), "9");
  EXPECT_EQ(rows[1].values(2).text(), "4") << "sent, as its size changed";
  EXPECT_TRUE(is_absent(rows[2].values(2)));
  EXPECT_EQ(rows[3].values(2).text(), "4") << "sent, as it is new";
}

TEST(InventoryDelta, ClassesWithoutEndDoNotFitTogether) {
  InventoryBuilder many, other;
  for (int i = 0; i < 600; ++i) many.table("A" + std::to_string(i), {"*ID"}).row({"x"});
  for (int i = 0; i < 600; ++i) other.table("B" + std::to_string(i), {"*ID"}).row({"x"});
  Pair pair(many, other), same(many, many);
  EXPECT_FALSE(fits_together(pair.was, pair.is));
  EXPECT_TRUE(fits_together(same.was, same.is));
}

TEST(InventoryDelta, FilesAreComparedByFolderAndName) {
  const auto before = files({{"/bin/", "a", 1}, {"/bin/", "b", 2}, {"/bin/", "c", 3}});
  const auto after = files({{"/bin/", "d", 4}, {"/bin/", "c", 3}, {"/bin/", "a", 5}});
  const SoftwareChanges changes = compare(before, after, Churn());
  ASSERT_EQ(changes.rows, 3u);
  EXPECT_EQ(changes.deleted.at(0)->name(), "b");
  EXPECT_EQ(changes.updated.at(0)->name(), "a");
  EXPECT_EQ(changes.added.at(0)->name(), "d");
}

// Every field of a file that the site reads makes a change.
TEST(InventoryDelta, EveryFieldOfAFileCounts) {
  const auto changed = [](auto&& change) {
    const auto before = files({{"/bin/", "a", 1}});
    auto after = before;
    change(*after.mutable_files(0));
    return compare(before, after, Churn()).updated.size();
  };
  EXPECT_EQ(changed([](v1::SoftwareFile&) {}), 0u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_size(2); }), 1u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_modified_ms(2); }), 1u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_company_name("x"); }), 1u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_product_name("x"); }), 1u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_product_version("x"); }), 1u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_product_language("x"); }), 1u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_file_version("x"); }), 1u);
  EXPECT_EQ(changed([](v1::SoftwareFile& file) { file.set_file_description("x"); }), 1u);
}

TEST(InventoryDelta, ComplainsAboutChurningPropertiesThatAreNone) {
  EXPECT_TRUE(churn_problems("inventory.churning", {"Disk.Free"}).empty());
  EXPECT_EQ(churn_problems("inventory.churning", {"Disk", "Disk.", ".Free", "Disk.Free.Space", "a b.c"}).size(), 5u);
}

}  // namespace
}  // namespace greengate::test
