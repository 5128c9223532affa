// Goal: what a site could not read never leaves the machine, and what it can goes once. Method: one correct file and its damaged
// sisters; a folder in which files come, change and go.
#include "agent/watchers/mif_folder.h"
#include "agent/watchers/mif_text.h"
#include "tests/agent/scratch.h"
#include "tests/agent/watchers/memory_notebook.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using test::MemoryNotebook;
using test::Scratch;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string asset() {
  std::ifstream file(GREENGATE_SOURCE_DIR "/tests/data/mif/asset.mif");
  EXPECT_TRUE(file);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

std::string code_of(const std::string& text, bool header = true) {
  const auto checked = check_mif(text, header);
  return checked ? "fine" : std::string(checked.error().code);
}

TEST(MifText, ReadsAWholeFile) {
  const auto facts = check_mif(asset(), true);
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_EQ(facts->architecture, "Contoso Asset");
  EXPECT_EQ(facts->unique_id, "3f1c9a52-0000-4000-8000-00000000a001");
  EXPECT_EQ(facts->groups, 3u);
  EXPECT_EQ(facts->attributes, 4u);
}

TEST(MifText, TakesLatin1AndAByteOrderMarkAndWindowsLines) {
  EXPECT_EQ(code_of(with(asset(), "Asset of a rack", "Ger\xE4t")), "fine");
  EXPECT_EQ(code_of(with(asset(), "Asset of a rack", "Ger\xC3\xA4t")), "fine");
  EXPECT_EQ(code_of("\xEF\xBB\xBF" + asset()), "fine");
  std::string windows;
  for (const char c : asset()) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  EXPECT_EQ(code_of(windows), "fine");
}

TEST(MifText, NamesWhatIsWrong) {
  EXPECT_EQ(code_of(""), "mif.empty");
  EXPECT_EQ(code_of(" \n\t\n"), "mif.empty");
  EXPECT_EQ(code_of("\xFF\xFES\0t\0"), "mif.charset");
  EXPECT_EQ(code_of(with(asset(), "rack", std::string("ra\0ck", 5))), "mif.charset");
  EXPECT_EQ(code_of(with(asset(), "rack", "ra\x07" "ck")), "mif.charset");
  EXPECT_EQ(code_of(with(asset(), "//Architecture<Contoso Asset>\n", "")), "mif.header");
  EXPECT_EQ(code_of(with(asset(), "//UniqueID<", "//UniqueID ")), "mif.header");
  EXPECT_EQ(code_of(with(asset(), "//Architecture<Contoso Asset>", "//Architecture<Other>")), "mif.header") << "no top-level group";
  EXPECT_EQ(code_of(with(asset(), "//Architecture<Contoso Asset>\n", ""), false), "fine") << "when no header is asked for";
  const std::pair<const char*, const char*> damages[] = {
      {"End Component", ""},
      {"End Component", "End Component\nStart Component"},
      {"  End Group", "  End Component"},
      {"Start Group", "Start Attribute"},
      {"Start Group", "Start Nonsense"},
      {"Name = \"Tag\"", "Name = Tag"},
      {"Name = \"Tag\"", "Name = \"Tag"},
      {"Name = \"Tag\"", "Name \"Tag\""},
      {"Name = \"Tag\"", ""},
      {"Name = \"Tag\"", "Name = \"Tag\"\nName = \"Tag\""},
      {"Name = \"Tag\"", "Name = \"Tag\"\nColour = \"red\""},
      {"Key = 1, 2", "Key = 1, 7"},
      {"Key = 1, 2", "Key = \"1\""},
      {"ID = 2\n      Type = \"Floor\"", "ID = 1\n      Type = \"Floor\""},
      {"ID = 2\n      Type = \"Floor\"", "ID = 0\n      Type = \"Floor\""},
      {"String(20)", "String(20"},
      {"String(20)", "Strong(20)"},
      {"      Type = Integer\n", ""},
      {"{2, 1100}", "{2, 1100"},
      {"{2, 1100}", "{2, = 1100}"},
      {"0 = \"Cellar\"", "0 = Cellar"},
      {"0x01 = ", "0xzz = "},
      {"* \"fans\"", "* 7"},
      {"Class = \"Contoso|Fan|1.0\"\n    Key", "Key"},
      {"Start Component", "Hello"},
      {"Start Component", "= Start Component"},
      {"Start Component", "Name = \"x\"\nStart Component"},
      {"ID = 1\n    Class", "ID = 99999999999999999999999\n    Class"}};
  for (const auto& [from, to] : damages) EXPECT_EQ(code_of(with(asset(), from, to)), "mif.syntax") << from << " → " << to;
}

TEST(MifText, TellsTheLine) {
  const auto checked = check_mif(with(asset(), "String(20)", "Strong(20)"), true);
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message, HasSubstr("Line 23: \"Strong\""));
}

