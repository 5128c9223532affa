#include "core/config_reader.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using std::chrono::milliseconds;

TEST(ConfigReader, FillsPlainValuesWithUnits) {
  auto reader = ConfigReader::from_text("[delivery]\nurl = \"http://mp\"\npatience = \"90s\"\nbytes = \"16MiB\"\nworkers = 4\n", "t.toml");
  std::string url;
  milliseconds patience{};
  std::int64_t bytes = 0;
  std::uint32_t workers = 0;
  reader.read("delivery.url", url);
  reader.read("delivery.patience", patience);
  reader.read_bytes("delivery.bytes", bytes);
  reader.read("delivery.workers", workers);
  EXPECT_EQ(url, "http://mp");
  EXPECT_EQ(patience, milliseconds(90'000));
  EXPECT_EQ(bytes, 16 << 20);
  EXPECT_EQ(workers, 4u);
  EXPECT_TRUE(reader.problems().empty());
}

TEST(ConfigReader, ReportsEveryMistakeAtOnceWithItsLine) {
  auto reader = ConfigReader::from_text("[delivery]\nurll = \"x\"\npatience = \"fast\"\nworkers = -1\n", "t.toml");
  std::string url;
  milliseconds patience{5};
  std::uint32_t workers = 2;
  reader.read("delivery.url", url);
  reader.read("delivery.patience", patience);
  reader.read("delivery.workers", workers);
  EXPECT_EQ(reader.problems(), (std::vector<std::string>{
      "t.toml:2: delivery.urll is not a key Greengate knows; did you mean delivery.url?",
      "t.toml:3: delivery.patience is \"fast\"; it takes a time such as \"250ms\", \"30s\", \"15min\", \"4h\" or \"7d\".",
      "t.toml:4: delivery.workers is -1; it takes a whole number from 0 to 4294967295."}));
  EXPECT_EQ(patience, milliseconds(5));
  EXPECT_EQ(workers, 2u);
}

TEST(ConfigReader, GivesAStructsOwnComplaintItsLine) {
  auto reader = ConfigReader::from_text("a = 1\n[delivery]\nworkers = 0\n", "t.toml");
  std::int64_t a = 0;
  std::uint32_t workers = 1;
  reader.read("a", a);
  reader.read("delivery.workers", workers);
  reader.add({{"delivery.workers", "delivery.workers is 0; it can be 1 to 256."}});
  EXPECT_EQ(reader.problems(), (std::vector<std::string>{"t.toml:3: delivery.workers is 0; it can be 1 to 256."}));
}

TEST(ConfigReader, SaysThatAFileIsMissingOrNotToml) {
  EXPECT_EQ(ConfigReader::from_file("/nonexistent/greengate.toml").problems().size(), 1u);
  const auto problems = ConfigReader::from_text("a = = 1\n", "t.toml").problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].substr(0, 9), "t.toml:1:");
}

TEST(ConfigReader, WritesDurationsAsItReadsThem) {
  EXPECT_EQ(duration_text(milliseconds(250)), "250ms");
  EXPECT_EQ(duration_text(milliseconds(90'000)), "90s");
  EXPECT_EQ(duration_text(milliseconds(900'000)), "15min");
  EXPECT_EQ(duration_text(milliseconds(0)), "0s");
}

}  // namespace
}  // namespace greengate::test
