// Goal: what leaves the process is the specification's, to whom it may concern, and nothing secret stays behind. Method: a TLS server in this
// process under the real names; only the connection is led there, so the checks of addresses, names and certificates are the real ones.
#include "adapters/http/client.h"
#include "adapters/wns/wns_sender.h"
#include "core/log.h"
#include "tests/adapters/http/scripted_server.h"
#include "tests/adapters/wns/lab.h"

#include <sys/stat.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <set>
#include <thread>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

namespace asio = boost::asio;

const std::string secret_text = "Sim+Secret/With&Specials=";
const std::string token_text = "U0lNLVRPS0VOLTAwMDE=";
const std::string secret_uri = "https://wns2-sim1p.notify.windows.com/?token=U0lN%2bQ0hBTk5FTC0wMDAx%2f0001%3d%3d";

std::vector<std::string> lines_of(const std::string& message) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < message.size();) {
    const auto end = message.find("\r\n", at);
    lines.push_back(message.substr(at, end - at));
    if (end == std::string::npos) break;
    at = end + 2;
  }
  return lines;
}

/// The same request, whatever the order of its headers.
void expect_same_request(const std::string& sent, const std::string& sample) {
  auto mine = lines_of(sent), theirs = lines_of(sample);
  ASSERT_FALSE(mine.empty());
  EXPECT_EQ(mine.front(), theirs.front());
  std::sort(mine.begin(), mine.end());
  std::sort(theirs.begin(), theirs.end());
  EXPECT_EQ(mine, theirs);
}

/// Keeps records in memory, sealed or not is the composition root's affair.
class MemoryBook final : public ChannelBook {
 public:
  Result<std::optional<std::string>> find(const AgentId& device) override {
    std::lock_guard lock(mutex_);
    const auto found = records_.find(device);
    return found == records_.end() ? std::optional<std::string>() : std::optional(found->second);
  }
  Result<void> keep(const AgentId& device, const std::string& record) override {
    std::lock_guard lock(mutex_);
    if (fail_next > 0) {
      --fail_next;
      return fail(Remedy::retry, "test.disk", "The disk is full.");
    }
    if (record.empty())
      records_.erase(device);
    else
      records_[device] = record;
    return {};
  }
  std::size_t size() const {
    std::lock_guard lock(mutex_);
    return records_.size();
  }
  std::atomic<int> fail_next{0};

 private:
  mutable std::mutex mutex_;
  std::map<AgentId, std::string> records_;
};

/// Both token services and WNS behind one port.
class FakeWns {
 public:
  explicit FakeWns(std::string names = "DNS:*.notify.windows.com,DNS:login.live.com,DNS:login.microsoftonline.com")
      : certificate(make_certificate(names)), context_(asio::ssl::context::tls_server) {
    context_.use_certificate_chain(asio::buffer(certificate.certificate_pem));
    context_.use_private_key(asio::buffer(certificate.key_pem), asio::ssl::context::pem);
    server_.emplace([this](ScriptedServer::Peer& peer) { serve(peer); }, &context_);
    ca_file = std::filesystem::temp_directory_path() / ("wns-test-ca-" + std::to_string(server_->port()) + ".pem");
    std::ofstream(ca_file) << certificate.certificate_pem;
  }
  ~FakeWns() {
    server_.reset();
    std::filesystem::remove(ca_file);
  }
  std::string override_to() const { return "127.0.0.1:" + std::to_string(server_->port()); }
  std::vector<std::string> requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  std::vector<std::string> pushes() const {
    auto all = requests();
    std::erase_if(all, [](const std::string& request) { return request.find("Host: login.") != std::string::npos; });
    return all;
  }
  std::size_t token_requests() const { return requests().size() - pushes().size(); }
  void answer_pushes(std::string message) {
    std::lock_guard lock(mutex_);
    push_answer_ = std::move(message);
  }
  void answer_tokens(std::string message) {
    std::lock_guard lock(mutex_);
    token_answer_ = std::move(message);
  }
  int connections() const { return server_->connections(); }

  const TestCertificate certificate;
  std::filesystem::path ca_file;

