#include "workers/delivery_note.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace workers;

TEST(DeliveryNote, ComesBackAsItWasWritten) {
  DeliveryNote note;
  note.message_id = "{0F0E0D0C-0B0A-4908-8706-050403020100}";
  note.made_at = from_millis(1'768'472'430'123);
  note.version_major = 7;
  note.version_minor = 3;
  note.first_serial = 18'446'744'073'709'551'615ull;
  note.baseline_major = 6;
  note.baseline_minor = 99;
  const auto read = read_note(write_note(note));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->message_id, note.message_id);
  EXPECT_EQ(read->made_at, note.made_at);
  EXPECT_EQ(read->version_major, 7u);
  EXPECT_EQ(read->version_minor, 3u);
  EXPECT_EQ(read->first_serial, note.first_serial);
  EXPECT_EQ(read->baseline_major, 6u);
  EXPECT_EQ(read->baseline_minor, 99u);
}

TEST(DeliveryNote, RemembersThePolicysDateWhereThereWasOne) {
  DeliveryNote note;
  note.message_id = "{X}";
  EXPECT_EQ(read_note(write_note(note))->policy_date, std::nullopt);
  note.policy_date = from_millis(1'768'003'200'000);
  const auto read = read_note(write_note(note));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->policy_date, note.policy_date);
}

TEST(DeliveryNote, OneFromBeforeThereWereBaselinesIsRead) {
  const auto read = read_note("1 {X} 1768472430123 7 0 5");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->version_major, 7u);
  EXPECT_EQ(read->first_serial, 5u);
  EXPECT_EQ(read->baseline_major, 0u);
}

TEST(DeliveryNote, KeepsTheDateOfThePolicyItWasNumberedUnder) {
  DeliveryNote note;
  note.message_id = "{X}";
  note.made_at = from_millis(5);
  const auto undated = read_note(write_note(note));
  ASSERT_TRUE(undated);
  EXPECT_FALSE(undated->policy_date);
  note.policy_date = from_millis(1'768'000'000'000);
  const auto dated = read_note(write_note(note));
  ASSERT_TRUE(dated);
  EXPECT_EQ(dated->policy_date, note.policy_date);
}

TEST(DeliveryNote, RefusesWhatItDidNotWrite) {
  for (const char* text : {"", "1", "2 {X} 1 1 1 1", "1 {X} 1 1 1", "1 {X} 1 1 1 1 extra", "1 {X} 1 1 1 1 1", "1 {X} 1 1 1 1 1 1 1 1", "1 {X} 1 1 1 1 1 1 x", "1 {X} a 1 1 1"}) {
    const auto read = read_note(text);
    ASSERT_FALSE(read) << text;
    EXPECT_STREQ(read.error().code, "note.unreadable");
  }
}

}  // namespace
}  // namespace greengate::test
