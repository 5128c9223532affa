// Goal: the site's own list is followed only where it may lead, and the site stays the same site. Method: documents given by script, and a
// folder of ours for the pin.
#include "workers/site_map.h"

#include "adapters/mp/bootstrap.h"
#include "adapters/mp/signing_key.h"
#include "tests/support/manual_clock.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>

namespace greengate::test {
namespace {

using namespace workers;
using std::chrono::milliseconds;

class NamedDoor final : public MpDoor {
 public:
  explicit NamedDoor(std::string name) : name_(std::move(name)) {}
  const std::string& name() const override { return name_; }
  Result<adapters::Verdict> send(const adapters::OutgoingMessage&) override { return adapters::Verdict{}; }
  Result<std::string> get(std::string_view) override { return std::string(); }

 private:
  std::string name_;
};

std::string certificate(const WallTime now) {
  auto key = adapters::SigningKey::generate();
  return *key->self_signed_certificate({}, now);
}

std::string& lines_of_log() {
  static std::string lines;
  return lines;
}

class SiteMapTest : public testing::Test {
 protected:
  void SetUp() override {
    lines_of_log().clear();
    set_log_sink([](std::string_view line) {
      static std::mutex mutex;
      std::lock_guard lock(mutex);
      lines_of_log() += line;
    });
    settings_.site_code = "P01";
    folder_ = std::filesystem::temp_directory_path() / ("greengate-site-map-" + std::to_string(std::random_device{}()));
    std::filesystem::create_directories(folder_);
    config_.pin_file = folder_ / "site-signing-certificate.pem";
    config_.configured = {"http://mp01.example.test:8080"};
    show(certificate(clock_.wall()));
  }
  void TearDown() override {
    map_.reset();
    std::filesystem::remove_all(folder_);
    set_log_sink(nullptr);
  }
  void show(const std::string& der) {
    documents_["SITESIGNCERT"] = "<X509Certificate>" + adapters::upper_hex(der) + "</X509Certificate>";
  }
  void list(const std::vector<std::pair<std::string, int>>& points) {
    std::string text = "<MPList>";
    for (const auto& [host, ssl] : points)
      text += "<MP FQDN=\"" + host + "\"><Version>9128</Version><Capabilities><Property Name=\"SSLState\" Value=\"" + std::to_string(ssl) +
              "\"/></Capabilities></MP>";
    documents_["MPLIST"] = text + "</MPList>";
  }
  void open() {
    map_ = std::make_unique<SiteMap>(
        config_, settings_,
        SiteMap::Ways{.get = [this](std::string_view target) -> Result<std::string> {
                        const auto found = documents_.find(std::string(target.substr(target.find('?') + 1)));
                        if (found == documents_.end()) return fail(Remedy::reject, "mp.no_document", "It is not there.");
                        return found->second;
                      },
                      .open = [](const std::string& address) -> Result<std::unique_ptr<MpDoor>> { return std::make_unique<NamedDoor>(address); },
                      .set_points =
                          [this](std::vector<std::unique_ptr<MpDoor>> doors) {
                            ++times_set_;
                            points_.clear();
                            for (const auto& door : doors) points_.push_back(door->name());
                          }},
        clock_, metrics_, 0);
  }
  std::string refreshed() {
    const auto done = map_->refresh();
    return done ? "followed" : done.error().code;
  }

