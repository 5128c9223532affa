// Goal: a software scan tells what is there, costs little the second time, and is led astray by
// nothing. Method: real trees, a recorded package database, and the kernel's own word (inotify) on
// what was opened.
#include "agent/collectors/text.h"
#include "agent/software/owners.h"
#include "agent/software/scan.h"
#include "agent/software/view.h"
#include "core/random.h"
#include "tests/agent/scratch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>

namespace greengate::agent {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::Scratch;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::HasSubstr;

// Its wall clock begins an hour after the files were made: they have settled.
class LaterClock final : public Clock {
 public:
  WallTime wall() const override { return begun_ + 1h + passed_; }
  SteadyTime steady() const override { return SteadyTime(1h) + passed_; }
  void advance(std::chrono::milliseconds by) { passed_ += by; }

 private:
  WallTime begun_ = std::chrono::system_clock::now();
  std::chrono::milliseconds passed_{0};
};

/// Which plain files below some folders were opened, as the kernel tells it.
class Watch {
 public:
  explicit Watch(const std::string& tree) : fd_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    add(tree);
    for (const auto& entry : fs::recursive_directory_iterator(tree)) {
      if (entry.is_directory() && !entry.is_symlink()) add(entry.path());
    }
  }
  ~Watch() { close(fd_); }
  std::vector<std::string> opened_files() {
    std::vector<std::string> names;
    alignas(inotify_event) std::array<char, 65'536> buffer;
    for (ssize_t got; (got = read(fd_, buffer.data(), buffer.size())) > 0;) {
      for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
        if (!(event->mask & IN_ISDIR) && event->len > 0) names.emplace_back(event->name);
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
    }
    return names;
  }

 private:
  void add(const fs::path& folder) {
    EXPECT_GE(inotify_add_watch(fd_, folder.c_str(), IN_OPEN | IN_ACCESS), 0);
  }
  int fd_;
};

class Software : public ::testing::Test {
 protected:
  Software() {
    settings_.paths = {tree()};
    settings_.files_per_second = 0;
    settings_.bytes_per_second = 0;
    write(machine("proc/self/mountinfo"), "");
    write(machine("var/lib/dpkg/status"),
          "Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.2-3\n"
          "Maintainer: Tool People <tool@example.test>\n\n");
    write(machine("var/lib/dpkg/info/tool.list"), "/.\n" + tree() + "\n" + tree() + "/bin/tool\n");
    executable("bin/tool", "ELF");
    executable("bin/script", "#!/bin/sh\n");
    write(tree("bin/readme"), "no program");
    executable("lib/deep/helper", "ELF");
  }
  std::string tree(const std::string& name = "") const {
    return scratch_.file("tree") + (name.empty() ? "" : "/" + name);
  }
  std::string machine(const std::string& name) const { return scratch_.file("machine/" + name); }
  static void write(const std::string& path, const std::string& content) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  void executable(const std::string& name, const std::string& content = "x") {
    write(tree(name), content);
    ASSERT_EQ(chmod(tree(name).c_str(), 0755), 0);
  }
  Result<ScanResult> try_scan(Pace& pace) {
    MachineView view;
    view.root = scratch_.file("machine");
    const Machine looked_at(view);
    return scan_software(settings_, looked_at, cache_, pace, clock_);
  }
  ScanResult scan() {
    Pace pace(0, 0, clock_);
    auto found = try_scan(pace);
    EXPECT_TRUE(found) << found.error().message;
    return found ? std::move(*found) : ScanResult();
  }
  /// Below the tree: "bin/tool".
  std::vector<std::string> names(const ScanResult& found) const {
    std::vector<std::string> list;
    for (const v1::SoftwareFile& file : found.inventory.files())
      list.push_back((file.path() + file.name()).substr(tree().size() + 1));
    return list;
  }

  Scratch scratch_;
  LaterClock clock_;
  SoftwareSettings settings_;
  SoftwareCache cache_;
};

