// Goal: the audit grows by whole lines, keeps no value, and is never silently lost.
#include "agent/scripts/audit.h"

#include "tests/agent/scripts/support.h"
#include "tests/support/manual_clock.h"

namespace greengate::test {
namespace {

using agent::Audit;
using agent::AuditRecord;

AuditRecord record() {
  AuditRecord made;
  made.event = "ended";
  made.notification = 18'446'744'073'709'551'615u;
  made.site_task = task_guid;
  made.script_guid = guid;
  made.script_hash = hash;
  made.name = "example";
  made.user = "nobody";
  made.parameters = {"Path", "a\"b\n{c}"};
  made.exit = 0;
  made.took_ms = 12;
  made.output_bytes = 34;
  return made;
}

class AuditTest : public testing::Test {
 protected:
  Scratch scratch_;
  ManualClock clock_;
  const std::string file_ = scratch_.file("audit");

  std::vector<std::string> lines() const {
    std::ifstream in(file_);
    std::vector<std::string> all;
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
  }
};

TEST_F(AuditTest, LineIsOneObjectWithEverythingButValues) {
  ASSERT_TRUE(Audit(file_, 1 << 20, clock_).write(record()));
  ASSERT_EQ(lines().size(), 1u);
  const std::string line = lines()[0];
  for (const std::string& part :
       {std::string("\"event\":\"ended\""), std::string("\"notification\":\"18446744073709551615\""), "\"script_guid\":\"" + std::string(guid) + "\"",
        "\"script_hash\":\"" + std::string(hash) + "\"", std::string("\"user\":\"nobody\""), std::string("\"parameters\":[\"Path\",\"a\\\"b {c}\"]"),
        std::string("\"exit\":0"), std::string("\"took_ms\":12"), std::string("\"output_bytes\":34")})
    EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
  EXPECT_EQ(line.find("signal"), std::string::npos);
}

TEST_F(AuditTest, FileIsOnlyItsOwnersAndGrows) {
  Audit audit(file_, 1 << 20, clock_);
  ASSERT_TRUE(audit.write(record()));
  const std::string first = lines()[0];
  ASSERT_TRUE(Audit(file_, 1 << 20, clock_).write(record()));
  ASSERT_EQ(lines().size(), 2u);
  EXPECT_EQ(lines()[0], first);
  struct stat at {};
  ASSERT_EQ(stat(file_.c_str(), &at), 0);
  EXPECT_EQ(at.st_mode & 0777, 0600u);
}

TEST_F(AuditTest, FileAtItsBoundIsPutAsideWhole) {
  Audit audit(file_, 1'000, clock_);
  while (!std::filesystem::exists(file_ + ".1")) ASSERT_TRUE(audit.write(record()));
  EXPECT_EQ(lines().size(), 1u);
  EXPECT_GE(std::filesystem::file_size(file_ + ".1"), 1'000u);
}

TEST_F(AuditTest, WhatCannotBeWrittenIsAnError) {
  const auto code = [&](const std::string& file) {
    const auto written = Audit(file, 1 << 20, clock_).write(record());
    return written ? "" : written.error().code;
  };
  EXPECT_STREQ(code(scratch_.file("no/such/folder")), "task.script_audit");
  EXPECT_STREQ(code("/dev/full"), "task.script_audit");
  std::filesystem::create_symlink(scratch_.file("elsewhere"), scratch_.file("link"));
  EXPECT_STREQ(code(scratch_.file("link")), "task.script_audit");
  EXPECT_FALSE(std::filesystem::exists(scratch_.file("elsewhere")));
}

}  // namespace
}  // namespace greengate::test
