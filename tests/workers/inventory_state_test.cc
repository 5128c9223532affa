#include "workers/inventory_state.h"

#include "tests/workers/inventory_builder.h"

#include <google/protobuf/arena.h>
#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace workers;

std::vector<std::string> first_values(const v1::InventoryClass& one) {
  std::vector<std::string> texts;
  for (const auto& row : one.instances()) texts.push_back(row.values_size() ? row.values(0).text() : "");
  return texts;
}

TEST(InventoryState, OfInstancesWithTheSameKeysTheFirstStays) {
  InventoryBuilder b;
  b.table("Disk", {"*ID", "Size"}).row({"a", "1"}).row({"b", "2"}).row({"a", "3"});
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(b.body(), arena);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(first_values(parsed->state->classes(0)), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(parsed->state->classes(0).instances(0).values(1).text(), "1");
  EXPECT_EQ(parsed->dropped, 1u);
  EXPECT_FALSE(parsed->as_it_came);
}

// The site reads text: a number and its digits are one key there, and so are texts that differ in what XML cannot hold.
TEST(InventoryState, KeysAreTheSameWhenTheSiteReadsThemTheSame) {
  v1::HardwareInventory state;
  v1::InventoryClass& one = *state.add_classes();
  one.set_name("Disk");
  one.add_properties("ID");
  one.add_key_properties(0);
  one.add_instances()->add_values()->set_text("7");
  one.add_instances()->add_values()->set_unsigned_integer(7);
  one.add_instances()->add_values()->set_integer(7);
  one.add_instances()->add_values()->set_text("7\x01");
  one.add_instances()->add_values()->set_boolean(true);
  one.add_instances()->add_values()->set_text("1");
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(state.SerializeAsString(), arena);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->state->classes(0).instances_size(), 2);
  EXPECT_EQ(parsed->dropped, 4u);
}

TEST(InventoryState, AnInstanceThatLacksAKeyIsLeftOut) {
  InventoryBuilder b;
  b.table("Disk", {"*ID", "*Bus", "Size"}).row({"a", "0", "1"}).row({"-", "0", "2"}).row({"b"});
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(b.body(), arena);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(first_values(parsed->state->classes(0)), (std::vector<std::string>{"a"}));
  EXPECT_EQ(parsed->dropped, 2u);
}

TEST(InventoryState, KeysOfTwoPartsAreNotConfusedByWhereOneEnds) {
  InventoryBuilder b;
  b.table("Disk", {"*A", "*B"}).row({"ab", "c"}).row({"a", "bc"});
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(b.body(), arena);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->dropped, 0u);
  EXPECT_TRUE(parsed->as_it_came);
}

