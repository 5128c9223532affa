// How much an idle client notification session costs in resident memory, and how fast sessions come
// up. Usage: bgb_sessions_bench [SESSIONS]   (10000 by default; the notification server is a
// process of its own)
#include "adapters/bgb/session_pool.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/metrics.h"
#include "tests/adapters/bgb/peer.h"

#include <boost/asio.hpp>

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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

double resident_kib() {
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1024.0;
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Counting final : adapters::BgbListener {
  void on_push(const AgentId&, const adapters::BgbPush&) override {}
  void on_online(const AgentId&) override { ++online; }
  void on_offline(const AgentId&, const Error&) override { --online; }
  std::atomic<int> online = 0;
};

AgentId agent(int n) {
  char text[17];
  std::snprintf(text, sizeof text, "%016x", static_cast<unsigned>(n));
  return AgentId(text);
}

// The server's process: says its address, then serves until the pipe closes.
void serve(const TestIdentity& identity, int say, int until) {
  Peer peer(identity);
  const std::string address = peer.address();
  if (write(say, address.data(), address.size()) < 0) _exit(1);
  close(say);
  char end;
  while (read(until, &end, 1) > 0) {
  }
  _exit(0);
}

int run(int sessions) {
  const rlimit files{1'048'576, 1'048'576};
  if (setrlimit(RLIMIT_NOFILE, &files) != 0)
    std::puts("note: the descriptor limit could not be raised");
  const TestIdentity server = make_identity("mp", "", 30, true),
                     client = make_identity("agent", "", 30, true);
  int address_pipe[2], life_pipe[2];
  if (pipe(address_pipe) != 0 || pipe(life_pipe) != 0) return 1;
  const pid_t child = fork();
  if (child == 0) {
    close(life_pipe[1]);
    serve(server, address_pipe[1], life_pipe[0]);
  }
  close(address_pipe[1]);
  close(life_pipe[0]);
  char address[64] = "";
  if (read(address_pipe[0], address, sizeof address - 1) <= 0) return 1;

  const auto pin =
      std::filesystem::temp_directory_path() / ("greengate-bgb-bench-" + std::to_string(getpid()));
  std::ofstream(pin) << server.certificate_pem;
  set_log_level(LogLevel::error);

  asio::io_context net;
  auto guard = asio::make_work_guard(net);
  SystemClock clock;
  Metrics metrics;
  Counting ear;
  adapters::BgbConfig config;
  config.enabled = true;
  config.servers = {address};
  config.certificate_file = pin.string();
  config.handshakes_per_second = 100'000;
  config.handshakes_in_flight_max = 200;
  config.sessions_max = static_cast<std::uint32_t>(sessions) + 1;
  adapters::SessionPool pool(
      net, config, clock, metrics,
      [&](const AgentId& who) -> Result<adapters::BgbIdentity> {
        return adapters::BgbIdentity{SmsId("GUID:00000000-0000-4000-8000-" + who.raw().substr(4)),
                                     client.certificate_der, client.private_key_der};
      },
      ear);
  std::thread thread([&] { net.run(); });
  if (const auto started = pool.start(); !started) {
    std::printf("not started: %s\n", started.error().message.c_str());
    return 1;
  }
  pool.open(agent(0));  // what is needed once is paid before measuring
  wait_until([&] { return ear.online == 1; }, std::chrono::seconds(30));
  malloc_trim(0);
  const double before = resident_kib(), cpu_before = cpu_seconds();
  const std::size_t allocated_before = mallinfo2().uordblks;
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 1; i <= sessions; ++i) pool.open(agent(i));
  const bool all = wait_until([&] { return ear.online == sessions + 1; }, std::chrono::minutes(5));
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const double cpu = cpu_seconds() - cpu_before, after = resident_kib();
  const double allocated = static_cast<double>(mallinfo2().uordblks - allocated_before) / 1024.0;
  malloc_trim(0);
  const double trimmed = resident_kib();
  std::printf("sessions            %d%s\n", ear.online.load() - 1,
              all ? "" : "  (not all came up)");
  std::printf("resident per idle   %.2f KiB (%.2f KiB after malloc_trim)\n",
              (after - before) / sessions, (trimmed - before) / sessions);
  std::printf("of it allocated     %.2f KiB\n", allocated / sessions);
  std::printf("came up in          %.1f s, %.0f handshakes/s with the server on the same machine\n",
              took, sessions / took);
  std::printf("our CPU per sign-in %.2f ms\n", cpu * 1000.0 / sessions);

  pool.drain(std::chrono::steady_clock::now() + std::chrono::seconds(30));
  std::printf("left after drain    %zu\n", pool.view().sessions);
  pool.stop();
  guard.reset();
  net.stop();
  thread.join();
  close(life_pipe[1]);
  waitpid(child, nullptr, 0);
  std::filesystem::remove(pin);
  return all ? 0 : 1;
}

}  // namespace
}  // namespace greengate::test

int main(int argc, char** argv) {
  const int sessions = argc > 1 ? std::atoi(argv[1]) : 10'000;
  if (sessions < 1 || sessions > 28'000) {
    std::puts("bgb_sessions_bench [SESSIONS], 1 to 28000 (one local address has no more ports)");
    return 2;
  }
  return greengate::test::run(sessions);
}
