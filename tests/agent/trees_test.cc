// Goal: nothing a folder may hold leads the agent astray. Method: real folders with links, pipes and
// devices, both ways of opening, every byte of a small file damaged in turn.
#include "agent/trees/beneath.h"
#include "agent/trees/encoding.h"
#include "agent/trees/glob.h"
#include "agent/trees/pace.h"
#include "agent/trees/sealed_file.h"
#include "agent/trees/sha256.h"
#include "core/random.h"
#include "tests/agent/scratch.h"
#include "tests/support/manual_clock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using test::Scratch;

void write(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << content;
}
std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
std::string read(const Descriptor& file) {
  std::string content(4'096, '\0');
  const ssize_t got = ::read(file.get(), content.data(), content.size());
  content.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return content;
}

TEST(Glob, StarsAndQuestionMarksAndNothingElseIsSpecial) {
  EXPECT_TRUE(glob_matches("*", ""));
  EXPECT_TRUE(glob_matches("*.conf", "a.conf"));
  EXPECT_FALSE(glob_matches("*.conf", "a.conf2"));
  EXPECT_TRUE(glob_matches("a?c*e", "abcdde"));
  EXPECT_FALSE(glob_matches("a?", "a"));
  EXPECT_TRUE(glob_matches("[a]", "[a]"));
  EXPECT_FALSE(glob_matches("", "a"));
  EXPECT_TRUE(glob_matches("*ab*ab", "abababab"));
}

TEST(Glob, ManyStarsAgainstALongNameCostLittle) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  EXPECT_FALSE(glob_matches(pattern + "b", std::string(10'000, 'a')));
}

TEST(Glob, StarsOfPathsDoNotSpanASlashAndTwoSpanAnyNumber) {
  EXPECT_TRUE(glob_path_matches("/opt/*/bin", "/opt/a/bin"));
  EXPECT_FALSE(glob_path_matches("/opt/*/bin", "/opt/a/b/bin"));
  EXPECT_TRUE(glob_path_matches("/opt/**/bin", "/opt/a/b/bin"));
  EXPECT_TRUE(glob_path_matches("/opt/**/bin", "/opt/bin"));
  EXPECT_FALSE(glob_path_matches("/opt/**/bin", "/opt/a/b"));
  EXPECT_TRUE(glob_path_matches("/opt/**", "/opt/a/b"));
  EXPECT_FALSE(glob_path_matches("/opt/*", "/opt"));
  EXPECT_FALSE(glob_path_matches("/opt", "/opt/a"));
  EXPECT_TRUE(glob_path_matches("**/x/**/y", "/a/x/x/b/y"));
}

TEST(Encoding, TakesBackWhatItGaveAndNoHalfOfIt) {
  Encoder out;
  out.number(0).number(UINT64_MAX).signed_number(INT64_MIN).signed_number(-1).text("a\0b");
  const std::string bytes = out.bytes();
  Decoder in(bytes);
  EXPECT_EQ(in.number(), 0u);
  EXPECT_EQ(in.number(), UINT64_MAX);
  EXPECT_EQ(in.signed_number(), INT64_MIN);
  EXPECT_EQ(in.signed_number(), -1);
  EXPECT_EQ(in.text(10), "a");
  EXPECT_TRUE(in.at_end());
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    Decoder half(std::string_view(bytes).substr(0, cut));
    half.number(), half.number(), half.signed_number(), half.signed_number(), half.text(10);
    EXPECT_FALSE(half.at_end()) << cut;
  }
  Decoder greedy("\xff\xff\xff\xff\x0f");
  EXPECT_EQ(greedy.count(SIZE_MAX), 0u) << "more things than there are bytes";
  EXPECT_FALSE(greedy.good());
  EXPECT_EQ(from_hex(to_hex(bytes)), bytes);
  EXPECT_EQ(from_hex("0g"), "");
  EXPECT_EQ(from_hex("0"), "");
}

TEST(Hash, IsSha256AndCanBePutAside) {
  // FIPS 180-4's own example.
  EXPECT_EQ(to_hex(sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 first;
  first.add(std::string(100, 'x'));
  Sha256 second;
  ASSERT_TRUE(second.take_up(first.put_aside()));
  second.add("y");
  EXPECT_EQ(second.digest(), sha256(std::string(100, 'x') + "y"));
  EXPECT_FALSE(second.take_up("short"));
}

TEST(SealedFile, ComesBackWholeOrNotAtAll) {
  Scratch scratch;
  const std::string path = scratch.file("sealed");
  ASSERT_TRUE(write_sealed(path, "kind\n", "content"));
  EXPECT_EQ(read_sealed(path, "kind\n", 100), "content");
  struct stat about {};
  ASSERT_EQ(stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_FALSE(read_sealed(path, "other", 100));
  EXPECT_FALSE(read_sealed(path, "kind\n", 6)) << "larger than it may be";
  const std::string good = read(path);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    write(path, bad);
    EXPECT_FALSE(read_sealed(path, "kind\n", 100)) << "byte " << i;
    write(path, good.substr(0, i));
    EXPECT_FALSE(read_sealed(path, "kind\n", 100)) << "cut at " << i;
  }
  std::filesystem::remove(path);
  EXPECT_FALSE(read_sealed(path, "kind\n", 100));
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(read_sealed(path, "kind\n", 100)) << "a pipe holds nobody";
}

TEST(SealedFile, FollowsNoLinkWhenWriting) {
  Scratch scratch;
  write(scratch.file("precious"), "as it was");
  std::filesystem::create_symlink(scratch.file("precious"), scratch.file("sealed.new"));
  ASSERT_TRUE(write_sealed(scratch.file("sealed"), "k", "c"));
  EXPECT_EQ(read(scratch.file("precious")), "as it was");
  EXPECT_FALSE(write_sealed(scratch.file("no/such/folder/f"), "k", "c"));
}

class Beneath : public ::testing::TestWithParam<Opening> {
 protected:
  Beneath() {
    write(scratch_.file("tree/a/b/file"), "inside");
    write(scratch_.file("secret"), "secret");
  }
  Descriptor tree() { return open_folder(scratch_.file("tree"), GetParam()); }
  /// errno of the refusal; 0 when it was opened.
  int refusal(const std::string& path) {
    struct stat about {};
    const Descriptor folder = tree();
    errno = 0;
    return open_regular(folder.get(), path, about, GetParam()) ? 0 : errno;
  }
  Scratch scratch_;
};

TEST_P(Beneath, OpensWhatLiesInsideAndTellsWhatItIs) {
  struct stat about {};
  const Descriptor folder = tree();
  ASSERT_TRUE(folder);
  const Descriptor file = open_regular(folder.get(), "a/b/file", about, GetParam());
  ASSERT_TRUE(file);
  EXPECT_EQ(about.st_size, 6);
  EXPECT_EQ(read(file), "inside");
}

TEST_P(Beneath, RefusesEveryPathThatIsNotPlain) {
  for (const char* path : {"", ".", "..", "../secret", "a/../../secret", "/etc/passwd", "a//b/file",
                           "a/b/file/", "a/./b/file"}) {
    EXPECT_EQ(refusal(path), EINVAL) << path;
  }
  EXPECT_EQ(refusal(std::string("a\0b", 3)), EINVAL);
  EXPECT_EQ(refusal("a/b/absent"), ENOENT);
  EXPECT_FALSE(open_folder("relative", GetParam()));
}

TEST_P(Beneath, FollowsNoLinkWhereverItStands) {
  std::filesystem::create_symlink(scratch_.file("secret"), scratch_.file("tree/link"));
  std::filesystem::create_symlink(scratch_.path(), scratch_.file("tree/out"));
  std::filesystem::create_symlink("b", scratch_.file("tree/a/inside"));
  std::filesystem::create_symlink("link2", scratch_.file("tree/link2"));
  EXPECT_EQ(refusal("link"), ELOOP);
  EXPECT_EQ(refusal("link2"), ELOOP);
  EXPECT_NE(refusal("out/secret"), 0);
  EXPECT_NE(refusal("a/inside/file"), 0) << "not even one that stays inside";
  std::filesystem::create_symlink(scratch_.file("tree"), scratch_.file("other"));
  EXPECT_FALSE(open_folder(scratch_.file("other"), GetParam()));
  EXPECT_FALSE(open_folder(scratch_.file("other/a"), GetParam()));
  EXPECT_TRUE(open_folder(scratch_.file("tree/a") + "/", GetParam()));
  EXPECT_FALSE(open_folder(scratch_.file("tree/a/b/file"), GetParam())) << "no folder";
}

TEST_P(Beneath, OpensNoPipeDeviceOrFolderAsAFile) {
  ASSERT_EQ(mkfifo(scratch_.file("tree/pipe").c_str(), 0600), 0);
  EXPECT_EQ(refusal("pipe"), EINVAL);
  EXPECT_EQ(refusal("a"), EINVAL);
  struct stat about {};
  const Descriptor devices = open_folder("/dev", GetParam());
  ASSERT_TRUE(devices);
  EXPECT_FALSE(open_regular(devices.get(), "zero", about, GetParam()));
}

// Somebody swaps the file for a link to a secret, again and again, as fast as it goes.
TEST_P(Beneath, LinkPutInTheFilesPlaceMeanwhileIsNeverFollowed) {
  const std::string place = scratch_.file("tree/swapped");
  write(scratch_.file("tree/good"), "inside");
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    const std::string next = scratch_.file("tree/next");
    while (!stop) {
      std::error_code ignored;
      std::filesystem::create_symlink(scratch_.file("secret"), next, ignored);
      std::filesystem::rename(next, place, ignored);
      std::filesystem::create_hard_link(scratch_.file("tree/good"), next, ignored);
      std::filesystem::rename(next, place, ignored);
    }
  });
  const Descriptor folder = tree();
  int opened = 0, refused = 0;
  const auto until = std::chrono::steady_clock::now() + 60s;
  while ((opened < 500 || refused < 500) && std::chrono::steady_clock::now() < until) {
    struct stat about {};
    const Descriptor file = open_regular(folder.get(), "swapped", about, GetParam());
    if (!file) {
      ++refused;
      continue;
    }
    ++opened;
    EXPECT_EQ(read(file), "inside");
  }
  stop = true;
  swapper.join();
  EXPECT_GE(opened, 500);
  EXPECT_GE(refused, 500);
}

INSTANTIATE_TEST_SUITE_P(BothWays, Beneath, ::testing::Values(Opening::at_once, Opening::by_steps),
                         [](const auto& how) {
                           return how.param == Opening::at_once ? "AtOnce" : "BySteps";
                         });

TEST(Pace, TakesTheTimeItsRateAsksFor) {
  ManualClock clock;
  Pace pace(100, 1'000'000, clock, [&](std::chrono::milliseconds rest) { clock.advance(rest); });
  const SteadyTime begun = clock.steady();
  for (int i = 0; i < 1'000; ++i) pace.file();
  EXPECT_NEAR(static_cast<double>((clock.steady() - begun) / 1ms), 10'000, 50);
  pace.bytes(5'000'000);
  EXPECT_NEAR(static_cast<double>((clock.steady() - begun) / 1ms), 15'000, 50);
  // Time spent otherwise is no credit for a burst later.
  clock.advance(1h);
  const SteadyTime later = clock.steady();
  for (int i = 0; i < 100; ++i) pace.file();
  EXPECT_NEAR(static_cast<double>((clock.steady() - later) / 1ms), 1'000, 50);
}

TEST(Pace, UnboundedNeverRests) {
  ManualClock clock;
  Pace pace(0, 0, clock, [](std::chrono::milliseconds) { FAIL(); });
  for (int i = 0; i < 1'000; ++i) pace.file();
  pace.bytes(UINT64_MAX);
}

TEST(Pace, LowPriorityIsLow) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    become_low_priority();
    errno = 0;
    _exit(nice(0) == 19 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace greengate::agent
