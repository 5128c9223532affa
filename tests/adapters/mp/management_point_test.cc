// Goal: a message leaves as the specification has it and comes back as a verdict. Method: our own
// small server in the management point's place, remembering what it got.
#include "adapters/mp/management_point.h"
#include "adapters/http/client.h"
#include "adapters/http/server.h"
#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/policy.h"
#include "adapters/mp/utf16.h"
#include "tests/adapters/mp/fixture.h"

#include <gtest/gtest.h>
#include <boost/asio/executor_work_guard.hpp>

#include <thread>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

class ManagementPointTest : public testing::Test {
 protected:
  ManagementPointTest() : work_(asio::make_work_guard(net_)) {
    HttpServerConfig config;
    config.port = 0;
    server_ =
        std::make_unique<HttpServer>(net_, config, plain_handler([this](const HttpCall& call) {
                                       seen_ = call;
                                       return answer_;
                                     }));
    const auto started = server_->start();
    EXPECT_TRUE(started);
    thread_ = std::thread([this] { net_.run(); });
    client_ = std::move(*HttpClient::create(net_, HttpClientConfig(), metrics_));
    point_ = std::make_unique<ManagementPoint>(
        *client_, clock_, settings_,
        *parse_url("http://127.0.0.1:" + std::to_string(server_->port())));
  }
  ~ManagementPointTest() override {
    server_->stop();
    work_.reset();
    thread_.join();
  }

  asio::io_context net_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  Metrics metrics_;
  SystemClock clock_;
  const MpSettings settings_ = sample_settings();
  HttpReply answer_;  // set before an exchange, read on the net thread during it
  HttpCall seen_;
  std::unique_ptr<HttpServer> server_;
  std::thread thread_;
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<ManagementPoint> point_;
};

std::vector<std::string>* warnings = nullptr;

TEST_F(ManagementPointTest, WarnsOfAMessageLargerThanSitesUsuallyTake) {
  std::vector<std::string> lines;
  warnings = &lines;
  set_log_sink([](std::string_view line) { warnings->emplace_back(line); });
  OutgoingMessage message;
  message.endpoint = "MP_HinvEndpoint";
  message.xml_bytes = settings_.message_bytes_warn;
  (void)point_->send(message);
  EXPECT_TRUE(lines.empty());
  message.xml_bytes += 1;
  (void)point_->send(message);
  set_log_sink({});
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_NE(lines[0].find("what=MP_HinvEndpoint bytes=5242881"), std::string::npos) << lines[0];
}

TEST_F(ManagementPointTest, SendsAnInvokeAndReadsItsReply) {
  const std::string xml = sample("policy-reply.xml");
  answer_ = HttpReply(200, "multipart/mixed; boundary=\"b\"",
                      multipart_head("b") + "\xFF\xFE" + multipart_middle("b") +
                          compress_zlib(utf16_from_utf8(xml) + std::string(2, '\0'), 6) +
                          multipart_tail("b"));
  const auto message = policy_request(settings_, sample_identity(), sample_facts(), "");
  const auto verdict = point_->send(*message);
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_EQ(verdict->kind, Verdict::Kind::reply);
  EXPECT_EQ(verdict->xml, xml);

  EXPECT_EQ(seen_.method, "CCM_POST");
  EXPECT_EQ(seen_.target, "/ccm_system/request");
  EXPECT_EQ(seen_.header("Content-Type"),
            "multipart/mixed; boundary=\"aAbBcCdDv1234567890VxXyYzZ\"");
  EXPECT_EQ(seen_.header("User-Agent"), "ConfigMgr Messaging HTTP Sender");
  EXPECT_EQ(seen_.header("Accept-Encoding"), "");
  // The envelope names the one it went to; what was signed is as it was.
  OutgoingMessage arrived = *message;
  arrived.http_body = seen_.body;
  EXPECT_EQ(inside(open(arrived).header, "TargetHost"), "127.0.0.1");
  EXPECT_EQ(open(arrived).payload, open(*message).payload);
}

TEST_F(ManagementPointTest, PassesOnRefusalsAndFailures) {
  const auto message = policy_request(settings_, sample_identity(), sample_facts(), "");
  answer_ = HttpReply(200, "", "");
  EXPECT_EQ(point_->send(*message)->kind, Verdict::Kind::refused);
  answer_ = HttpReply(503, "", "");
  answer_.headers.emplace_back("Retry-After", "30");
  const auto busy = point_->send(*message);
  ASSERT_FALSE(busy);
  EXPECT_STREQ(busy.error().code, "mp.unavailable");
  EXPECT_EQ(busy.error().retry_after, std::chrono::seconds(30));
}

TEST_F(ManagementPointTest, BringsSmallDocumentsAsTheirBytesWereSent) {
  answer_ = HttpReply(200, "text/xml", "<MPList />");
  EXPECT_EQ(*point_->get("/SMS_MP/.sms_aut?MPLIST"), "<MPList />");
  EXPECT_EQ(seen_.target, "/SMS_MP/.sms_aut?MPLIST");
  const std::string wide = "\xFF\xFE" + utf16_from_utf8("<MPList />") + std::string(2, '\0');
  answer_ = HttpReply(200, "text/xml", wide);
  EXPECT_EQ(*point_->get("/SMS_MP/.sms_aut?MPLIST"), wide);
}

TEST_F(ManagementPointTest, HoldsADocumentThatIsNotThereAgainstNobody) {
  for (const unsigned status : {401u, 403u, 404u, 405u}) {
    answer_ = HttpReply(status, "text/html", "");
    const auto got = point_->get("/x");
    ASSERT_FALSE(got);
    EXPECT_STREQ(got.error().code, "mp.no_document");
    EXPECT_EQ(got.error().remedy, Remedy::reject) << "a retry would rest the management point";
  }
  answer_ = HttpReply(503, "text/html", "");
  EXPECT_STREQ(point_->get("/x").error().code, "mp.unavailable");
}

}  // namespace
}  // namespace greengate::test
