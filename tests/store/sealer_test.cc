#include "store/sealer.h"
#include "tests/store/store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>

namespace greengate::test {
namespace {

class Sealer : public testing::Test {
 protected:
  store::Sealer make(const std::string& name = "key") {
    auto sealer = store::Sealer::from_key_file(directory_.path() + "/" + name, true);
    EXPECT_TRUE(sealer) << sealer.error().message;
    return *sealer;
  }
  void expect_broken(const Result<std::string>& opened) {
    ASSERT_FALSE(opened);
    EXPECT_STREQ(opened.error().code, "seal.broken");
    EXPECT_EQ(opened.error().remedy, Remedy::reject);
  }
  TempDirectory directory_;
};

TEST_F(Sealer, OpensWhatItSealed) {
  const auto sealer = make();
  for (const std::string& secret :
       {std::string(), std::string("\0key", 4), std::string(100'000, 's')}) {
    const auto box = sealer.seal(secret, "place");
    ASSERT_TRUE(box);
    EXPECT_EQ(box->size(), 1 + 12 + secret.size() + 16);
    EXPECT_EQ((*box)[0], 1);
    EXPECT_EQ(sealer.open(*box, "place").value(), secret);
  }
}

TEST_F(Sealer, NoticesEveryChangedByteAnotherPlaceAndAnotherKey) {
  const auto sealer = make();
  const std::string box = sealer.seal("secret", "place").value();
  for (std::size_t i = 0; i < box.size(); ++i) {
    std::string changed = box;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    expect_broken(sealer.open(changed, "place"));
    expect_broken(sealer.open(box.substr(0, i), "place"));
  }
  expect_broken(sealer.open(box, "another place"));
  expect_broken(make("another key").open(box, "place"));
}

TEST_F(Sealer, NeverSealsTheSameWayTwice) {
  const auto sealer = make();
  EXPECT_NE(sealer.seal("secret", "place").value(), sealer.seal("secret", "place").value());
}

TEST_F(Sealer, UsesTheSameKeyFileAgain) {
  const std::string box = make().seal("secret", "place").value();
  EXPECT_EQ(make().open(box, "place").value(), "secret");
  struct stat facts {};
  ASSERT_EQ(stat((directory_.path() + "/key").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  EXPECT_EQ(facts.st_size, 32);
}

TEST_F(Sealer, RefusesAMissingShortLongOrSharedKeyFile) {
  const auto expect_no_key = [this](const std::string& name) {
    const auto refused = store::Sealer::from_key_file(directory_.path() + "/" + name, false);
    ASSERT_FALSE(refused) << name;
    EXPECT_STREQ(refused.error().code, "seal.key");
  };
  expect_no_key("missing");
  for (const auto& [name, bytes, mode] :
       {std::tuple{"short", 31, 0600}, std::tuple{"long", 33, 0600},
        std::tuple{"shared", 32, 0640}}) {
    const std::string path = directory_.path() + "/" + name;
    std::ofstream(path) << std::string(static_cast<std::size_t>(bytes), 'k');
    ASSERT_EQ(chmod(path.c_str(), static_cast<mode_t>(mode)), 0);
    expect_no_key(name);
  }
  const auto nowhere = store::Sealer::from_key_file(directory_.path() + "/no/such/place", true);
  ASSERT_FALSE(nowhere);
  EXPECT_STREQ(nowhere.error().code, "seal.key");
}

TEST_F(Sealer, RefusesToSealWhatIsTooLarge) {
  expect_broken(make().seal(std::string((16 << 20) + 1, 'x'), "place"));
}

}  // namespace
}  // namespace greengate::test
