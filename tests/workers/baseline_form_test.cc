#include "workers/baseline_form.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace workers;

const BaselineForm sample{0x1122334455667788, 42, "GUID:5A1B7C3D-0000-4000-8000-000000000021", {}};

TEST(BaselineForm, ReadsWhatItWrote) {
  for (const std::string& plain : {std::string(), std::string("x"), std::string(3'000'000, 'y')}) {
    const auto read = read_baseline(write_baseline(sample, plain));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->incarnation, sample.incarnation);
    EXPECT_EQ(read->sequence, sample.sequence);
    EXPECT_EQ(read->client, sample.client);
    EXPECT_EQ(read->plain, plain);
  }
}

TEST(BaselineForm, IsSmallerThanTheState) { EXPECT_LT(write_baseline(sample, std::string(100'000, 'z')).size(), 2'000u); }

TEST(BaselineForm, AnotherVersionIsUnreadableNotMisread) {
  std::string bytes = write_baseline(sample, "state");
  bytes[0] = 2;
  const auto read = read_baseline(bytes);
  ASSERT_FALSE(read);
  EXPECT_STREQ(read.error().code, "baseline.unreadable");
}

TEST(BaselineForm, EveryCutAndEveryFlippedLengthIsUnreadable) {
  const std::string bytes = write_baseline(sample, "state");
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(read_baseline(bytes.substr(0, cut))) << cut;
  for (std::size_t place = 17; place < 25; ++place) {
    std::string flipped = bytes;
    flipped[place] = static_cast<char>(flipped[place] ^ 0x40);
    EXPECT_FALSE(read_baseline(flipped)) << place;
  }
}

}  // namespace
}  // namespace greengate::test