TEST(InventoryState, TablesOfOneClassAndShapeAreJoined) {
  InventoryBuilder b;
  b.table("Disk", {"*ID"}).row({"a"}).table("Other", {"*ID"}).row({"x"}).table("Disk", {"*ID"}).row({"b"}).row({"a"});
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(b.body(), arena);
  ASSERT_TRUE(parsed);
  ASSERT_EQ(parsed->state->classes_size(), 2);
  EXPECT_EQ(first_values(parsed->state->classes(0)), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(parsed->as_it_came);
}

TEST(InventoryState, OneClassInTwoShapesIsRefused) {
  InventoryBuilder b;
  b.table("Disk", {"*ID"}).row({"a"}).table("Disk", {"*ID", "Size"}).row({"b", "1"});
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(b.body(), arena);
  ASSERT_FALSE(parsed);
  EXPECT_STREQ(parsed.error().code, "inventory.class_conflict");
}

TEST(InventoryState, ShapesThatCannotBeAreRefused) {
  const auto code_of = [](auto&& change) {
    InventoryBuilder b;
    b.table("Disk", {"*ID", "~Free"}).row({"a", "1"});
    v1::HardwareInventory state = b.state();
    change(*state.mutable_classes(0));
    google::protobuf::Arena arena;
    const auto parsed = parse_hardware(state.SerializeAsString(), arena);
    return std::string(parsed ? "" : parsed.error().code);
  };
  EXPECT_EQ(code_of([](v1::InventoryClass&) {}), "");
  EXPECT_EQ(code_of([](v1::InventoryClass& one) { one.add_key_properties(2); }), "inventory.shape");
  EXPECT_EQ(code_of([](v1::InventoryClass& one) { one.add_churning_properties(9); }), "inventory.shape");
  EXPECT_EQ(code_of([](v1::InventoryClass& one) { one.add_properties("ID"); }), "inventory.shape");
  EXPECT_EQ(code_of([](v1::InventoryClass& one) { one.mutable_instances(0)->add_values(); }), "inventory.shape");
  EXPECT_EQ(code_of([](v1::InventoryClass& one) {
              for (int i = 0; i < inventory_columns_max; ++i) one.add_properties("P" + std::to_string(i));
            }),
            "inventory.shape");
}

TEST(InventoryState, WhatIsNotProtobufIsMalformed) {
  google::protobuf::Arena arena;
  const auto hardware = parse_hardware("\xff\xff no", arena);
  const auto software = parse_software("\xff\xff no", arena);
  ASSERT_FALSE(hardware || software);
  EXPECT_STREQ(hardware.error().code, "report.malformed");
  EXPECT_STREQ(software.error().code, "report.malformed");
}

TEST(InventoryState, MoreClassesThanTheBoundAreRefused) {
  v1::HardwareInventory state;
  for (int i = 0; i <= inventory_classes_max; ++i) state.add_classes()->set_name("C" + std::to_string(i));
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(state.SerializeAsString(), arena);
  ASSERT_FALSE(parsed);
  EXPECT_STREQ(parsed.error().code, "inventory.too_large");
}

// An empty instance takes two bytes on the wire and twenty times as many in memory.
TEST(InventoryState, ABodyOfNothingButInstancesIsRefusedBeforeAnyIsMade) {
  const std::size_t instances = inventory_parts_max + 1;
  std::string table;
  for (std::size_t i = 0; i < instances; ++i) table += std::string("\x2a\x00", 2);  // field 5, no bytes
  std::string body = "\x12";                                                       // field 2
  for (std::size_t left = table.size(); ; left >>= 7) {
    body.push_back(static_cast<char>((left & 0x7f) | (left > 0x7f ? 0x80 : 0)));
    if (left <= 0x7f) break;
  }
  body += table;
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(body, arena);
  ASSERT_FALSE(parsed);
  EXPECT_STREQ(parsed.error().code, "inventory.too_large");
  EXPECT_LT(arena.SpaceAllocated(), 64u << 10);
}

TEST(InventoryState, ALargeSoundInventoryIsRead) {
  InventoryBuilder b;
  b.table("Package", {"*ID", "Version"});
  for (int i = 0; i < 40'000; ++i) b.row({"package-number-" + std::to_string(i), "1.0"});
  const std::string body = b.body();
  ASSERT_GT(body.size(), 1u << 20) << "large enough to be counted";
  google::protobuf::Arena arena;
  const auto parsed = parse_hardware(body, arena);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(rows_of(*parsed->state), 40'000u);
}

TEST(InventoryState, AFileIsNamedByItsFolderAndName) {
  const auto state = files({{"/usr/bin/", "a", 1}, {"/bin/", "a", 2}, {"/usr/bin/", "a", 3}, {"", "b", 4}, {"/usr/bin/", "", 5}, {"/usr/bin/", "..", 6}});
  google::protobuf::Arena arena;
  const auto parsed = parse_software(state.SerializeAsString(), arena);
  ASSERT_TRUE(parsed);
  ASSERT_EQ(parsed->state->files_size(), 2);
  EXPECT_EQ(parsed->state->files(0).size(), 1u);
  EXPECT_EQ(parsed->state->files(1).size(), 2u);
  EXPECT_EQ(parsed->dropped, 4u) << "one that is there already, two without a name, one that no file can have";
}

TEST(InventoryState, ValuesAreTheSameWhenTheSiteReadsThemTheSame) {
  v1::Value none, empty_list, text, number, wide, flag, list, moment;
  empty_list.mutable_list();
  text.set_text("1");
  number.set_integer(1);
  wide.set_unsigned_integer(1);
  flag.set_boolean(true);
  list.mutable_list()->add_items("1");
  moment.set_time_ms(1'768'469'400'000);
  EXPECT_TRUE(same_value(none, empty_list));
  for (const v1::Value* each : {&number, &wide, &flag, &list}) {
    EXPECT_TRUE(same_value(text, *each)) << each->DebugString();
    EXPECT_TRUE(same_value(*each, text)) << each->DebugString();
  }
  EXPECT_FALSE(same_value(text, none));
  EXPECT_FALSE(same_value(text, moment));
  v1::Value two, joined;
  two.mutable_list()->add_items("1");
  two.mutable_list()->add_items("2");
  joined.mutable_list()->add_items("12");
  EXPECT_FALSE(same_value(two, joined));
  EXPECT_FALSE(same_value(list, two));
  v1::Value never;
  never.set_time_ms(std::numeric_limits<std::int64_t>::max());
  EXPECT_TRUE(same_value(never, none)) << "a time no calendar has is left out";
}

}  // namespace
}  // namespace greengate::test