TEST(MifText, IsBounded) {
  std::string attributes, groups;
  for (int i = 1; i <= 10'001; ++i)
    attributes += "Start Attribute\nName = \"a\"\nID = " + std::to_string(i) + "\nType = Int\nEnd Attribute\n";
  for (int i = 1; i <= 1'001; ++i)
    groups += "Start Group\nName = \"g\"\nClass = \"c\"\nStart Attribute\nName = \"a\"\nID = 1\nType = Int\nEnd Attribute\nEnd Group\n";
  const auto component = [](const std::string& inside) { return "Start Component\nName = \"c\"\n" + inside + "End Component\n"; };
  EXPECT_EQ(code_of(component("Start Group\nName = \"g\"\nClass = \"c\"\n" + attributes + "End Group\n"), false), "mif.too_many");
  EXPECT_EQ(code_of(component(groups), false), "mif.too_many");
  EXPECT_EQ(code_of("Start Component\nName = \"" + std::string(100'000, 'x') + "\"\nEnd Component\n", false), "mif.syntax");
}

// Goal: no file makes the reader crash, hang or read beyond. Method: every beginning of the file, and each of its bytes changed.
TEST(MifText, WithstandsEveryCutAndEveryFlippedByte) {
  const std::string whole = asset();
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    const bool only_space_left = whole.find_first_not_of(" \n", cut) == std::string::npos;
    EXPECT_EQ(check_mif(whole.substr(0, cut), true).has_value(), only_space_left) << cut;
    std::string flipped = whole;
    flipped[cut] = static_cast<char>(flipped[cut] ^ 0x15);
    [[maybe_unused]] const auto any = check_mif(flipped, true);
  }
}

class MifFolderTest : public ::testing::Test {
 protected:
  MifFolderTest() {
    config_.folder = scratch_.file("mif");
    std::filesystem::create_directory(config_.folder);
  }
  void start() { folder_.emplace(config_, notebook_, clock_); }
  void write(const std::string& name, const std::string& text) { std::ofstream(config_.folder + "/" + name, std::ios::binary) << text; }
  /// What an hour brings.
  std::vector<v1::IdMif> sent(std::chrono::minutes time = 5min) {
    const SteadyTime until = clock_.steady() + time;
    while (clock_.steady() < until) {
      folder_->tick();
      clock_.advance(std::max<std::chrono::milliseconds>(1ms, std::chrono::ceil<std::chrono::milliseconds>(folder_->next_due() - clock_.steady())));
    }
    return notebook_.taken<v1::IdMif>(v1::KIND_IDMIF);
  }
  std::vector<v1::StateMessage> complaints() {
    std::vector<v1::StateMessage> all;
    for (const auto& messages : notebook_.taken<v1::StateMessages>(v1::KIND_STATE_MESSAGES)) {
      for (const auto& message : messages.messages()) all.push_back(message);
    }
    return all;
  }
  bool is_there(const std::string& name) { return std::filesystem::exists(config_.folder + "/" + name); }

  Scratch scratch_;
  ManualClock clock_;
  MemoryNotebook notebook_;
  MifFolderConfig config_;
  std::optional<MifFolder> folder_;
};

TEST_F(MifFolderTest, SendsAFileOnceForEachContent) {
  start();
  write("asset.mif", asset());
  const auto first = sent();
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_EQ(first[0].file_name(), "asset.mif");
  EXPECT_EQ(first[0].text(), asset());
  EXPECT_GT(first[0].modified_ms(), 0);
  EXPECT_THAT(sent(), IsEmpty());
  start();
  EXPECT_THAT(sent(), IsEmpty()) << "also after a restart";
  write("asset.mif", asset());  // touched
  EXPECT_THAT(sent(), IsEmpty());
  write("asset.mif", with(asset(), "quoted", "other"));
  EXPECT_THAT(sent(), SizeIs(1));
  EXPECT_TRUE(is_there("asset.mif"));
  EXPECT_THAT(complaints(), IsEmpty());
}

TEST_F(MifFolderTest, WaitsUntilNobodyWritesAnyMore) {
  config_.interval = 1s;
  start();
  write("asset.mif", "Start Component");
  for (int seconds = 0; seconds < 30; ++seconds) {
    write("asset.mif", asset().substr(0, 100 + static_cast<std::size_t>(seconds)));
    folder_->tick();
    clock_.advance(1s);
  }
  EXPECT_THAT(complaints(), IsEmpty());
  write("asset.mif", asset());
  EXPECT_THAT(sent(), SizeIs(1));
}

TEST_F(MifFolderTest, ABadFileIsToldOnceAndPutAside) {
  start();
  write("bad.mif", with(asset(), "String(20)", "Strong(20)"));
  EXPECT_THAT(sent(), IsEmpty());
  const auto told = complaints();
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].topic_type(), 1300u);
  EXPECT_EQ(told[0].topic_id(), "greengate:mif:bad.mif");
  EXPECT_EQ(told[0].state_id(), 2u);
  ASSERT_EQ(told[0].parameters_size(), 2);
  EXPECT_EQ(told[0].parameters(0), "mif.syntax");
  EXPECT_FALSE(is_there("bad.mif"));
  EXPECT_TRUE(is_there("bad/bad.mif"));
  EXPECT_TRUE(is_there("bad/bad.mif.reason"));
  EXPECT_THAT(sent(), IsEmpty());
  EXPECT_THAT(complaints(), IsEmpty());
}

TEST_F(MifFolderTest, ABadFileThatCannotBeMovedIsStillToldOnlyOnce) {
  start();
  write("bad", "in the way");  // no folder of that name can be made
  write("bad.mif", "Start Nonsense");
  sent();
  EXPECT_THAT(complaints(), SizeIs(1));
  EXPECT_TRUE(is_there("bad.mif"));
  start();
  sent();
  EXPECT_THAT(complaints(), IsEmpty());
}

TEST_F(MifFolderTest, RefusesByNameSizeAndKind) {
  config_.bytes_max = 1'024;
  start();
  write("a name.mif", asset());
  write("large.mif", std::string(2'000, ' '));
  write("empty.mif", "");
  write("other.txt", "not looked at");
  write(".hidden.mif", "not looked at");
  ASSERT_EQ(symlink("/etc/passwd", (config_.folder + "/link.mif").c_str()), 0);
  ASSERT_EQ(mkfifo((config_.folder + "/pipe.mif").c_str(), 0600), 0);
  EXPECT_THAT(sent(), IsEmpty());
  std::vector<std::string> codes;
  for (const auto& told : complaints()) codes.push_back(told.topic_id() + " " + told.parameters(0));
  EXPECT_THAT(codes, ::testing::UnorderedElementsAre("greengate:mif:a name.mif mif.name", "greengate:mif:large.mif mif.too_large", "greengate:mif:empty.mif mif.empty"));
  EXPECT_TRUE(is_there("other.txt") && is_there(".hidden.mif") && is_there("link.mif"));
}

TEST_F(MifFolderTest, AFullDiskLosesNothing) {
  start();
  write("asset.mif", asset());
  write("bad.mif", "Start Nonsense");
  notebook_.disk_full = true;
  sent();
  EXPECT_TRUE(is_there("bad.mif"));
  notebook_.disk_full = false;
  EXPECT_THAT(sent(), SizeIs(1));
  EXPECT_THAT(complaints(), SizeIs(1));
}

TEST_F(MifFolderTest, ComplainsNoMoreThanTwentyTimesAnHour) {
  start();
  for (int i = 0; i < 60; ++i) write("bad" + std::to_string(i) + ".mif", "Start Nonsense");
  sent(5min);
  EXPECT_THAT(complaints(), SizeIs(20));
  EXPECT_TRUE(is_there("bad/bad59.mif")) << "put aside all the same";
}

TEST_F(MifFolderTest, AFolderThatIsMadeLaterIsFound) {
  std::filesystem::remove(config_.folder);
  start();
  EXPECT_THAT(sent(), IsEmpty());
  std::filesystem::create_directory(config_.folder);
  write("asset.mif", asset());
  EXPECT_THAT(sent(), SizeIs(1));
}

}  // namespace
}  // namespace greengate::agent