TEST_F(Software, TellsExecutablesAndTheirPackages) {
  const ScanResult found = scan();
  EXPECT_THAT(names(found), ElementsAre("bin/script", "bin/tool", "lib/deep/helper"));
  const v1::SoftwareFile& script = found.inventory.files(0);
  const v1::SoftwareFile& tool = found.inventory.files(1);
  EXPECT_EQ(tool.name(), "tool");
  EXPECT_EQ(tool.path(), tree("bin/"));
  EXPECT_EQ(tool.size(), 3u);
  EXPECT_GT(tool.modified_ms(), 1'700'000'000'000);
  EXPECT_EQ(tool.product_name(), "tool");
  EXPECT_EQ(tool.product_version(), "1.2-3");
  EXPECT_EQ(tool.company_name(), "Tool People");
  EXPECT_EQ(script.product_name(), "");
  EXPECT_EQ(found.inventory.collected_at_ms(), to_millis(clock_.wall()));
}

TEST_F(Software, OpensNoFileOfTheTreeNotEvenTheFirstTime) {
  Watch watch(tree());
  scan();
  EXPECT_THAT(watch.opened_files(), IsEmpty());
}

TEST_F(Software, UnchangedTreeCostsOneLookAtEachFileAndNoQuestionToAPackageDatabase) {
  const ScanResult first = scan();
  EXPECT_EQ(first.cost.folders_read, 4u);
  EXPECT_EQ(first.cost.files_looked_at, 4u);
  EXPECT_EQ(first.cost.owners_asked, 3u);
  EXPECT_GT(first.cost.package_bytes, 0u);
  Watch lists(machine("var/lib/dpkg")), files(tree());
  const ScanResult second = scan();
  EXPECT_EQ(second.cost.folders_read, 0u);
  EXPECT_EQ(second.cost.files_looked_at, 3u) << "those it reports, and no other";
  EXPECT_EQ(second.cost.owners_asked, 0u);
  EXPECT_EQ(second.cost.package_bytes, 0u);
  EXPECT_THAT(lists.opened_files(), Not(Contains("tool.list")));
  EXPECT_THAT(files.opened_files(), IsEmpty());
  EXPECT_EQ(second.inventory.SerializeAsString(), first.inventory.SerializeAsString());
}

TEST_F(Software, CacheServesOverARestart) {
  scan();
  ASSERT_TRUE(cache_.save(scratch_.file("cache")));
  cache_ = SoftwareCache::load(scratch_.file("cache"));
  const ScanResult second = scan();
  EXPECT_EQ(second.cost.folders_read, 0u);
  EXPECT_EQ(second.cost.owners_asked, 0u);
  EXPECT_EQ(second.inventory.files(1).product_version(), "1.2-3");
}

TEST_F(Software, FileWrittenInPlaceIsNoticedThoughItsFolderDidNotChange) {
  scan();
  std::ofstream(tree("bin/script"), std::ios::app) << "more";
  const ScanResult found = scan();
  EXPECT_EQ(found.cost.folders_read, 0u);
  EXPECT_EQ(found.inventory.files(0).size(), 14u);
  EXPECT_EQ(found.cost.owners_asked, 1u);
}

TEST_F(Software, OnlyTheFolderThatChangedIsReadAgain) {
  scan();
  executable("lib/deep/another");
  const ScanResult found = scan();
  EXPECT_EQ(found.cost.folders_read, 1u);
  EXPECT_THAT(names(found), Contains("lib/deep/another"));
  fs::remove(tree("lib/deep/helper"));
  EXPECT_THAT(names(scan()), Not(Contains("lib/deep/helper")));
}

// Its time may not tell a second change within the clock's grain.
TEST_F(Software, FolderThatChangedAMomentAgoIsNotTrusted) {
  struct Now final : Clock {
    WallTime wall() const override { return std::chrono::system_clock::now(); }
    SteadyTime steady() const override { return SteadyTime(1h); }
  } now;
  executable("bin/just-made");
  MachineView view;
  view.root = scratch_.file("machine");
  const Machine looked_at(view);
  Pace pace(0, 0, now);
  ASSERT_TRUE(scan_software(settings_, looked_at, cache_, pace, now));
  const auto again = scan_software(settings_, looked_at, cache_, pace, now);
  ASSERT_TRUE(again);
  EXPECT_GE(again->cost.folders_read, 1u);
}