  std::filesystem::path folder_;
  ManualClock clock_;
  Metrics metrics_;
  adapters::MpSettings settings_;
  SiteMapConfig config_;
  std::map<std::string, std::string> documents_;
  std::unique_ptr<SiteMap> map_;
  std::vector<std::string> points_;
  int times_set_ = 0;
};

TEST_F(SiteMapTest, AppendsWhatTheSiteListsBehindWhatIsConfigured) {
  list({{"mp02.example.test", 0}, {"mp01.example.test", 0}, {"mp03.example.test", 63}});
  open();
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(points_, (std::vector<std::string>{"http://mp01.example.test:8080", "http://mp02.example.test:8080", "https://mp03.example.test"}));
  EXPECT_EQ(map_->view().points.at(0).version, "9128");
  EXPECT_FALSE(map_->view().points.at(1).configured);
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(times_set_, 1) << "nothing changed";
  list({});
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(points_, std::vector<std::string>{"http://mp01.example.test:8080"}) << "what is configured is never dropped";
}

TEST_F(SiteMapTest, LearnsNothingOutsideItsDomains) {
  list({{"mp02.evil.test", 0}, {"mp02.example.test.evil.test", 0}, {"xexample.test", 0}, {"127.0.0.1", 0}, {"mp02.sub.example.test", 0}});
  open();
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(points_, (std::vector<std::string>{"http://mp01.example.test:8080", "http://mp02.sub.example.test:8080"}));
  config_.mp_list_domains = {"Evil.test"};
  open();
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(points_.size(), 3u);
  EXPECT_EQ(points_.at(1), "http://mp02.evil.test:8080");
}

TEST_F(SiteMapTest, LearnsNothingFromAnAddressWithoutADomain) {
  for (const char* configured : {"http://127.0.0.1:8080", "http://mp01", "http://mp01.test"}) {
    config_.configured = {configured};
    list({{"mp02.example.test", 0}, {"mp02.test", 0}});
    open();
    EXPECT_EQ(refreshed(), "followed");
  }
  EXPECT_EQ(times_set_, 0);
}

TEST_F(SiteMapTest, NeverGoesFromHttpsBackToHttp) {
  config_.configured = {"https://mp01.example.test"};
  list({{"mp02.example.test", 0}, {"mp03.example.test", 63}});
  open();
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(points_, (std::vector<std::string>{"https://mp01.example.test", "https://mp03.example.test"}));
}

TEST_F(SiteMapTest, BoundsAndRotatesWhatItLearns) {
  config_.learned_max = 4;
  std::vector<std::pair<std::string, int>> many;
  for (int i = 0; i < 100; ++i) many.emplace_back("mp" + std::to_string(i) + "x.example.test", 0);
  list(many);
  open();
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(points_.size(), 5u);
}

TEST_F(SiteMapTest, OnlyLooksWhenToldNotToFollow) {
  config_.follow_mp_list = false;
  list({{"mp02.example.test", 0}});
  open();
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(times_set_, 0);
  EXPECT_NE(map_->view().listed_at, WallTime{});
}

TEST_F(SiteMapTest, PinsTheFirstSigningCertificateAndRefusesAnother) {
  const std::string first = certificate(clock_.wall()), second = certificate(clock_.wall());
  show(first);
  list({{"mp02.example.test", 0}});
  config_.mp_list_interval = milliseconds(0);
  open();
  ASSERT_TRUE(map_->start());
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(map_->view().signing_fingerprint, adapters::fingerprint_of(first));
  show(second);
  list({{"mp02.example.test", 0}, {"mp66.example.test", 0}});
  EXPECT_EQ(refreshed(), "site.certificate_changed");
  EXPECT_TRUE(map_->view().certificate_changed);
  EXPECT_EQ(points_.size(), 2u) << "its list is not followed";
  EXPECT_NE(lines_of_log().find("site.certificate_changed"), std::string::npos);

  open();  // another process, the same disk
  ASSERT_TRUE(map_->start());
  EXPECT_EQ(refreshed(), "site.certificate_changed");
  show(first);
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_FALSE(map_->view().certificate_changed);
  std::filesystem::remove(config_.pin_file);  // the operator's word
  show(second);
  open();
  ASSERT_TRUE(map_->start());
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(map_->view().signing_fingerprint, adapters::fingerprint_of(second));
}

TEST_F(SiteMapTest, FollowsNoListOfASiteThatNoLongerShowsItsCertificate) {
  list({{"mp02.example.test", 0}});
  open();
  EXPECT_EQ(refreshed(), "followed");
  documents_.erase("SITESIGNCERT");
  EXPECT_EQ(refreshed(), "mp.no_document");
}

TEST_F(SiteMapTest, WorksWithASiteThatShowsNoCertificateAtAll) {
  documents_.erase("SITESIGNCERT");
  list({{"mp02.example.test", 0}});
  open();
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_EQ(points_.size(), 2u);
}

TEST_F(SiteMapTest, TakesTheCertificateAnOperatorGives) {
  config_.signing_certificate_file = folder_ / "given.pem";
  open();
  const auto missing = map_->start();
  ASSERT_FALSE(missing);
  EXPECT_STREQ(missing.error().code, "site.certificate_file");
  std::ofstream(config_.signing_certificate_file) << "no certificate";
  EXPECT_FALSE(map_->start());
  const std::string given = certificate(clock_.wall());
  std::ofstream(config_.signing_certificate_file) << adapters::pem_of_certificate(given);
  config_.mp_list_interval = milliseconds(0);
  open();
  ASSERT_TRUE(map_->start());
  EXPECT_EQ(refreshed(), "site.certificate_changed");
  show(given);
  list({});
  EXPECT_EQ(refreshed(), "followed");
  EXPECT_FALSE(std::filesystem::exists(config_.pin_file));
}

TEST_F(SiteMapTest, AsksByItselfAndStops) {
  list({{"mp02.example.test", 0}});
  config_.mp_list_interval = milliseconds(1'000);
  open();
  ASSERT_TRUE(map_->start());
  for (int i = 0; i < 100'000 && map_->view().listed_at == WallTime{}; ++i) std::this_thread::yield();
  map_->stop();
  EXPECT_NE(map_->view().listed_at, WallTime{});
}

TEST(SiteMapConfig, ComplainsAboutWhatCannotBe) {
  EXPECT_TRUE(SiteMapConfig().problems().empty());
  SiteMapConfig bad;
  bad.mp_list_interval = milliseconds(5);
  bad.mp_list_domains = {"not a domain", "127.0.0.1"};
  EXPECT_EQ(bad.problems().size(), 3u);
}

}  // namespace
}  // namespace greengate::test
