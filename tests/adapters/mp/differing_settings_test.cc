// Goal: what a site needed changed is seen at start and in the documents. Method: settings in, differences out; the shipped files beside them.
#include "adapters/mp/differing_settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

std::string file(const std::string& path) {
  std::ifstream in(std::string(GREENGATE_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

TEST(DifferingSettings, AreNoneWhenNothingWasChanged) {
  MpSettings settings;
  settings.site_code = "P01";  // the administrator's, not the protocol's
  settings.target_host = "mp01";
  settings.exchange_timeout = std::chrono::seconds(5);
  EXPECT_TRUE(differing_settings(settings).empty());
}

TEST(DifferingSettings, TellValueDefaultAndGrade) {
  MpSettings settings;
  settings.inventory_layout = InventoryLayout::captured;
  settings.trailing_crlf = false;
  settings.idmif_action = 12;
  settings.reg_extra_properties = {{"A", "1"}, {"B", "2"}};
  const auto found = differing_settings(settings);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].key, "trailing_crlf");
  EXPECT_EQ(found[0].value, "false");
  EXPECT_EQ(found[0].usual, "true");
  EXPECT_EQ(found[0].grade, "M");
  EXPECT_EQ(found[1].key, "reg_extra_properties");
  EXPECT_EQ(found[1].value, "A=1,B=2");
  EXPECT_EQ(found[2].value, "captured");
  EXPECT_EQ(found[3].key, "idmif_action");
}

// A setting that the protocol leaves open and nobody reports would be found only by whoever wonders why a site behaves oddly.
TEST(DifferingSettings, LookAtEveryKeyTheShippedFileCallsOpen) {
  std::stringstream text(file("deploy/greengate.toml"));
  std::set<std::string> open, site;
  std::string line, section;
  bool in_open = false;
  while (std::getline(text, line)) {
    if (line.starts_with("[")) section = line.substr(1, line.find(']') - 1);
    if (section != "site") continue;
    if (line.starts_with("# ")) in_open = line == "# What the protocol leaves open";
    const auto equals = line.find(" = ");
    if (line.starts_with("#") || line.starts_with("[") || equals == std::string::npos) continue;
    site.insert(line.substr(0, equals));
    if (in_open) open.insert(line.substr(0, equals));
  }
  std::set<std::string> known;
  for (const std::string_view key : protocol_setting_keys()) known.insert(std::string(key));
  EXPECT_GT(open.size(), 30u);
  for (const std::string& key : open) EXPECT_TRUE(known.contains(key)) << key;
  for (const std::string& key : known) EXPECT_TRUE(site.contains(key)) << key;
}

TEST(DifferingSettings, HaveEachARowInTheCompatibilityPage) {
  const std::string page = file("docs/reference/compatibility.md");
  for (const std::string_view key : protocol_setting_keys())
    EXPECT_NE(page.find("`" + std::string(key) + "`"), std::string::npos) << key;
}

TEST(DifferingSettings, AreRefusedWhenTheyPromiseWhatIsNotPublic) {
  MpSettings settings;
  settings.site_code = "P01";
  EXPECT_TRUE(settings.problems("site").empty());
  settings.encrypt = true;
  settings.verify_reply = true;
  settings.idmif_action = 13;
  const auto problems = settings.problems("site");
  ASSERT_EQ(problems.size(), 3u);
  EXPECT_NE(problems[0].message.find("11 or 12"), std::string::npos);
  EXPECT_NE(problems[1].message.find("Use encryption"), std::string::npos);
}

}  // namespace
}  // namespace greengate::test
