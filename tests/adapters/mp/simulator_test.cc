// Goal: a strict management point that shares nothing with us takes every Post we make, in every layout, without a complaint. Method:
// greengate-sim in a process of its own, our messages over HTTP, its verdicts from its evidence.
#include "adapters/http/client.h"
#include "adapters/mp/discovery.h"
#include "adapters/mp/file_collection.h"
#include "adapters/mp/idmif.h"
#include "adapters/mp/management_point.h"
#include "adapters/mp/metering.h"
#include "adapters/mp/registration.h"
#include "adapters/mp/software_inventory.h"
#include "adapters/mp/state_messages.h"
#include "adapters/mp/status_message.h"
#include "tests/adapters/mp/sample_reports.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

/// The management point in a process of its own; its first line says where.
class SimulatorProcess {
 public:
  SimulatorProcess() {
    std::string pattern = (std::filesystem::temp_directory_path() / "greengate-mp-sim-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    int out[2];
    EXPECT_EQ(pipe(out), 0);
    child_ = fork();
    if (child_ == 0) {
      dup2(out[1], 1);
      execl(GREENGATE_BIN "/greengate-sim", "greengate-sim", "mp", "--dir", folder_.c_str(), "--file-type-form", "either", "--log-level",
            "warn", nullptr);
      _exit(127);
    }
    close(out[1]);
    std::string line;
    for (char c; read(out[0], &c, 1) == 1 && c != '\n';) line += c;
    close(out[0]);
    EXPECT_FALSE(line.empty()) << "the simulator did not start";
    if (!line.empty()) port_ = static_cast<std::uint16_t>(boost::json::parse(line).at("mp_port").as_int64());
  }
  ~SimulatorProcess() {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
    std::filesystem::remove_all(folder_);
  }
  std::uint16_t port() const { return port_; }
  boost::json::object last_verdict() const {
    std::ifstream lines(folder_ + "/verdicts.jsonl");
    std::string line, last;
    while (std::getline(lines, line)) last = line;
    EXPECT_FALSE(last.empty());
    return last.empty() ? boost::json::object() : boost::json::parse(last).as_object();
  }

 private:
  std::string folder_;
  pid_t child_ = -1;
  std::uint16_t port_ = 0;
};

class EveryPost : public testing::Test {
 protected:
  EveryPost() : work_(asio::make_work_guard(net_)), thread_([this] { net_.run(); }) {
    client_ = std::move(*HttpClient::create(net_, HttpClientConfig(), metrics_));
    point_ = std::make_unique<ManagementPoint>(*client_, clock_, settings_,
                                               *parse_url("http://127.0.0.1:" + std::to_string(simulator_.port())));
    identity_ = sample_identity();
    identity_.sms_id = SmsId("");
    identity_.certificate_der = *identity_.key.self_signed_certificate(settings_.certificate, clock_.wall());
    identity_.sms_id = registered(registration_message(settings_, identity_, facts()), RegistrationStatus::pending);
    EXPECT_EQ(registered(confirmation_message(settings_, identity_, facts()), RegistrationStatus::done), identity_.sms_id);
  }
  ~EveryPost() override {
    work_.reset();
    net_.stop();
    thread_.join();
  }

  ReportFacts facts(std::uint32_t major = 1, std::uint32_t minor = 0) const {
    ReportFacts facts;
    facts.made_at = clock_.wall();
    facts.inventory_policy_date = facts.made_at - std::chrono::hours(24 * 365);
    facts.message_id = new_message_id();
    facts.version_major = major;
    facts.version_minor = minor;
    return facts;
  }

  /// Posts it and gives the simulator's line about it, which must say that all is well.
  boost::json::object taken(const Result<OutgoingMessage>& message) {
    EXPECT_TRUE(message) << (message ? "" : message.error().message);
    if (!message) return {};
    const auto verdict = point_->send(*message);
    EXPECT_TRUE(verdict) << (verdict ? "" : verdict.error().message);
    boost::json::object line = simulator_.last_verdict();
    const std::string whole = boost::json::serialize(line);
    EXPECT_EQ(line["verdict"].as_string(), "accepted") << whole;
    EXPECT_EQ(line["id"].as_string(), message->message_id) << whole;
    EXPECT_TRUE(line["violations"].as_array().empty()) << whole;
    EXPECT_TRUE(line["warnings"].as_array().empty()) << whole;
    return line;
  }

  Result<OutgoingMessage> software(std::uint32_t major, std::uint32_t minor, std::initializer_list<std::pair<const char*, InstanceContent>> files) {
    const ReportFacts now = facts(major, minor);
    SoftwareInventoryWriter writer(settings_, identity_, now, minor == 0 ? InventoryKind::full : InventoryKind::delta);
    for (const auto& [name, content] : files) {
      v1::SoftwareFile file = sample_file();
      file.set_name(name);
      EXPECT_TRUE(writer.file(file, content));
    }
    return writer.finish();
  }

