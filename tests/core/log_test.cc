#include "core/log.h"

#include <gtest/gtest.h>

#include <string>

namespace greengate::test {
namespace {

std::string last_line;

class LogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    last_line.clear();
    set_log_sink([](std::string_view line) { last_line = line; });
  }
  void TearDown() override {
    set_log_sink(nullptr);
    set_log_level(LogLevel::info);
  }
};

TEST_F(LogTest, WritesLogfmtWithTheComponentFirst) {
  Log("courier").warn("post postponed", kv("reports", 40), kv("code", "http.status"), kv("retry_in_ms", std::chrono::milliseconds(4000)));
  EXPECT_EQ(last_line, "level=warn component=courier event=\"post postponed\" reports=40 code=http.status retry_in_ms=4000");
}

TEST_F(LogTest, NeverLetsAPeersTextStartASecondLine) {
  Log("ingest").warn("frame refused", kv("why", "bad\nlevel=error \"x\""));
  EXPECT_EQ(last_line, "level=warn component=ingest event=\"frame refused\" why=\"bad\\x0alevel=error \\\"x\\\"\"");
}

TEST_F(LogTest, IsSilentBelowItsLevel) {
  set_log_level(LogLevel::warn);
  Log("ingest").info("hello");
  EXPECT_EQ(last_line, "");
}

TEST_F(LogTest, KnowsItsLevelsByName) {
  LogLevel level = LogLevel::info;
  EXPECT_TRUE(parse_log_level("debug", level));
  EXPECT_EQ(level, LogLevel::debug);
  EXPECT_FALSE(parse_log_level("loud", level));
}

}  // namespace
}  // namespace greengate::test
