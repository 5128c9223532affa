// Goal: whatever a command prints becomes rows of text that a site can read.
#include "agent/scripts/result_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace greengate::test {
namespace {

using agent::fill_rows;
using testing::ElementsAre;
using Rows = std::vector<std::vector<std::string>>;

Rows rows_of(const v1::ScriptResult& result) {
  Rows rows;
  for (const v1::ScriptRow& row : result.rows()) rows.emplace_back(row.values().begin(), row.values().end());
  return rows;
}

TEST(ResultRows, LinesAreRowsOfOneColumn) {
  v1::ScriptResult result;
  EXPECT_TRUE(fill_rows(result, "one\r\n  two\n\nthree", false));
  EXPECT_THAT(result.columns(), ElementsAre("Output"));
  EXPECT_EQ(rows_of(result), (Rows{{"one"}, {"  two"}, {""}, {"three"}}));
}

TEST(ResultRows, NothingPrintedIsNoRow) {
  v1::ScriptResult result;
  EXPECT_TRUE(fill_rows(result, "", false));
  EXPECT_EQ(result.rows_size(), 0);
}

TEST(ResultRows, TableTakesItsColumnsFromTheFirstLine) {
  v1::ScriptResult result;
  EXPECT_TRUE(fill_rows(result, "Name\tVersion\nExample OS\t10.0.1\nshort\ntoo\tmany\tvalues\n", true));
  EXPECT_THAT(result.columns(), ElementsAre("Name", "Version"));
  EXPECT_EQ(rows_of(result), (Rows{{"Example OS", "10.0.1"}, {"short"}, {"too", "many"}}));
}

TEST(ResultRows, TableWithoutFitNamesIsToldAsLines) {
  std::string many = "a";
  for (int i = 0; i < 32; ++i) many += "\tc" + std::to_string(i);
  for (const std::string& header : {std::string("a\ta"), std::string("a b"), std::string("<x>"), std::string("1st"), std::string(""), many}) {
    v1::ScriptResult result;
    EXPECT_FALSE(fill_rows(result, header + "\nx", true)) << header;
    EXPECT_THAT(result.columns(), ElementsAre("Output"));
    EXPECT_EQ(result.rows_size(), 2);
  }
}

TEST(ResultRows, BinaryOutputBecomesText) {
  std::string bytes;
  for (int i = 0; i < 4'096; ++i) bytes.push_back(static_cast<char>((i * 7919) >> 3));
  v1::ScriptResult result;
  EXPECT_TRUE(fill_rows(result, bytes, false));
  v1::ScriptResult again;
  ASSERT_TRUE(again.ParseFromString(result.SerializeAsString())) << "valid UTF-8";
  for (const v1::ScriptRow& row : result.rows()) {
    for (const std::string& value : row.values())
      EXPECT_TRUE(std::none_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20; }));
  }
}

TEST(ResultRows, RowsAreBounded) {
  v1::ScriptResult result;
  EXPECT_TRUE(fill_rows(result, std::string(4'096, '\n'), false));
  EXPECT_EQ(result.rows_size(), agent::result_rows_max);
}

}  // namespace
}  // namespace greengate::test