  Result<OutgoingMessage> collected(const std::string& bytes) {
    const ReportFacts now = facts();
    FileCollectionWriter writer(settings_, identity_, now);
    EXPECT_TRUE(writer.begin({"agent.conf", "/etc/contoso/", bytes.size(), to_millis(on(2026, 1, 1, 0))}));
    EXPECT_TRUE(writer.data(bytes));
    return writer.finish();
  }

  Result<OutgoingMessage> states(std::uint64_t first_serial) {
    const auto both = sample_states();
    const std::vector<const v1::StateMessage*> all{&both[0], &both[1]};
    return state_message(settings_, identity_, facts(), all, first_serial);
  }

  SimulatorProcess simulator_;
  boost::asio::io_context net_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
  Metrics metrics_;
  SystemClock clock_;
  MpSettings settings_ = sample_settings();
  MpIdentity identity_;
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<ManagementPoint> point_;

 private:
  SmsId registered(const Result<OutgoingMessage>& message, RegistrationStatus expected) {
    const auto verdict = point_->send(*message);
    EXPECT_TRUE(verdict && verdict->kind == Verdict::Kind::reply);
    if (!verdict || verdict->kind != Verdict::Kind::reply) return SmsId("");
    const auto reply = parse_registration_reply(settings_, verdict->xml);
    EXPECT_TRUE(reply && reply->status == expected) << verdict->xml;
    return reply ? reply->sms_id : SmsId("");
  }
};

TEST_F(EveryPost, IsTakenInAllThreeInventoryLayouts) {
  std::uint32_t major = 0;
  for (const InventoryLayout layout : {InventoryLayout::inline_body, InventoryLayout::attach, InventoryLayout::captured}) {
    settings_.inventory_layout = layout;
    SCOPED_TRACE(static_cast<int>(layout));
    ++major;
    auto line = taken(discovery_message(settings_, identity_, facts(major), sample_discovery()));
    EXPECT_EQ(line["report"].at("instances").at("CCM_Client").as_int64(), 1);

    line = taken(hardware_inventory_message(settings_, identity_, facts(major), sample_inventory()));
    EXPECT_EQ(line["report"].at("instances").at("Win32Reg_AddRemovePrograms").as_int64(), 1);

    line = taken(software(major, 0, {{"one", InstanceContent::added}, {"two", InstanceContent::added}}));
    EXPECT_EQ(line["report"].at("instances").at("FileSystemFile").as_int64(), 2);
    taken(software(major, 1, {{"one", InstanceContent::updated}, {"two", InstanceContent::deleted}, {"three", InstanceContent::added}}));
  }
}

TEST_F(EveryPost, IsTakenWhateverTheRelayCarriesAndHoweverItSaysSo) {
  std::uint64_t serial = 1;
  for (const FileTypeForm form : {FileTypeForm::element, FileTypeForm::hookprop}) {
    settings_.relay_filetype_form = form;
    SCOPED_TRACE(static_cast<int>(form));
    EXPECT_EQ(taken(states(serial))["report"].at("kind").as_string(), "state");
    serial += 2;
    for (const MeteringHistory history : {MeteringHistory::empty, MeteringHistory::attributes}) {
      settings_.metering_history = history;
      EXPECT_EQ(taken(metering_message(settings_, identity_, facts(), sample_metering()))["report"].at("kind").as_string(), "metering");
    }
    for (const int action : {11, 12}) {
      settings_.idmif_action = action;
      EXPECT_EQ(taken(idmif_message(settings_, identity_, facts(), sample_idmif()))["report"].at("kind").as_string(), "mif");
    }
  }
}

TEST_F(EveryPost, IsTakenForFilesAndStatus) {
  for (const FileAttachmentName naming : {FileAttachmentName::file_name, FileAttachmentName::path}) {
    settings_.file_attachment_name = naming;
    auto line = taken(collected(sample_file_bytes()));
    EXPECT_EQ(line["report"].at("kind").as_string(), "files");
  }
  // Odd lengths and bytes that do not compress: what follows the body's range is the file, whatever it holds.
  std::string noise;
  for (std::uint32_t i = 0, x = 1; i < 2'000'001; ++i) noise.push_back(static_cast<char>((x = x * 1'664'525 + 1'013'904'223) >> 24));
  taken(collected(noise));
  taken(collected(""));
  EXPECT_EQ(taken(status_message(settings_, identity_, facts(), sample_status()))["report"].at("kind").as_string(), "status");
}

}  // namespace
}  // namespace greengate::test
