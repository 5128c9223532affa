#include "workers/delivery_note.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>

namespace greengate::test {
namespace {

using namespace workers;

TEST(DeliveryNote, ComesBackAsItWasWritten) {
  DeliveryNote note;
  note.message_id = new_message_id();
  note.made_at = from_millis(1'768'472'430'123);
  note.version_major = 7;
  note.version_minor = 3;
  note.first_serial = 18'446'744'073'709'551'615ull;
  const auto read = read_note(write_note(note));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->message_id, note.message_id);
  EXPECT_EQ(read->made_at, note.made_at);
  EXPECT_EQ(read->version_major, 7u);
  EXPECT_EQ(read->version_minor, 3u);
  EXPECT_EQ(read->first_serial, note.first_serial);
}

TEST(DeliveryNote, RefusesWhatItDidNotWrite) {
  for (const char* text : {"", "1", "2 {X} 1 1 1 1", "1 {X} 1 1 1", "1 {X} 1 1 1 1 extra", "1 {X} a 1 1 1"}) {
    const auto read = read_note(text);
    ASSERT_FALSE(read) << text;
    EXPECT_STREQ(read.error().code, "note.unreadable");
  }
}

TEST(DeliveryNote, MessageIdsAreBracedUpperCaseGuidsAndNeverTheSame) {
  const std::regex form("\\{[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}\\}");
  std::set<std::string> seen;
  for (int i = 0; i < 1'000; ++i) {
    const std::string id = new_message_id();
    EXPECT_TRUE(std::regex_match(id, form)) << id;
    EXPECT_TRUE(seen.insert(id).second);
  }
}

}  // namespace
}  // namespace greengate::test
