// What 100,000 channels cost in memory, how many wakes the sender's core decides in a second, and how many the whole sender posts beside bare
// HTTPS posts over kept connections in the same run. Usage: wns_bench [CHANNELS] [POSTS]   (100000 and 20000 by default)
#include "adapters/http/client.h"
#include "adapters/wns/probe.h"
#include "adapters/wns/wns_core.h"
#include "adapters/wns/wns_sender.h"
#include "core/log.h"
#include "tests/adapters/http/scripted_server.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <boost/asio/co_spawn.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace greengate::test {
namespace {

namespace asio = boost::asio;
using namespace greengate::adapters;
using Tick = std::chrono::steady_clock;

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double since(Tick::time_point began) { return std::chrono::duration<double>(Tick::now() - began).count(); }

AgentId device(int number) {
  char text[17];
  std::snprintf(text, sizeof text, "%016x", static_cast<unsigned>(number));
  return AgentId(text);
}

// As long as those seen in public: about 250 characters.
std::string uri_of(int number) {
  return "https://wns2-sim" + std::to_string(number % 20) + "p.notify.windows.com/?token=" + std::string(180, 'A') + std::to_string(number) + "%3d%3d";
}

WnsSettings wide_settings() {
  WnsSettings settings;
  settings.enabled = true;
  settings.apps.resize(1);
  settings.apps[0].pfn = "fabrikam.mdm_8wekyb3d8bbwe";
  settings.apps[0].client_id = "ms-app://S-1-15-2-1";
  settings.fingerprint_key_file = "";
  settings.pushes_per_second = settings.pushes_burst = settings.sessions_per_second = 1'000'000;
  settings.batch_devices_max = 1'000'000;
  return settings;
}

void core_alone(int channels) {
  const WnsSettings settings = wide_settings();
  const SystemClock clock;
  Metrics metrics;
  WnsProbe probe(metrics);
  WnsCore core(settings, std::string(32, 'k'), clock, probe, 1);
  core.secrets_changed(0, 1);
  malloc_trim(0);
  const double before = resident_bytes();
  auto began = Tick::now();
  for (int i = 0; i < channels; ++i) {
    ChannelReading reading;
    reading.enrollment = "1A000000000000000000000000000000000000FF";
    reading.uri = uri_of(i);
    reading.push_status = 0;
    core.session_opened(device(i));
    core.channel_read(device(i), reading);
    core.session_closed(device(i));
    if (i % 256 == 255) core.take_records(256);
  }
  core.take_records(256);
  malloc_trim(0);
  const double idle = resident_bytes() - before;
  std::printf("channels in memory: %d, %.0f bytes resident each; %.0f readings/s\n", channels, idle / channels, channels / since(began));

  WakeOrder order;
  order.reason = "quick_scan";
  order.deadline = clock.wall() + std::chrono::hours(8);
  PushAnswer received;
  received.status = 200;
  received.headers = {{"X-WNS-STATUS", "received"}, {"X-WNS-NOTIFICATIONSTATUS", "received"}, {"X-WNS-DEVICECONNECTIONSTATUS", "connected"},
                      {"X-WNS-MSG-ID", "0A0B0C0D0E0F0102"}, {"X-WNS-DEBUG-TRACE", "SIMPE000001"}, {"MS-CV", "AAAAAAAAAAAAAAAAAAAAAA.0"}};
  std::string token_text = "TOKEN";
  TokenGrant grant;
  grant.token = Secret(std::move(token_text));
  grant.life = std::chrono::hours(24);
  began = Tick::now();
  const double cpu = cpu_seconds();
  for (int i = 0; i < channels; ++i) core.wake(device(i), order);
  int pushed = 0;
  while (pushed < channels) {
    WnsWork work = core.turn();
    for (const TokenOrder& one : work.tokens) core.token_answered(one.app, std::move(grant));
    for (const PushOrder& push : work.pushes) core.push_answered(push.id, received);
    pushed += static_cast<int>(work.pushes.size());
  }
  const double waiting = resident_bytes() - before;
  for (int i = 0; i < channels; ++i) core.session_opened(device(i));
  const double took = since(began);
  std::printf("core alone: %d wakes ordered, pushed and confirmed in %.2f s: %.0f wakes/s, %.1f us CPU each; %.0f bytes a channel while it waits\n",
              channels, took, channels / took, (cpu_seconds() - cpu) / channels * 1e6, waiting / channels);
}

class NoBook final : public ChannelBook {
 public:
  Result<std::optional<std::string>> find(const AgentId&) override { return std::optional<std::string>(); }
  Result<void> keep(const AgentId&, const std::string&) override { return {}; }
};

void posts(int count) {
  const TestCertificate certificate = make_certificate("DNS:*.notify.windows.com,DNS:login.live.com");
  asio::ssl::context tls(asio::ssl::context::tls_server);
  tls.use_certificate_chain(asio::buffer(certificate.certificate_pem));
  tls.use_private_key(asio::buffer(certificate.key_pem), asio::ssl::context::pem);
  std::atomic<int> pushes{0};
  ScriptedServer server(
      [&](ScriptedServer::Peer& peer) {
        for (;;) {
          const std::string request = peer.read_request();
          if (request.empty()) return;
          if (request.find("Host: login.") != std::string::npos) {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{\"access_token\":\"TOKEN1\"}");
            continue;
          }
          ++pushes;
          peer.send("HTTP/1.1 200 OK\r\nX-WNS-STATUS: received\r\nX-WNS-DEVICECONNECTIONSTATUS: connected\r\nX-WNS-MSG-ID: 0A0B0C0D0E0F0102\r\n"
                    "Content-Length: 0\r\n\r\n");
        }
      },
      &tls);
  const auto folder = std::filesystem::temp_directory_path() / ("wns-bench-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "ca.pem") << certificate.certificate_pem;
  std::ofstream(folder / "secret") << "secret\n";
  chmod((folder / "secret").c_str(), 0600);
  const std::string to = "127.0.0.1:" + std::to_string(server.port());

  asio::io_context net(1);
  const auto guard = asio::make_work_guard(net);
  std::thread thread([&] { net.run(); });
  Metrics metrics;
  const SystemClock clock;

  HttpClientConfig config;
  config.ca_file = folder / "ca.pem";
  config.connect_override = {"windows.com=" + to};
  auto client = HttpClient::create(net, config, metrics);
  if (!client) std::abort();
  std::atomic<int> next{0}, done{0};
  const auto one = [&](HttpClient& through) -> asio::awaitable<void> {
    while (next++ < count) {
      HttpRequest request;
      request.server.tls = true;
      request.server.host = "wns2-sim1p.notify.windows.com";
      request.server.port = 443;
      request.method = "POST";
      request.target = "/?token=" + std::string(180, 'A');
      request.headers = {{"Authorization", "Bearer TOKEN1"}, {"Content-Type", "application/octet-stream"}};
      request.body = "wake";
      auto reply = co_await through.exchange(std::move(request));
      if (!reply) std::abort();
      ++done;
    }
  };
  auto began = Tick::now();
  double cpu = cpu_seconds();
  for (int i = 0; i < 16; ++i) asio::co_spawn(net, one(**client), asio::detached);
  while (done < count) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double bare = count / since(began);
  std::printf("bare HTTPS posts over 16 kept connections: %.0f/s, %.0f us CPU each (both ends)\n", bare, (cpu_seconds() - cpu) / count * 1e6);

  NoBook book;
  WnsSettings settings = wide_settings();
  settings.ca_file = folder / "ca.pem";
  settings.apps[0].secret_files = {folder / "secret"};
  settings.connect_override = {"windows.com=" + to, "login.live.com=" + to};
  auto waker = make_wns_waker(net, settings, book, clock, metrics, 1);
  if (!waker || !(*waker)->start()) std::abort();
  std::vector<AgentId> batch;
  for (int i = 0; i < count; ++i) {
    batch.push_back(device(i));
    ChannelReading reading;
    reading.enrollment = "0A";
    reading.uri = "https://wns2-sim1p.notify.windows.com/?token=" + std::string(180, 'A') + std::to_string(i);
    reading.push_status = 0;
    (*waker)->session_opened(batch.back());
    (*waker)->channel_read(batch.back(), reading);
    (*waker)->session_closed(batch.back());
  }
  WakeOrder order;
  order.reason = "quick_scan";
  order.deadline = clock.wall() + std::chrono::hours(8);
  pushes = 0;
  began = Tick::now();
  cpu = cpu_seconds();
  (*waker)->wake(batch, order);
  while (pushes < count) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const double whole = count / since(began);
  std::printf("the sender over the same 16 connections: %.0f pushes/s, %.0f us CPU each (both ends): %.2f of the bare posts\n", whole,
              (cpu_seconds() - cpu) / count * 1e6, whole / bare);
  (*waker)->stop();
  (*client)->abandon();
  net.stop();
  thread.join();
  waker->reset();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace greengate::test

int main(int argc, char** argv) {
  using namespace greengate::test;
  greengate::set_log_level(greengate::LogLevel::error);
  core_alone(argc > 1 ? std::atoi(argv[1]) : 100'000);
  posts(argc > 2 ? std::atoi(argv[2]) : 20'000);
  return 0;
}
