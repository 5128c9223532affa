// What client notification costs at scale: N sessions in this process against greengate-sim in another. Resident memory of an idle
// session beside the bare limit, a push to all until the site has every answer, and a mass disconnect until 95 % are back.
//
//   notify_bench [--http] [--sessions 19000] [--pushes 5] [--disconnects 1] [--handshakes 200] [--backoff-ms 60000] [--bare 2000]
//
// The defaults are the product's: a start at 200 handshakes a second takes 95 s, a mass disconnect 60 to 190 s. With --http
// all sessions are over HTTPS: one request of each hangs, and each answer to a push is a connection of its own, in its turn.
#include "adapters/bgb/session_pool.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/metrics.h"
#include "tests/adapters/bgb/peer.h"
#include "tests/bench/notify_bench_site.h"

#include <boost/asio.hpp>

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace greengate::test {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::minutes;
using Moment = std::chrono::steady_clock::time_point;

struct Options {
  int sessions = 19'000, pushes = 5, disconnects = 1, handshakes = 200, backoff_ms = 60'000, bare = 2'000;
  bool http = false;
};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double since(Moment begin) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(); }

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

AgentId agent(int n) {
  char text[17];
  std::snprintf(text, sizeof text, "%016X", static_cast<unsigned>(n));
  return AgentId(text);
}

// Answers every push at once and counts what it hears.
struct Ear final : adapters::BgbListener {
  void on_push(const AgentId& who, const adapters::BgbPush& push) override {
    ++pushes;
    pool->respond(who, push.push_id, push.task_id, true);
  }
  void on_online(const AgentId&) override { ++online; }
  void on_offline(const AgentId&, const Error&) override { --online; }
  adapters::SessionPool* pool = nullptr;
  std::atomic<int> online = 0, pushes = 0;
};

// Over TCP identities are asked for when a handshake begins and for nothing else: the moments of all handshakes.
class Handshakes {
 public:
  void begun() {
    std::lock_guard lock(mutex_);
    moments_.push_back(std::chrono::steady_clock::now());
  }
  std::size_t count() const {
    std::lock_guard lock(mutex_);
    return moments_.size();
  }
  /// The most that began in any one second, wherever it begins.
  std::size_t most_in_a_second() const {
    std::lock_guard lock(mutex_);
    std::size_t most = 0, from = 0;
    for (std::size_t to = 0; to < moments_.size(); ++to) {
      while (moments_[to] - moments_[from] >= std::chrono::seconds(1)) ++from;
      most = std::max(most, to - from + 1);
    }
    return most;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Moment> moments_;
};

void push_to_all(const NotifySite& site, Ear& ear, const Options& options) {
  std::vector<double> took, cpu;
  for (int i = 0; i < options.pushes; ++i) {
    const int heard = ear.pushes;
    const double cpu_before = cpu_seconds();
    const auto begin = std::chrono::steady_clock::now();
    const auto push = site.call("push", R"({"clients":"all","task_type":1})");
    const auto id = push.at("push_id").to_number<std::int64_t>();
    std::int64_t answered = 0;
    const bool all = wait_until(
        [&] {
          if (ear.pushes - heard < options.sessions) return false;
          const auto pushes = site.call("pushes");
          for (const auto& one : pushes.at("pushes").as_array())
            if (one.at("push_id").to_number<std::int64_t>() == id) answered = one.at("answered").to_number<std::int64_t>();
          return answered >= options.sessions;
        },
        minutes(10));
    took.push_back(since(begin));
    cpu.push_back((cpu_seconds() - cpu_before) * 1e6 / options.sessions);
    if (!all) std::printf("push %d: only %lld answers\n", i + 1, static_cast<long long>(answered));
  }
  std::printf("push to all answered    %.2f s median, %.2f s worst of %d; our CPU %.0f us a push\n", median(took),
              *std::max_element(took.begin(), took.end()), options.pushes, median(cpu));
}

void mass_disconnect(const NotifySite& site, Ear& ear, const Options& options) {
  std::vector<double> most, all;
  const int wanted = options.sessions + 1;
  for (int i = 0; i < options.disconnects; ++i) {
    site.call("disconnect", R"({"all":true,"how":"close"})");
    must(wait_until([&] { return ear.online < wanted / 20; }, minutes(1)), "the sessions did not end");
    const auto begin = std::chrono::steady_clock::now();
    must(wait_until([&] { return ear.online >= (wanted * 95 + 99) / 100; }, minutes(20)), "95 % did not come back");
    most.push_back(since(begin));
    must(wait_until([&] { return ear.online >= wanted; }, minutes(20)), "not all came back");
    all.push_back(since(begin));
  }
  if (!most.empty()) std::printf("after a mass disconnect 95 %% back in %.0f s, all in %.0f s\n", median(most), median(all));
}

int run(const Options& options) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto folder = std::filesystem::temp_directory_path() / ("greengate-notify-bench-" + std::to_string(getpid()));
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "greengate-sim";
  const TestIdentity client = make_identity("agent", "", 30, true);
  set_log_level(LogLevel::error);
  std::optional<NotifySite> site;
  site.emplace(program, folder, options.sessions);
  const double bare = bare_session_kib(*site, client.certificate_pem, client.private_key_pem, options.bare);

