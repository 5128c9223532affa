// Goal: nothing of a growing file is read twice or missed, whatever is done to it. Method: real files, moved and cut.
#include "agent/watchers/tail.h"
#include "tests/agent/scratch.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

namespace greengate::agent {
namespace {

using test::Scratch;

class TailTest : public ::testing::Test {
 protected:
  void append(const std::string& text, const std::string& name = "log") { std::ofstream(scratch_.file(name), std::ios::app) << text; }
  void move(const std::string& from, const std::string& to) { std::filesystem::rename(scratch_.file(from), scratch_.file(to)); }
  /// Everything there is from `position_` on.
  std::string read(bool* gap = nullptr) {
    std::string all;
    for (int pieces = 0; pieces < 100; ++pieces) {
      const auto piece = tail_.next(position_, 5);
      if (!piece) return all;
      if (gap) *gap = *gap || piece->gap;
      all += piece->bytes;
      position_ = Tail::after(*piece, piece->bytes.size());
      position_ = *TailPosition::from_text(position_.text());
    }
    ADD_FAILURE() << "never ends";
    return all;
  }
  Scratch scratch_;
  Tail tail_{scratch_.file("log")};
  TailPosition position_;
};

TEST_F(TailTest, ReadsWhatIsAppendedInPieces) {
  append("one two three");
  position_ = tail_.end();
  EXPECT_EQ(read(), "");
  append(" four five");
  EXPECT_EQ(read(), " four five");
  EXPECT_EQ(read(), "");
}

TEST_F(TailTest, AFileThatAppearsLaterIsAllNew) {
  position_ = tail_.end();
  EXPECT_EQ(read(), "");
  append("all of it");
  EXPECT_EQ(read(), "all of it");
}

TEST_F(TailTest, FollowsARotationByName) {
  append("old start ");
  position_ = tail_.end();
  append("old rest ");
  move("log", "log.1");
  append("new");
  bool gap = false;
  EXPECT_EQ(read(&gap), "old rest new");
  EXPECT_FALSE(gap);
}

TEST_F(TailTest, FollowsARotationByCopying) {
  append("old start ");
  position_ = tail_.end();
  append("old rest ");
  std::filesystem::copy_file(scratch_.file("log"), scratch_.file("log.1"));
  std::ofstream(scratch_.file("log"), std::ios::trunc) << "new";
  bool gap = false;
  EXPECT_EQ(read(&gap), "old rest new");
  EXPECT_FALSE(gap);
}

TEST_F(TailTest, AnEmptyNewFileDoesNotHoldUpTheNextRotation) {
  append("old");
  position_ = tail_.end();
  move("log", "log.1");
  append("");
  EXPECT_EQ(read(), "");
  std::filesystem::remove(scratch_.file("log.1"));
  append("first words of the new one");
  bool gap = false;
  EXPECT_EQ(read(&gap), "first words of the new one");
  EXPECT_FALSE(gap);
}

TEST_F(TailTest, TellsOfAGapWhenTheOldFileIsGone) {
  append("something long enough to be known again");
  position_ = tail_.end();
  std::filesystem::remove(scratch_.file("log"));
  append("another file, longer than the one before was when it was read");
  bool gap = false;
  EXPECT_EQ(read(&gap), "another file, longer than the one before was when it was read");
  EXPECT_TRUE(gap);
}

TEST_F(TailTest, WaitsWhileTheNewFileIsNotYetThere) {
  append("old");
  position_ = tail_.end();
  move("log", "log.1");
  EXPECT_EQ(read(), "");
  append("new");
  EXPECT_EQ(read(), "new");
}

TEST_F(TailTest, ADeviceOrPipeIsAsAbsent) {
  ASSERT_EQ(mkfifo(scratch_.file("log").c_str(), 0600), 0);
  position_ = tail_.end();
  EXPECT_EQ(position_.inode, 0u);
  EXPECT_EQ(read(), "");
}

TEST(TailPosition, RefusesWhatIsNone) {
  for (const char* text : {"", "1", "1 2 3", "a b c d", "1 2 9999 4", "-1 2 3 4"}) EXPECT_FALSE(TailPosition::from_text(text)) << text;
}

}  // namespace
}  // namespace greengate::agent