TEST_F(Software, UpdatedPackageDatabaseIsAskedAgainForEveryFile) {
  scan();
  write(machine("var/lib/dpkg/status"),
        "Package: tool\nStatus: install ok installed\nVersion: 2.0\nOrigin: Contoso\n");
  fs::last_write_time(machine("var/lib/dpkg/status"), fs::file_time_type::clock::now() + 1h);
  const ScanResult found = scan();
  EXPECT_EQ(found.cost.folders_read, 0u);
  EXPECT_EQ(found.cost.owners_asked, 3u);
  EXPECT_EQ(found.inventory.files(1).product_version(), "2.0");
  EXPECT_EQ(found.inventory.files(1).company_name(), "Contoso");
  EXPECT_EQ(scan().cost.owners_asked, 0u);
}

TEST_F(Software, FullLookFindsWhatAFoldersTimeDoesNotTell) {
  scan();
  ASSERT_EQ(chmod(tree("bin/readme").c_str(), 0755), 0);
  EXPECT_THAT(names(scan()), Not(Contains("bin/readme"))) << "the price of not looking at it";
  clock_.advance(settings_.full_look);
  EXPECT_THAT(names(scan()), Contains("bin/readme"));
}

TEST_F(Software, OtherSettingsForgetTheCache) {
  scan();
  settings_.executables_only = false;
  settings_.patterns = {"*e*"};
  settings_.excludes = {"deep", tree("*/script")};
  const ScanResult found = scan();
  EXPECT_THAT(names(found), ElementsAre("bin/readme"));
}

TEST_F(Software, PathsThatOverlapCountOnce) {
  settings_.paths = {tree("bin"), tree() + "/", tree("lib"), tree("absent")};
  EXPECT_EQ(scan().inventory.files_size(), 3);
}

// ---- hostile trees ----