  asio::io_context net;
  auto guard = asio::make_work_guard(net);
  SystemClock clock;
  Metrics metrics;
  Ear ear;
  Handshakes handshakes;
  adapters::BgbConfig config;
  config.enabled = true;
  config.servers = {site->address()};
  config.certificate_file = site->certificate_file().string();
  if (options.http) {
    config.http = "only";
    config.http_urls = {site->address() + "=" + site->http_url()};
  }
  config.handshakes_per_second = static_cast<std::uint32_t>(options.handshakes);
  config.handshakes_per_second_all = std::max(config.handshakes_per_second_all, config.handshakes_per_second);
  config.backoff_base = milliseconds(options.backoff_ms);
  config.sessions_max = static_cast<std::uint32_t>(options.sessions) + 1;
  adapters::SessionPool pool(
      net, config, clock, metrics,
      [&](const AgentId& who) -> Result<adapters::BgbIdentity> {
        handshakes.begun();
        return adapters::BgbIdentity{SmsId("GUID:00000000-0000-4000-8000-" + who.raw().substr(4)), client.certificate_der,
                                     client.private_key_der};
      },
      ear);
  ear.pool = &pool;
  std::thread thread([&] { net.run(); });
  const auto started = pool.start();
  must(started.has_value(), started ? "" : started.error().message);
  pool.open(agent(0));  // what is needed once is paid before measuring
  must(wait_until([&] { return ear.online == 1; }, minutes(1)), "no session came up");
  malloc_trim(0);
  const double before = resident_kib("self"), site_before = resident_kib(site->pid()), cpu_before = cpu_seconds();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 1; i <= options.sessions; ++i) pool.open(agent(i));
  must(wait_until([&] { return ear.online == options.sessions + 1; }, minutes(10)), "not all sessions came up");
  const double took = since(begin), cpu = cpu_seconds() - cpu_before;
  const double ours = (resident_kib("self") - before) / options.sessions;
  std::printf("sessions                %d over %s in one process, came up in %.0f s; our CPU %.2f ms a sign-in\n", options.sessions,
              options.http ? "HTTPS" : "TCP", took, cpu * 1000.0 / options.sessions);
  std::printf("resident, idle          %.1f KiB a session; a bare SSL object over a descriptor %.1f KiB; the simulator %.1f KiB\n", ours,
              bare, (resident_kib(site->pid()) - site_before) / options.sessions);

  if (options.pushes > 0) push_to_all(*site, ear, options);
  std::printf("resident after pushes   %.1f KiB a session\n", (resident_kib("self") - before) / options.sessions);
  mass_disconnect(*site, ear, options);
  // Over HTTP each request is signed, so an identity is asked for more often.
  if (options.http)
    std::printf("identities asked for    %zu times\n", handshakes.count());
  else
    std::printf("handshakes              %zu, at most %zu in any second; budget %d\n", handshakes.count(), handshakes.most_in_a_second(),
                options.handshakes);
  std::printf("violations noted        %s\n", boost::json::serialize(site->call("violations?limit=3")).c_str());

  const auto leaving = std::chrono::steady_clock::now();
  const double cpu_leaving = cpu_seconds();
  pool.drain(std::chrono::steady_clock::now() + std::chrono::seconds(60));
  const double drained = since(leaving);
  pool.stop();
  std::printf("signed off              all but %zu in %.1f s, stopped after %.1f s; our CPU %.0f us a session\n", pool.view().sessions, drained,
              since(leaving), (cpu_seconds() - cpu_leaving) * 1e6 / options.sessions);
  guard.reset();
  net.stop();
  thread.join();
  site.reset();
  std::filesystem::remove_all(folder);
  return options.http || handshakes.most_in_a_second() <= static_cast<std::size_t>(options.handshakes) ? 0 : 1;
}

}  // namespace
}  // namespace greengate::test

int main(int argc, char** argv) {
  greengate::test::Options options;
  const std::pair<const char*, int*> known[] = {{"--sessions", &options.sessions},       {"--pushes", &options.pushes},
                                                {"--disconnects", &options.disconnects}, {"--handshakes", &options.handshakes},
                                                {"--backoff-ms", &options.backoff_ms},   {"--bare", &options.bare}};
  for (int i = 1; i < argc; i += 2) {
    if (std::strcmp(argv[i], "--http") == 0) {
      options.http = true;
      --i;
      continue;
    }
    const auto option =
        std::find_if(std::begin(known), std::end(known), [&](const auto& one) { return std::strcmp(one.first, argv[i]) == 0; });
    if (option == std::end(known) || i + 1 == argc || (*option->second = std::atoi(argv[i + 1])) < 0) {
      std::puts("notify_bench [--http] [--sessions N] [--pushes N] [--disconnects N] [--handshakes N] [--backoff-ms N] [--bare N]");
      return 2;
    }
  }
  return greengate::test::run(options);
}
