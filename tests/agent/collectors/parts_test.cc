#include "agent/collectors/helper_process.h"
#include "agent/collectors/limits.h"
#include "agent/collectors/machine.h"
#include "agent/collectors/table.h"
#include "agent/collectors/text.h"

#include <gtest/gtest.h>

#include <chrono>

namespace greengate::test {
namespace {

using namespace agent;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(CleanText, KeepsWhatIsFineAndReplacesTheRest) {
  EXPECT_EQ(clean_text("  plain \n", 255), "plain");
  EXPECT_EQ(clean_text("Gerät №1 \xF0\x9F\x96\xA5", 255), "Gerät №1 \xF0\x9F\x96\xA5");
  EXPECT_EQ(clean_text("a\x1b[2J\tb", 255), "a [2J b");
  EXPECT_EQ(clean_text("a\xFF"
                       "b",
                       255),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(clean_text("\xED\xA0\x80", 255),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");                   // a surrogate
  EXPECT_EQ(clean_text("\xC0\xAF", 255), "\xEF\xBF\xBD\xEF\xBF\xBD");  // "/" in too long a form
  EXPECT_EQ(clean_text("a\xE2\x80\xAEgnp", 255), "a gnp");             // right-to-left override
  EXPECT_EQ(clean_text("\xEF\xBF\xBE", 255), "\xEF\xBF\xBD");          // U+FFFE is not in XML
  EXPECT_EQ(clean_text("\xE2\x82", 255), "\xEF\xBF\xBD\xEF\xBF\xBD");  // cut short
}

TEST(CleanText, CutsBetweenCharacters) {
  EXPECT_EQ(clean_text("ééé", 5), "éé");
  EXPECT_EQ(clean_text(std::string(1'000, 'x'), limits::text_bytes).size(), limits::text_bytes);
}

TEST(Numbers, AreAllOrNothing) {
  EXPECT_EQ(to_number(" 42\n"), 42u);
  EXPECT_EQ(to_number("18446744073709551616"), std::nullopt);
  EXPECT_EQ(to_number("-1"), std::nullopt);
  EXPECT_EQ(to_number("12x"), std::nullopt);
  EXPECT_EQ(to_number(""), std::nullopt);
  EXPECT_EQ(to_signed("-5"), -5);
  EXPECT_EQ(to_number_hex("0x1F"), 31u);
}

TEST(Assignment, TakesQuotesOff) {
  EXPECT_EQ(assignment("NAME=\"Debian \\\"12\\\"\"", "NAME"), "Debian \"12\"");
  EXPECT_EQ(assignment("NAME='a'", "NAME"), "a");
  EXPECT_EQ(assignment("NAMES=a", "NAME"), std::nullopt);
}

TEST(Dates, AreOfTheCalendar) {
  EXPECT_EQ(utc_ms(2026, 1, 15, 10, 20, 30), 1'768'472'430'000);
  EXPECT_EQ(utc_ms(2026, 2, 30), std::nullopt);
  EXPECT_EQ(utc_date(1'740'816'000'000), "20250301");
}

TEST(LineCutter, CutsLongLinesAndGoesOn) {
  std::vector<std::string> lines;
  LineCutter cutter;
  const auto take = [&](std::string_view line) {
    lines.emplace_back(line);
    return true;
  };
  const std::string long_line(3 * limits::line_bytes, 'x');
  for (std::size_t i = 0; i < long_line.size(); i += 1'000)
    cutter.feed(std::string_view(long_line).substr(i, 1'000), take);
  cutter.feed("\nsecond\nthi", take);
  cutter.feed("rd", take);
  cutter.finish(take);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].size(), limits::line_bytes);
  EXPECT_EQ(lines[1], "second");
  EXPECT_EQ(lines[2], "third");
}

TEST(Program, IsReadToItsEnd) {
  std::string output;
  const Ran ran = run_program({"/nowhere/printf", "/usr/bin/printf"}, {"one\\ntwo\\n"}, seconds(10),
                              [&](std::string_view piece) {
                                output += piece;
                                return true;
                              });
  EXPECT_EQ(ran, Ran::well);
  EXPECT_EQ(output, "one\ntwo\n");
}

TEST(Program, GetsOurEnvironmentAndNoOther) {
  setenv("GREENGATE_SECRET", "not-to-be-seen", 1);
  std::string output;
  ASSERT_EQ(run_program({"/usr/bin/env"}, {}, seconds(10),
                        [&](std::string_view piece) { return output += piece, true; }),
            Ran::well);
  EXPECT_EQ(output.find("not-to-be-seen"), std::string::npos);
  EXPECT_NE(output.find("LC_ALL=C"), std::string::npos);
}

TEST(Program, ThatIsNotThereIsAbsent) {
  EXPECT_EQ(run_program({"/nowhere/rpm"}, {}, seconds(1), [](std::string_view) { return true; }),
            Ran::absent);
}

TEST(Program, ThatFailsHasFailed) {
  EXPECT_EQ(run_program({"/usr/bin/false", "/bin/false"}, {}, seconds(10),
                        [](std::string_view) { return true; }),
            Ran::failed);
}

TEST(Program, ThatHangsIsStoppedAtItsDeadline) {
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(run_program({"/usr/bin/sleep", "/bin/sleep"}, {"600"}, milliseconds(100),
                        [](std::string_view) { return true; }),
            Ran::failed);
  EXPECT_LT(std::chrono::steady_clock::now() - started, seconds(20));
}

TEST(Program, ThatNeverStopsPrintingIsStoppedAtItsBound) {
  std::uint64_t bytes = 0;
  EXPECT_EQ(run_program({"/usr/bin/yes"}, {}, seconds(60),
                        [&](std::string_view piece) {
                          bytes += piece.size();
                          return true;
                        }),
            Ran::failed);
  EXPECT_LE(bytes, limits::command_bytes);
}

TEST(FreeSpace, IsAnsweredForWhatIsThere) {
  const auto space = look_at_space({"/", "/nowhere/at/all", "/proc"}, seconds(10));
  ASSERT_EQ(space.size(), 3u);
  ASSERT_TRUE(space[0]);
  EXPECT_GT(space[0]->blocks, 0u);
  EXPECT_FALSE(space[1]);
  EXPECT_TRUE(space[2]);
}

TEST(Row, SetsOnlyWhatIsKnown) {
  v1::HardwareInventory inventory;
  Table table(inventory, "Win32_Test", cimv2, 1, {"Name", "Size", "When", "Tags"});
  Row row = *table.add(2);
  row.text("Name", " \n").number("Size", std::nullopt).list("Tags", {"", " "});
  EXPECT_EQ(inventory.classes(0).instances(0).values_size(), 0);
  row.number("Size", 5);
  EXPECT_EQ(inventory.classes(0).instances(0).values_size(), 2);
  EXPECT_EQ(inventory.classes(0).instances(0).values(0).kind_case(), v1::Value::KIND_NOT_SET);
  EXPECT_TRUE(table.add(2));
  EXPECT_FALSE(table.add(2)) << "the class is at its bound";
}

TEST(RowDeathTest, KnowsOnlyDeclaredProperties) {
  v1::HardwareInventory inventory;
  Table table(inventory, "Win32_Test", cimv2, 1, {"Name"});
  Row row = *table.add(1);
  EXPECT_DEATH(row.text("Nmae", "typo"), "believed");
}

TEST(Instances, WithoutAKeyOrWithAnothersAreDropped) {
  v1::HardwareInventory inventory;
  Table table(inventory, "Win32_Test", cimv2, 1, {"Name", "Size"});
  table.add(9)->text("Name", "a").number("Size", 1);
  table.add(9)->number("Size", 2);
  table.add(9)->text("Name", "a").number("Size", 3);
  table.add(9)->text("Name", "b").number("Size", 4);
  keep_named_once(*inventory.mutable_classes(0));
  ASSERT_EQ(inventory.classes(0).instances_size(), 2);
  EXPECT_EQ(inventory.classes(0).instances(0).values(1).unsigned_integer(), 1u);
  EXPECT_EQ(inventory.classes(0).instances(1).values(1).unsigned_integer(), 4u);
}

TEST(Addresses, KnowTheirNetwork) {
  InterfaceAddress v4{.interface = "eth0", .address = "192.0.2.77", .prefix_length = 26};
  ASSERT_TRUE(complete_address(v4));
  EXPECT_EQ(v4.subnet, "192.0.2.64");
  EXPECT_TRUE(v4.global);
  InterfaceAddress v6{.interface = "eth0", .address = "2001:db8::1:2", .prefix_length = 64};
  ASSERT_TRUE(complete_address(v6));
  EXPECT_EQ(v6.subnet, "2001:db8::");
  InterfaceAddress local{.interface = "eth0", .address = "fe80::1", .prefix_length = 64};
  ASSERT_TRUE(complete_address(local));
  EXPECT_FALSE(local.global);
  InterfaceAddress nonsense{.interface = "eth0", .address = "192.0.2.1", .prefix_length = 33};
  EXPECT_FALSE(complete_address(nonsense));
}

TEST(Addresses, OfThisMachineIncludeItself) {
  bool loopback = false;
  for (const InterfaceAddress& address : kernel_addresses())
    loopback = loopback || address.address == "127.0.0.1";
  EXPECT_TRUE(loopback);
}

}  // namespace
}  // namespace greengate::test
