#include "gateway/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

namespace greengate::test {
namespace {

using gateway::load_config;
using gateway::load_config_text;

const std::string shipped = GREENGATE_SOURCE_DIR "/deploy/greengate.toml";

TEST(Config, TheShippedFileIsFineAsItStands) {
  EXPECT_EQ(load_config(shipped).problems, std::vector<std::string>{});
}

TEST(Config, TheShippedFileNamesExactlyTheKeysThereAre) {
  std::ifstream file(shipped);
  std::string line, section;
  std::set<std::string> documented;
  while (std::getline(file, line)) {
    if (line.starts_with("[")) section = line.substr(1, line.find(']') - 1);
    const auto equals = line.find(" = ");
    if (line.empty() || line[0] == '#' || line[0] == '[' || equals == std::string::npos) continue;
    documented.insert(section + "." + line.substr(0, equals));
  }
  EXPECT_EQ(documented, gateway::config_keys());
}

TEST(Config, ReportsEveryMistakeAtOnceWithLineAndAdvice) {
  const auto loaded = load_config_text(
      "[gateway]\nroles = [\"ingest\", \"sing\"]\nobserve = \"0.0.0.0:80\"\n"
      "[site]\nsite_cod = \"P01\"\n"
      "[delivery]\nworkers = 0\n", "g.toml");
  std::string all;
  for (const auto& problem : loaded.problems) all += problem + "\n";
  EXPECT_NE(all.find("g.toml:2: gateway.roles holds \"sing\"; it can hold"), std::string::npos) << all;
  EXPECT_NE(all.find("g.toml:3: gateway.observe is \"0.0.0.0:80\"; it takes a loopback address"), std::string::npos) << all;
  EXPECT_NE(all.find("g.toml:5: site.site_cod is not a key Greengate knows; did you mean site.site_code?"), std::string::npos) << all;
}

TEST(Config, TheShippedFilesExampleOfAnAppIsOne) {
  std::ifstream file(shipped);
  std::string line, text = "[gateway]\nroles = [\"ingest\"]\n[wns]\nenabled = true\n";
  bool inside = false;
  while (std::getline(file, line)) {
    inside = inside || line == "# [[wns.app]]";
    if (inside && line.starts_with("# ")) text += line.substr(2) + "\n";
  }
  ASSERT_TRUE(inside);
  const auto loaded = load_config_text(text, "g.toml");
  EXPECT_EQ(loaded.problems, std::vector<std::string>{});
  ASSERT_EQ(loaded.config.wns.apps.size(), 1u);
  EXPECT_EQ(loaded.config.wns.apps[0].secret_files.size(), 1u);
  EXPECT_TRUE(loaded.config.wns.problems().empty());
}

TEST(Config, NeedsAManagementPointOnlyForDelivery) {
  const std::string text = "[gateway]\nroles = [\"ingest\"]\n";
  EXPECT_EQ(load_config_text(text, "g.toml").problems, std::vector<std::string>{});
  const auto loaded = load_config_text("[site]\nsite_code = \"P01\"\n", "g.toml");
  ASSERT_EQ(loaded.problems.size(), 1u);
  EXPECT_NE(loaded.problems[0].find("site.management_points is missing"), std::string::npos);
}

TEST(Config, NamesWhatIsWrongWithTheFileOfTasks) {
  const auto loaded = load_config_text("[gateway]\nroles = [\"ingest\"]\n[notifications]\ntasks_file = \"/nowhere/tasks.toml\"\n", "g.toml");
  ASSERT_EQ(loaded.problems.size(), 1u);
  EXPECT_NE(loaded.problems[0].find("g.toml:4: notifications.tasks_file"), std::string::npos) << loaded.problems[0];
  EXPECT_NE(loaded.problems[0].find("/nowhere/tasks.toml: it cannot be read"), std::string::npos) << loaded.problems[0];
}

TEST(Config, KnowsWhatEachIdentityModeNeeds) {
  const std::string start = "[site]\nmanagement_points = [\"http://mp01\"]\nsite_code = \"P01\"\n";
  EXPECT_EQ(load_config_text(start + "identity_mode = \"shared_key\"\n", "g.toml").problems, std::vector<std::string>{});
  const auto proxy = load_config_text(start + "identity_mode = \"isv_proxy\"\nproxy_sms_id = \"GUID:1\"\n", "g.toml").problems;
  ASSERT_EQ(proxy.size(), 2u);
  EXPECT_NE(proxy[0].find("site.proxy_key_file or site.proxy_certificate_file is missing"), std::string::npos) << proxy[0];
  EXPECT_NE(proxy[1].find("g.toml:5: site.proxy_sms_id is \"GUID:1\"; give what the site shows"), std::string::npos) << proxy[1];
  EXPECT_EQ(load_config_text(start + "identity_mode = \"theirs\"\n", "g.toml").problems.size(), 1u);
}

TEST(Config, RefusesToRenewCertificatesBeforeTheyAreHalfOver) {
  const std::string start = "[site]\nmanagement_points = [\"http://mp01\"]\nsite_code = \"P01\"\ncertificate_days = 30\n[registration]\n";
  EXPECT_EQ(load_config_text(start + "renew_before = \"14d\"\n", "g.toml").problems, std::vector<std::string>{});
  EXPECT_EQ(load_config_text(start + "renew_before = \"0s\"\n", "g.toml").problems, std::vector<std::string>{});
  EXPECT_EQ(load_config_text(start + "renew_before = \"15d\"\n", "g.toml").problems.size(), 1u);
}

}  // namespace
}  // namespace greengate::test