TEST_F(Software, LinksPipesSocketsAndDevicesAreNeitherFollowedNorReported) {
  fs::create_symlink("/etc", tree("etc"));
  fs::create_symlink("/etc/shadow", tree("bin/shadow"));
  fs::create_symlink("..", tree("lib/loop"));
  ASSERT_EQ(mkfifo(tree("bin/pipe").c_str(), 0777), 0);
  if (geteuid() == 0) {
    // May be forbidden even to root, in a container.
    [[maybe_unused]] const int made = mknod(tree("bin/zero").c_str(), S_IFCHR | 0777, 0x105);
  }
  const int plug = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(tree("bin/socket").size(), sizeof address.sun_path);
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", tree("bin/socket").c_str());
  ASSERT_EQ(bind(plug, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  close(plug);
  settings_.executables_only = false;
  EXPECT_THAT(names(scan()),
              ElementsAre("bin/readme", "bin/script", "bin/tool", "lib/deep/helper"));
}

TEST_F(Software, ConfiguredPathBehindALinkIsNotScanned) {
  fs::create_symlink(tree(), scratch_.file("alias"));
  settings_.paths = {scratch_.file("alias"), scratch_.file("alias/bin")};
  EXPECT_EQ(scan().inventory.files_size(), 0);
}

TEST_F(Software, NamesOfAnyBytesBecomeValidTextAndStayApart) {
  executable("odd/new\nline");
  executable("odd/\xff\xfe");
  executable("odd/\xff\xfd");
  executable("odd/ blank ");
  executable("odd/blank");
  executable("odd/\x1b[31mred");
  executable("odd/gr\xc3\xbcn");
  executable("odd/\\xFF\\xFE");  // looks like the second once that is written out
  const ScanResult found = scan();
  EXPECT_THAT(names(found),
              ElementsAre("bin/script", "bin/tool", "lib/deep/helper", "odd/\\x1B[31mred",
                          "odd/ blank ", "odd/\\xFF\\xFE", "odd/blank", "odd/gr\u00fcn",
                          "odd/new\\x0Aline", "odd/\\xFF\\xFD"));
  EXPECT_FALSE(found.inventory.SerializeAsString().empty()) << "protobuf takes valid UTF-8 only";
}

// One name that no gateway takes would cost the whole inventory.
TEST_F(Software, LongNamesWrittenOutStayShortEnoughAndApart) {
  const std::string long_name(250, '\xff');
  executable("odd/" + long_name + "a");
  executable("odd/" + long_name + "b");
  const ScanResult found = scan();
  std::set<std::string> distinct;
  for (const v1::SoftwareFile& file : found.inventory.files()) {
    EXPECT_LE(file.name().size(), 255u);
    EXPECT_LE(file.path().size(), 4'096u);
    distinct.insert(file.name());
  }
  EXPECT_EQ(distinct.size(), 5u);
}

TEST_F(Software, DeepTreeEndsAtItsBoundAndIsCounted) {
  std::string path = "deep";
  for (int i = 0; i < 100; ++i) path += "/d";
  executable(path + "/bottom");
  executable("deep/d/top");
  const ScanResult found = scan();
  EXPECT_THAT(names(found), Contains("deep/d/top"));
  EXPECT_THAT(names(found), Not(Contains(HasSubstr("bottom"))));
  EXPECT_EQ(found.cost.too_deep, 1u);
}

TEST_F(Software, PathLongerThanAnyoneKeepsIsPassedOver) {
  settings_.depth_max = 64;
  std::string path = "long";
  for (int i = 0; i < 8; ++i) path += "/" + std::string(200, 'n');
  executable(path + "/x");
  const ScanResult found = scan();
  EXPECT_EQ(found.cost.too_deep, 1u);
}

TEST_F(Software, TenThousandFilesInAFolderAreTakenOrCutAlikeEveryTime) {
  for (int i = 0; i < 10'000; ++i) executable("many/f" + std::to_string(i));
  EXPECT_EQ(scan().inventory.files_size(), 10'003);
  EXPECT_EQ(scan().cost.folders_read, 0u);
  settings_.files_max = 5'000;
  cache_ = {};
  const ScanResult cut = scan();
  EXPECT_EQ(cut.inventory.files_size(), 5'000);
  EXPECT_TRUE(cut.cost.cut);
  const ScanResult again = scan();
  EXPECT_EQ(again.inventory.SerializeAsString(), cut.inventory.SerializeAsString());
  EXPECT_TRUE(again.cost.cut);
}

// What the rest between two files is good for: things change meanwhile.
TEST_F(Software, FilesAndFoldersThatVanishOrBecomeLinksMeanwhileAreLeftOut) {
  for (int i = 0; i < 50; ++i) executable("m/f" + std::to_string(i));
  executable("n/below/x");
  executable("o/below/x");
  int rests = 0;
  Pace pace(10, 0, clock_, [&](std::chrono::milliseconds rest) {
    clock_.advance(rest);
    if (++rests != 10) return;
    fs::remove_all(tree("m"));
    fs::remove_all(tree("n"));
    fs::remove_all(tree("o"));
    fs::create_symlink("/usr/bin", tree("n"));
    write(tree("o"), "a file now");
  });
  const auto found = try_scan(pace);
  ASSERT_TRUE(found) << found.error().message;
  for (const std::string& name : names(*found))
    EXPECT_TRUE(name.starts_with("bin/") || name.starts_with("lib/") || name.starts_with("m/"))
        << name;
}

TEST_F(Software, MountedFileSystemsAreNotEnteredUnlessToldAndServersNever) {
  executable("disk/x");
  executable("server/x");
  executable("bin/inner/x");
  write(machine("proc/self/mountinfo"),
        "30 1 8:1 / " + tree("disk") + " rw - ext4 /dev/sdb1 rw\n31 1 0:50 / " + tree("server") +
            " rw - nfs4 host:/x rw\n");
  std::vector<std::string> found = names(scan());
  EXPECT_THAT(found, Not(Contains("disk/x")));
  EXPECT_THAT(found, Not(Contains("server/x")));
  EXPECT_THAT(found, Contains("bin/inner/x"));
  settings_.cross_file_systems = true;
  found = names(scan());
  EXPECT_THAT(found, Contains("disk/x"));
  EXPECT_THAT(found, Not(Contains("server/x")));
}

TEST_F(Software, AnotherDeviceIsAnotherFileSystemEvenIfNoTableSaysSo) {
  struct stat devices {}, shared {};
  if (stat("/dev", &devices) != 0 || stat("/dev/shm", &shared) != 0 ||
      devices.st_dev == shared.st_dev)
    GTEST_SKIP() << "/dev/shm is no file system of its own here";
  const std::string name = "greengate-test-" + std::to_string(random_u64());
  write("/dev/shm/" + name, "x");
  settings_.paths = {"/dev"};
  settings_.executables_only = false;
  const ScanResult found = scan();
  fs::remove("/dev/shm/" + name);
  for (const v1::SoftwareFile& file : found.inventory.files()) EXPECT_NE(file.name(), name);
}

TEST_F(Software, ScanThatTakesTooLongFailsAndTheNextGoesOnFromThere) {
  settings_.time_max = 5s;
  for (int folder = 0; folder < 20; ++folder) {
    for (int i = 0; i < 60; ++i)
      write(tree("big" + std::to_string(folder) + "/f" + std::to_string(i)), "no program");
    executable("big" + std::to_string(folder) + "/program");
  }
  int failures = 0;
  for (;; ++failures) {
    ASSERT_LT(failures, 10);
    Pace pace(100, 0, clock_, [&](std::chrono::milliseconds rest) { clock_.advance(rest); });
    const auto found = try_scan(pace);
    if (found) {
      EXPECT_EQ(found->inventory.files_size(), 23);
      EXPECT_EQ(found->inventory.files(21).path(), tree("bin/"));
      break;
    }
    EXPECT_STREQ(found.error().code, "software.time");
    EXPECT_EQ(found.error().remedy, Remedy::retry);
  }
  EXPECT_GE(failures, 2) << "1,280 looks at 100 a second do not fit in 5 s";
}

// ---- the cache ----

TEST_F(Software, DamagedCacheIsAnEmptyOne) {
  const std::uint64_t seed = random_u64();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const ScanResult expected = scan();
  const std::string file = scratch_.file("cache");
  ASSERT_TRUE(cache_.save(file));
  std::ifstream in(file, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  for (int i = 0; i < 200; ++i) {
    std::string bad = good;
    if (i % 4 == 0) {
      bad.resize(random() % bad.size());
    } else {
      bad[random() % bad.size()] ^= static_cast<char>(1 + random() % 255);
    }
    write(file, bad);
    cache_ = SoftwareCache::load(file);
    EXPECT_TRUE(cache_.folders.empty());
  }
  const ScanResult found = scan();
  EXPECT_EQ(found.inventory.SerializeAsString(), expected.inventory.SerializeAsString());
  cache_ = SoftwareCache::load("/dev/zero");
  EXPECT_TRUE(cache_.folders.empty());
}

TEST_F(Software, CacheLargerThanItsBoundIsNotWritten) {
  cache_.folders["/x/"].folders.assign(SoftwareCache::cache_bytes_max / 200,
                                       std::string(250, 'n'));
  const auto saved = cache_.save(scratch_.file("cache"));
  ASSERT_FALSE(saved);
  EXPECT_STREQ(saved.error().code, "software.cache_too_large");
  EXPECT_FALSE(fs::exists(scratch_.file("cache")));
}

// ---- whose file it is ----

std::vector<std::string> owners(const Scratch& scratch, const std::vector<std::string>& paths) {
  MachineView view;
  view.root = scratch.file("machine");
  const Machine machine(view);
  LaterClock clock;
  Pace pace(0, 0, clock);
  const OwnersFound found = look_up_owners(machine, paths, pace);
  std::vector<std::string> list;
  for (const std::uint32_t owner : found.owner_of) {
    const Owner& one = found.owners[owner];
    list.push_back(one.name + "|" + one.version + "|" + one.vendor);
  }
  return list;
}

TEST_F(Software, DpkgListsOfBothFormsAndOlderPathsAreUnderstood) {
  write(machine("var/lib/dpkg/info/libx:amd64.list"), "/usr/lib/x/tool\n");
  write(machine("var/lib/dpkg/info/coreutils.list"), "/bin/ls\n");
  write(machine("var/lib/dpkg/status"),
        "Package: libx\nArchitecture: i386\nVersion: 9\n\nPackage: libx\nArchitecture: "
        "amd64\nVersion: 1\nMaintainer: X <x@example.test>\n\nPackage: coreutils\nVersion: 8.32\n");
  fs::create_directories(machine("usr/bin"));
  fs::create_symlink("usr/bin", machine("bin"));
  EXPECT_THAT(owners(scratch_, {"/usr/lib/x/tool", "/usr/bin/ls", "/nobodys"}),
              ElementsAre("libx|1|X", "coreutils|8.32|", "||"));
}

TEST_F(Software, RpmsListIsUnderstood) {
  write(machine("recorded/rpm-files"),
        "@bash\t0\t5.1.8-6.el9\tContoso\n=/usr/bin/\n=/usr/share/\n0\tbash\n0\tsh\n1\tdoc\n"
        "@vim\t2\t8.2-1\t(none)\n=/usr/bin/\n0\tvi\n7\tno-such-folder\nnonsense\n"
        "@gpg-pubkey\t0\t1-1\t(none)\n=(none)\n(none)\t(none)\n");
  EXPECT_THAT(owners(scratch_, {"/usr/bin/bash", "/usr/bin/vi", "/usr/share/doc", "/usr/bin/no"}),
              ElementsAre("bash|5.1.8-6.el9|Contoso", "vim|2:8.2-1|", "bash|5.1.8-6.el9|Contoso",
                          "||"));
}

// A list in which package after package claims the same file costs no more than an honest one.
TEST_F(Software, FileManyPackagesClaimIsTheFirstOnesAndTheOthersAreForgotten) {
  std::string list;
  for (int i = 0; i < 1'000; ++i)
    list += "P:claims" + std::to_string(i) + "\nV:1\nF:usr/bin\nR:tool\n";
  write(machine("lib/apk/db/installed"), list);
  EXPECT_THAT(owners(scratch_, {"/usr/bin/tool", "/usr/bin/no"}),
              ElementsAre("claims0|1|", "||"));
  const Machine view(MachineView{scratch_.file("machine"), false, std::chrono::milliseconds(1)});
  LaterClock clock;
  Pace pace(0, 0, clock);
  EXPECT_EQ(look_up_owners(view, {"/usr/bin/tool", "/usr/bin/no"}, pace).owners.size(), 2u);
}

TEST_F(Software, AlpinesListIsUnderstood) {
  write(machine("lib/apk/db/installed"),
        "P:busybox\nV:1.36-r2\nm:Someone <s@example.test>\nF:bin\nR:busybox\nF:\nR:top\n\n"
        "P:zlib\nV:1.3\nF:usr/lib\nR:libz.so\n");
  EXPECT_THAT(owners(scratch_, {"/bin/busybox", "/top", "/usr/lib/libz.so"}),
              ElementsAre("busybox|1.36-r2|Someone", "busybox|1.36-r2|Someone", "zlib|1.3|"));
}

TEST_F(Software, ViewsTellEveryFileAndTheCost) {
  executable("odd/quo\"te");
  const ScanResult found = scan();
  EXPECT_THAT(software_table(found, false), HasSubstr("tool 1.2-3"));
  EXPECT_THAT(software_table(found, true), HasSubstr("4 files in 5 folders"));
  EXPECT_THAT(software_json(found), HasSubstr("\"name\": \"quo\\\"te\""));
}

TEST(EscapedName, KeepsWhatIsTextAndWritesOutTheRest) {
  EXPECT_EQ(escaped_name("a b"), "a b");
  EXPECT_EQ(escaped_name("\xc3\xa4\xff\x7f"), "\xc3\xa4\\xFF\\x7F");
  EXPECT_EQ(escaped_name(std::string(255, 'n'), 255), std::string(255, 'n'));
  const std::string cut = escaped_name(std::string(300, 'n'), 255);
  EXPECT_EQ(cut.size(), 255u);
  EXPECT_EQ(cut.substr(0, 239), std::string(238, 'n') + "~");
  const std::string pieces = escaped_name(std::string(300, '\xff'), 255);
  EXPECT_EQ(pieces.find('~') % 4, 0u) << "no half of a byte's spelling";
  EXPECT_EQ(escaped_name("\xe2\x80\xae"), "\\xE2\\x80\\xAE") << "a mark that reverses text";
}

}  // namespace
}  // namespace greengate::agent