 private:
  void serve(ScriptedServer::Peer& peer) {
    for (;;) {
      const std::string request = peer.read_request();
      if (request.empty()) return;
      std::string answer;
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(request);
        answer = request.find("Host: login.") != std::string::npos ? token_answer_ : push_answer_;
      }
      if (answer == "close") return;
      peer.send(answer);
    }
  }

  asio::ssl::context context_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::string> requests_;
  std::string push_answer_ = read_sample("http/11-push-200-received-connected.http");
  std::string token_answer_ = read_sample("http/02-token-legacy-200.http");
  std::optional<ScriptedServer> server_;
};

/// A sender with its net thread.
class House {
 public:
  explicit House(const FakeWns& wns, std::function<void(WnsSettings&)> change = [](WnsSettings&) {}) : guard_(asio::make_work_guard(net_)) {
    static std::atomic<int> number{0};
    folder = std::filesystem::temp_directory_path() / ("wns-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
    std::filesystem::create_directories(folder);
    write_secret(secret_text);
    settings.enabled = true;
    settings.apps.resize(1);
    settings.apps[0].pfn = "fabrikam.mdm_8wekyb3d8bbwe";
    settings.apps[0].client_id = "S-1-15-2-1000000001-1000000002-1000000003-1000000004-1000000005-1000000006-1000000007";
    settings.apps[0].secret_files = {folder / "secret"};
    settings.ca_file = wns.ca_file;
    for (const char* suffix : {"notify.windows.com", "login.live.com", "login.microsoftonline.com"})
      settings.connect_override.push_back(suffix + ("=" + wns.override_to()));
    settings.fingerprint_key_file = folder / "fingerprint.key";
    change(settings);
  }
  ~House() {
    close();
    std::filesystem::remove_all(folder);
  }
  void open() {
    auto made = make_wns_waker(net_, settings, book, clock_, metrics, 7);
    ASSERT_TRUE(made) << made.error().message;
    waker = std::move(*made);
    const auto started = waker->start();
    ASSERT_TRUE(started) << started.error().message;
    thread_ = std::thread([this] { net_.run(); });
  }
  void close() {
    if (waker) waker->stop();
    guard_.reset();
    net_.stop();
    if (thread_.joinable()) thread_.join();
    waker.reset();
  }
  void write_secret(const std::string& text) {
    // As an operator replaces it: another file under the same name.
    std::ofstream(folder / "secret.new") << text << "\n";
    ::chmod((folder / "secret.new").c_str(), 0600);
    std::filesystem::rename(folder / "secret.new", folder / "secret");
  }
  void enroll(const AgentId& who, const std::string& uri) {
    waker->session_opened(who);
    ChannelReading reading;
    reading.enrollment = "0A";
    reading.uri = uri;
    reading.push_status = 0;
    waker->channel_read(who, reading);
    waker->session_closed(who);
  }
  WakeAnswer wake(const AgentId& who) {
    WakeOrder order;
    order.reason = "quick_scan";
    order.deadline = clock_.wall() + hours(9);
    return waker->wake(std::span(&who, 1), order).at(who);
  }
  std::string outcome(const AgentId& who) const {
    const auto view = waker->view(who);
    return view ? view->last_outcome : "";
  }

  WnsSettings settings;
  MemoryBook book;
  Metrics metrics;
  std::unique_ptr<Waker> waker;
  std::filesystem::path folder;

 private:
  SystemClock clock_;
  asio::io_context net_;
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  std::thread thread_;
};

template <class Condition>
bool eventually(Condition condition) {
  const auto until = std::chrono::steady_clock::now() + seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

std::mutex logged_mutex;
std::string logged;

struct LogWatch {
  LogWatch() {
    {
      std::lock_guard lock(logged_mutex);
      logged.clear();
    }
    set_log_level(LogLevel::debug);
    set_log_sink([](std::string_view line) {
      std::lock_guard lock(logged_mutex);
      logged.append(line).append("\n");
    });
  }
  ~LogWatch() {
    set_log_sink(nullptr);
    set_log_level(LogLevel::info);
  }
  static std::string text() {
    std::lock_guard lock(logged_mutex);
    return logged;
  }
};

TEST(WnsWire, TheSendersRequestsAreTheSamples) {
  FakeWns wns;
  House house(wns);
  house.open();
  house.enroll(device(1), secret_uri);
  house.wake(device(1));
  ASSERT_TRUE(eventually([&] { return house.outcome(device(1)) == "accepted"; }));
  ASSERT_EQ(wns.requests().size(), 2u);
  expect_same_request(wns.requests()[0], read_sample("http/01-token-legacy-request.http"));
  std::string push = wns.requests()[1];
  const auto at = push.find("MS-CV: ");
  ASSERT_NE(at, std::string::npos);
  EXPECT_EQ(push.substr(at + 7 + 22, 4), ".0\r\n");
  push.replace(at + 7, 22, "AAAAAAAAAAAAAAAAAAAAAA");
  expect_same_request(push, read_sample("http/10-push-raw-request.http"));
}

TEST(WnsWire, AnUrgentPushDiffersByOneHeaderOnly) {
  PushOrder order;
  order.channel = {"wns2-sim1p.notify.windows.com", "/?token=Q"};
  order.token = std::make_shared<const Secret>(std::string("T"));
  order.ttl = seconds(300);
  order.correlation = "AAAAAAAAAAAAAAAAAAAAAA.0";
  const HttpRequest normal = push_request(order, seconds(30));
  order.urgent = true;
  HttpRequest urgent = push_request(order, seconds(30));
  EXPECT_EQ(header_in(urgent.headers, "x-wns-priority"), "1");
  EXPECT_EQ(header_in(normal.headers, "x-wns-priority"), "");
  std::erase_if(urgent.headers, [](const auto& header) { return header.first == "X-WNS-PRIORITY"; });
  EXPECT_EQ(urgent.headers, normal.headers);
}

TEST(WnsWire, AnEntraAppAsksItsTenant) {
  FakeWns wns;
  wns.answer_tokens(read_sample("http/07-token-entra-200-string-expiry.http"));
  House house(wns, [](WnsSettings& settings) {
    settings.apps[0].auth = "entra";
    settings.apps[0].client_id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
    settings.apps[0].tenant = "11111111-2222-4333-8444-555555555555";
  });
  house.write_secret("Sim~Secret.2");
  house.open();
  house.enroll(device(1), secret_uri);
  house.wake(device(1));
  ASSERT_TRUE(eventually([&] { return house.outcome(device(1)) == "accepted"; }));
  expect_same_request(wns.requests()[0], read_sample("http/06-token-entra-request.http"));
}

TEST(WnsWire, EverySampleAnswerIsUnderstood) {
  const std::vector<std::pair<std::string, std::string>> samples{
      {"11-push-200-received-connected", "accepted"},       {"12-push-200-received-disconnected-cached", "accepted_cached"},
      {"13-push-200-dropped-disconnected", "dropped_offline"}, {"14-push-200-dropped-connected", "dropped"},
      {"15-push-200-channelthrottled", "channel_throttled"}, {"16-push-400-ttl-conflict", "bad_request"},
      {"17-push-401-token", "token_rejected"},              {"18-push-403-app-mismatch", "app_mismatch"},
      {"19-push-404-unknown", "channel_unknown"},           {"20-push-405", "bad_request"},
      {"21-push-406-appthrottled", "app_throttled"},        {"22-push-410-expired", "channel_expired"},
      {"23-push-410-revoked", "channel_revoked"},           {"24-push-410-domain-blocked", "domain_blocked"},
      {"25-push-413", "too_large"},                         {"26-push-429-appthrottled", "app_throttled"},
      {"27-push-500", "server_error"},                      {"28-push-503", "unavailable"},
      {"29-push-200-legacy-header-only", "accepted"},       {"30-push-302-hostile-redirect", "unexpected_redirect"}};
  LogWatch quiet;
  FakeWns wns;
  for (const auto& [file, outcome] : samples) {
    wns.answer_pushes(read_sample("http/" + file + ".http"));
    House house(wns);
    house.open();
    house.enroll(device(1), secret_uri);
    house.wake(device(1));
    EXPECT_TRUE(eventually([&] { return house.outcome(device(1)) == outcome; })) << file << ": " << house.outcome(device(1));
  }
  for (const std::string& request : wns.requests()) EXPECT_EQ(request.find("Host: attacker"), std::string::npos);
}

TEST(WnsWire, AHeadIsBelievedWhenItsBodyIsTooLong) {
  FakeWns wns;
  wns.answer_pushes("HTTP/1.1 410 Gone\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x'));
  House house(wns);
  house.open();
  house.enroll(device(1), secret_uri);
  house.wake(device(1));
  EXPECT_TRUE(eventually([&] { return house.outcome(device(1)) == "channel_expired"; }));
}

TEST(WnsWire, ATokensBodyThatIsTooLongIsAnError) {
  LogWatch watch;
  FakeWns wns;
  wns.answer_tokens("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n{\"access_token\":\"" + std::string(70'000, 't'));
  House house(wns);
  house.open();
  house.enroll(device(1), secret_uri);
  house.wake(device(1));
  EXPECT_TRUE(eventually([&] { return LogWatch::text().find("http.reply_too_large") != std::string::npos; }));
  EXPECT_TRUE(wns.pushes().empty());
}

TEST(WnsWire, NoTokenIsSentToAServerThatCannotProveItsName) {
  LogWatch quiet;
  FakeWns honest;
  FakeWns other("DNS:attacker.example");  // whose certificate is trusted, for another name
  std::ofstream(honest.ca_file, std::ios::app) << other.certificate.certificate_pem;
  House house(honest, [&](WnsSettings& settings) { settings.connect_override[0] = "notify.windows.com=" + other.override_to(); });
  house.open();
  house.enroll(device(1), secret_uri);
  house.wake(device(1));
  EXPECT_TRUE(eventually([&] { return house.outcome(device(1)) == "untrusted_host"; }));
  EXPECT_TRUE(other.requests().empty());
  EXPECT_EQ(house.waker->view(device(1))->state, "active");
}

TEST(WnsWire, NamesThatLeadIntoAPrivateNetworkAreNotCalled) {
  FakeWns wns;
  asio::io_context net;
  Metrics metrics;
  HttpClientConfig config;
  config.public_addresses_only = true;
  auto client = HttpClient::create(net, config, metrics);
  ASSERT_TRUE(client);
  HttpRequest request;
  request.server = *parse_url("https://localhost:" + wns.override_to().substr(10));
  const auto reply = (*client)->exchange_and_wait(request);
  ASSERT_FALSE(reply);
  EXPECT_STREQ(reply.error().code, "http.address");
  EXPECT_EQ(wns.connections(), 0);
}

TEST(WnsWire, AConnectionIsKeptForTheNextPush) {
  FakeWns wns;
  House house(wns);
  house.open();
  for (int i = 1; i <= 50; ++i) {
    house.enroll(device(i), uri_of(i));
    house.wake(device(i));
    ASSERT_TRUE(eventually([&] { return house.outcome(device(i)) == "accepted"; }));
  }
  EXPECT_EQ(wns.connections(), 2);  // one for the token
  EXPECT_EQ(wns.token_requests(), 1u);
}

TEST(WnsWire, ABatchIsAnsweredPerDeviceAndAllOfItIsSent) {
  FakeWns wns;
  House house(wns, [](WnsSettings& settings) {
    settings.batch_devices_max = 300;
    settings.pushes_burst = settings.pushes_per_second = settings.sessions_per_second = 5'000;
  });
  house.open();
  for (int i = 1; i <= 250; ++i) house.enroll(device(i), uri_of(i, 1, "h" + std::to_string(i % 3) + ".notify.windows.com"));
  std::vector<AgentId> batch;
  for (int i = 1; i <= 310; ++i) batch.push_back(device(i));
  WakeOrder order;
  order.reason = "policy";
  order.deadline = SystemClock().wall() + hours(1);
  const auto answers = house.waker->wake(batch, order);
  ASSERT_EQ(answers.size(), 310u);
  EXPECT_EQ(answers.at(device(1)).code, "");
  EXPECT_EQ(answers.at(device(251)).code, "wake.unknown_device");
  EXPECT_EQ(answers.at(device(310)).code, "wake.too_many");
  EXPECT_TRUE(eventually([&] { return wns.pushes().size() == 250; }));
  EXPECT_EQ(wns.token_requests(), 1u);
  EXPECT_LE(wns.connections(), 3 * 16 + 1);
}

TEST(WnsWire, AReplacedSecretIsNoticed) {
  LogWatch quiet;
  FakeWns wns;
  wns.answer_tokens(read_sample("http/04-token-legacy-400-invalid-client.http"));
  House house(wns, [](WnsSettings& settings) { settings.secrets_check = milliseconds(20); });
  house.open();
  house.enroll(device(1), secret_uri);
  EXPECT_NE(house.wake(device(1)).state, WakeState::failed);
  ASSERT_TRUE(eventually([&] { return wns.token_requests() == 1; }));
  ASSERT_TRUE(eventually([&] { return LogWatch::text().find("credentials_refused") != std::string::npos; }));
  wns.answer_tokens(read_sample("http/02-token-legacy-200.http"));
  house.write_secret("another");
  EXPECT_TRUE(eventually([&] { return house.outcome(device(1)) == "accepted"; }));
  EXPECT_NE(wns.requests().back().find("Bearer"), std::string::npos);
  EXPECT_NE(wns.requests()[1].find("client_secret=another&"), std::string::npos);
}

TEST(WnsWire, ChannelsSurviveARestartDeadOnesToo) {
  LogWatch quiet;
  FakeWns wns;
  House house(wns);
  house.book.fail_next = 2;  // tried again
  house.open();
  house.enroll(device(1), secret_uri);
  house.enroll(device(2), uri_of(2));
  wns.answer_pushes(read_sample("http/22-push-410-expired.http"));
  house.wake(device(2));
  ASSERT_TRUE(eventually([&] { return house.waker->view(device(2))->state == "dead"; }));
  const std::string fingerprint = house.waker->view(device(1))->fingerprint;
  house.waker->drain(std::chrono::steady_clock::now() + seconds(10));
  EXPECT_EQ(house.book.size(), 2u);
  house.waker->stop();

  House next(wns, [&](WnsSettings& settings) { settings.fingerprint_key_file = house.settings.fingerprint_key_file; });
  for (int i = 1; i <= 2; ++i) ASSERT_TRUE(next.book.keep(device(i), **house.book.find(device(i))));
  next.open();
  wns.answer_pushes(read_sample("http/11-push-200-received-connected.http"));
  EXPECT_EQ(next.waker->view(device(1))->fingerprint, fingerprint);
  EXPECT_EQ(next.wake(device(2)).code, "wake.channel_dead");
  next.wake(device(1));
  EXPECT_TRUE(eventually([&] { return next.outcome(device(1)) == "accepted"; }));
  next.waker->forget(device(1));
  EXPECT_TRUE(eventually([&] { return next.book.size() == 1; }));
}

TEST(WnsWire, DrainingWaitsForWhatIsUnderWayAndTakesNothingNew) {
  FakeWns wns;
  House house(wns);
  house.open();
  house.enroll(device(1), secret_uri);
  house.enroll(device(2), uri_of(2));
  house.wake(device(1));
  ASSERT_TRUE(eventually([&] { return house.outcome(device(1)) == "accepted"; }));
  house.waker->drain(std::chrono::steady_clock::now() + seconds(10));
  EXPECT_EQ(house.book.size(), 2u);
  EXPECT_EQ(house.wake(device(2)).code, "wake.stopping");
  house.waker->stop();
  house.waker->stop();
}

TEST(WnsWire, StartsOnlyWithSecretsThatAreOnes) {
  FakeWns wns;
  const auto code_with = [&](std::function<void(House&)> change) -> std::string {
    House house(wns);
    change(house);
    asio::io_context net;
    SystemClock clock;
    auto made = make_wns_waker(net, house.settings, house.book, clock, house.metrics, 1);
    if (!made) return made.error().code;
    const auto started = (*made)->start();
    (*made)->stop();
    return started ? "started" : started.error().code;
  };
  EXPECT_EQ(code_with([](House&) {}), "started");
  EXPECT_EQ(code_with([](House& house) { std::filesystem::remove(house.folder / "secret"); }), "wns.secret");
  EXPECT_EQ(code_with([](House& house) { ::chmod((house.folder / "secret").c_str(), 0644); }), "wns.secret");
  EXPECT_EQ(code_with([](House& house) { house.write_secret(""); }), "wns.secret");
  EXPECT_EQ(code_with([](House& house) { house.write_secret(std::string(5'000, 's')); }), "wns.secret");
  EXPECT_EQ(code_with([](House& house) { house.settings.ca_file = "/nonexistent"; }), "http.tls_config");
  EXPECT_EQ(code_with([](House& house) { house.settings.connect_override = {"notify.windows.com=here"}; }), "wns.config");
  EXPECT_EQ(code_with([](House& house) { std::ofstream(house.folder / "fingerprint.key") << "short"; }), "wns.fingerprint_key");
  EXPECT_EQ(code_with([](House& house) { house.settings.enabled = false; }), "started");
}

TEST(WnsWire, NothingSecretIsInALogAMetricOrAView) {
  LogWatch watch;
  FakeWns wns;
  std::string seen;  // all that an operator could see of it
  const std::vector<std::string> answers{"11-push-200-received-connected", "13-push-200-dropped-disconnected", "15-push-200-channelthrottled",
                                         "16-push-400-ttl-conflict",       "17-push-401-token",                "18-push-403-app-mismatch",
                                         "19-push-404-unknown",            "21-push-406-appthrottled",         "22-push-410-expired",
                                         "23-push-410-revoked",            "24-push-410-domain-blocked",       "25-push-413",
                                         "27-push-500",                    "28-push-503",                      "30-push-302-hostile-redirect"};
  const auto run = [&](const std::string& push_answer, const std::string& token_answer) {
    wns.answer_pushes(push_answer);
    wns.answer_tokens(token_answer);
    const std::size_t before = wns.requests().size();
    House house(wns);
    house.open();
    house.enroll(device(1), secret_uri);
    house.enroll(device(2), "https://user:hidden-word@attacker.example/?token=foreign-token");
    for (int i = 1; i <= 3; ++i) {
      const WakeAnswer answer = house.wake(device(i));
      seen += answer.code + "\n";
    }
    ASSERT_TRUE(eventually([&] { return wns.requests().size() > before; }));
    const bool token_came = token_answer.find(token_text + "\", \"expires_in\"") != std::string::npos;
    ASSERT_TRUE(eventually([&] {
      return token_came ? !house.outcome(device(1)).empty() : house.metrics.render().find("greengate_wns_token_requests_total") != std::string::npos;
    }));
    house.waker->session_opened(device(1));
    const auto view = house.waker->view(device(1));
    seen += view->state + view->fingerprint + view->why + view->last_outcome + "\n" + house.metrics.render();
  };
  const std::string good_token = read_sample("http/02-token-legacy-200.http");
  for (const std::string& name : answers) run(read_sample("http/" + name + ".http"), good_token);
  // Peers that say back what they were told.
  const std::string echo = secret_uri + " Bearer " + token_text + " " + secret_text;
  run("HTTP/1.1 400 " + echo.substr(0, 60) + "\r\nX-WNS-Error-Description: " + echo + "\r\nX-WNS-Msg-ID: " + token_text +
          "\r\nX-WNS-Debug-Trace: " + secret_uri.substr(40) + "\r\nMS-CV: " + token_text + "\r\nX-WNS-DeviceConnectionStatus: " + token_text +
          "\r\nContent-Length: 0\r\n\r\n",
      good_token);
  run("close", good_token);
  run("HTTP/1.1 nonsense " + echo + "\r\n\r\n", good_token);
  const std::string answer = good_token;
  for (const std::string& body : {"{\"error\":\"invalid_client\",\"error_description\":\"" + secret_text + "\"}", "{\"error\":\"" + secret_text + "\"}",
                                  "{\"access_token\":\"" + token_text + "\",\"token_type\":\"" + token_text + "\"}"})
    for (const char* status : {"400 Bad Request", "401 Unauthorized", "200 OK"})
      run("close", "HTTP/1.1 " + std::string(status) + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);

  const std::string all = LogWatch::text() + seen;
  EXPECT_NE(all.find("wake ended"), std::string::npos);
  EXPECT_NE(all.find("hostile_uri"), std::string::npos);
  for (const std::string& secret : {secret_text, std::string("Sim%2BSecret"), token_text, secret_uri, std::string("token="), std::string("Bearer "),
                                    std::string("client_secret"), std::string("Q0hBTk5FTC0"), std::string("hidden-word"), std::string("foreign-token"),
                                    token_text.substr(0, 10)})
    EXPECT_EQ(all.find(secret), std::string::npos) << secret << " near: " << all.substr(std::min(all.find(secret), all.size()) - std::min<std::size_t>(all.find(secret), 200), 300);
}

TEST(WnsSettings, AreHeldToTheirBounds) {
  WnsSettings settings = lab_settings();
  EXPECT_TRUE(settings.problems().empty()) << settings.problems()[0].message;
  const auto problem = [](auto change) -> std::string {
    WnsSettings changed = lab_settings();
    change(changed);
    const auto found = changed.problems();
    return found.size() == 1 ? found[0].key : std::to_string(found.size()) + " problems";
  };
  EXPECT_EQ(problem([](WnsSettings& s) { s.apps.clear(); }), "wns.app");
  EXPECT_EQ(problem([](WnsSettings& s) { s.apps[0].pfn = "fabrikam.mdm_1.0.0.0_x64__8wekyb3d8bbwe"; }), "wns.app[0].pfn");
  EXPECT_EQ(problem([](WnsSettings& s) { s.apps[0].auth = "mpns"; }), "wns.app[0].auth");
  EXPECT_EQ(problem([](WnsSettings& s) { s.apps[0].client_id = "S-1-5-21"; }), "wns.app[0].client_id");
  EXPECT_EQ(problem([](WnsSettings& s) { s.apps[0].secret_files = {"a", "b", "c"}; }), "wns.app[0].secret_files");
  EXPECT_EQ(problem([](WnsSettings& s) { s.apps[0].auth = "entra"; }), "wns.app[0].tenant");
  EXPECT_EQ(problem([](WnsSettings& s) { s.apps[0].auth = "entra"; s.apps[0].tenant = "a/../b"; }), "wns.app[0].tenant");
  EXPECT_EQ(problem([](WnsSettings& s) { s.ttl_min = milliseconds(0); }), "wns.ttl_min");
  EXPECT_EQ(problem([](WnsSettings& s) { s.confirm_after = {"6min", "5min"}; }), "wns.confirm_after");
  EXPECT_EQ(problem([](WnsSettings& s) { s.pushes_per_wake_max = 0; }), "wns.pushes_per_wake_max");
}

TEST(WnsSettings, ReadTheirAppsFromTables) {
  auto reader = ConfigReader::from_text(
      "[wns]\nenabled = true\npushes_per_second = 50\n[[wns.app]]\npfn = \"Fabrikam.MDM_8wekyb3d8bbwe\"\nclient_id = \"S-1-15-2-1\"\n"
      "secret_files = [\"/a\", \"/b\"]\n[[wns.app]]\npfn = \"other_1\"\nauth = \"entra\"\ntenant = \"t\"\nclient_idd = \"x\"\n",
      "g.toml");
  WnsSettings settings;
  settings.read(reader);
  ASSERT_EQ(settings.apps.size(), 2u);
  EXPECT_EQ(settings.apps[0].pfn, "fabrikam.mdm_8wekyb3d8bbwe");
  EXPECT_EQ(settings.apps[0].secret_files, (std::vector<std::string>{"/a", "/b"}));
  EXPECT_EQ(settings.apps[1].auth, "entra");
  EXPECT_EQ(settings.pushes_per_second, 50u);
  const auto problems = reader.problems();
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("g.toml:12: wns.app[1].client_idd is not a key Greengate knows; did you mean wns.app[1].client_id?"), std::string::npos)
      << problems[0];
}

}  // namespace
}  // namespace greengate::test
