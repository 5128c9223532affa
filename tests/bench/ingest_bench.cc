// How many reports a second the agents' door takes, and how long a report waits for its receipt.
//
//   ingest_bench [--seconds N] [--body BYTES] [--directory DIR] [--store embedded|file]
//
// The gateway's half (RouterSocket, Ingest, store) runs in this process, the agents in a second one: real CURVE DEALERs that enrol by
// token, say Hello, publish and wait for STORED receipts. Printed beside it, measured in the same run: CURVE alone (the same frames, read and
// dropped) and a group-committed file alone (the same bytes, written and synced by the batch). `--store file` puts such a file behind the
// door instead of the store, which shows what the door itself can do.
#include "adapters/agents/router_socket.h"
#include "core/log.h"
#include "core/wakeup.h"
#include "gateway/enrolment.h"
#include "gateway/enrolment_token.h"
#include "gateway/ingest.h"
#include "store/open_store.h"
#include "tests/support/fake_device_registry.h"
#include "tests/support/fake_report_queue.h"
#include "tests/support/raw_agent.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

namespace greengate::bench {
namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

constexpr const char* token_secret = "bench";

void must(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "ingest_bench: %s\n", what.c_str());
  std::exit(1);
}

struct Scenario {
  std::size_t agents = 64;
  std::size_t in_flight = 64;
  std::size_t reports_per_frame = 1;  // at most; a frame carries what waits
  double seconds = 3;
  std::size_t body_bytes = 1'024;
};

struct Measured {
  double reports_per_second = 0, p50_ms = 0, p99_ms = 0;
  double gateway_cpu_us = 0, agents_cpu_us = 0;  ///< A report; counts what the door costs even where others use the machine.
};

double cpu_seconds(const rusage& used) {
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}
double cpu_seconds(int who) {
  rusage used{};
  getrusage(who, &used);
  return cpu_seconds(used);
}

// ---- The agents' process ------------------------------------------------------------------------------------------------------

/// One agent: keeps `in_flight` reports on their way and notes how long each took.
class LoadAgent {
 public:
  LoadAgent(const std::string& endpoint, const std::string& server_key, const Scenario& scenario)
      : scenario_(scenario), link_(endpoint, server_key), sent_at_(scenario.in_flight) {
    v1::Report& report = *frame_.mutable_publish()->add_reports();
    report.set_lane(v1::LANE_STATE);
    report.set_kind(v1::KIND_STATE_MESSAGES);
    std::string body(scenario.body_bytes, 0);
    for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 131 + i / 7);
    report.set_body(std::move(body));
  }

  void ask_in() { link_.enrol(token_secret); }
  void greet() {
    auto answer = link_.receive(v1::Frame::kEnrolResult);
    // A thousand at once are too many for one round; as a real agent would, only sooner.
    while (answer && (answer->enrol_result().code() == "enrol.busy" || answer->enrol_result().code() == "enrol.rate")) {
      std::this_thread::sleep_for(20ms);
      ask_in();
      answer = link_.receive(v1::Frame::kEnrolResult);
    }
    must(answer && answer->enrol_result().state() == v1::ENROL_STATE_ACTIVE,
         "an agent was not enrolled: " + (answer ? answer->ShortDebugString() : "no answer"));
    link_.hello();
  }
  void be_welcomed() { must(link_.receive(v1::Frame::kWelcome).has_value(), "an agent was not welcomed"); }

  /// Sends as much as the window has room for.
  void publish() {
    std::size_t room = scenario_.in_flight - static_cast<std::size_t>(sent_ - stored_);
    while (room > 0) {
      const std::size_t count = std::min(room, scenario_.reports_per_frame);
      send_frame(count);
      room -= count;
    }
  }
  /// The same without any window.
  bool pour() {
    number_frame(scenario_.reports_per_frame);
    frame_.SerializeToString(&bytes_);
    return zmq_send(link_.socket(), bytes_.data(), bytes_.size(), ZMQ_DONTWAIT) >= 0;
  }

  /// What has come in. True when there was anything.
  bool hear(std::vector<float>& latencies_ms) {
    bool any = false;
    zmq_msg_t message;
    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, link_.socket(), ZMQ_DONTWAIT) >= 0) {
      any = true;
      v1::Frame frame;
      must(frame.ParseFromArray(zmq_msg_data(&message), static_cast<int>(zmq_msg_size(&message))),
           "the gateway sent what is no frame");
      const auto now = Steady::now();
      for (const auto& receipt : frame.receipts().receipts()) {
        must(receipt.status() == v1::RECEIPT_STATUS_STORED && receipt.first_sequence() == stored_ + 1,
             "a report was not simply stored: " + receipt.ShortDebugString());
        for (; stored_ < receipt.last_sequence(); ++stored_)
          latencies_ms.push_back(std::chrono::duration<float, std::milli>(
                                     now - sent_at_[(stored_ + 1) % scenario_.in_flight])
                                     .count());
      }
    }
    zmq_msg_close(&message);
    return any;
  }
  void* socket() { return link_.socket(); }
  std::uint64_t stored() const { return stored_; }

 private:
  void number_frame(std::size_t count) {
    auto& reports = *frame_.mutable_publish()->mutable_reports();
    while (static_cast<std::size_t>(reports.size()) < count) *reports.Add() = reports.Get(0);
    while (static_cast<std::size_t>(reports.size()) > count) reports.RemoveLast();
    for (auto& report : reports) report.set_sequence(++sent_);
  }
  void send_frame(std::size_t count) {
    const std::uint64_t first = sent_ + 1;
    number_frame(count);
    frame_.SerializeToString(&bytes_);
    const auto now = Steady::now();
    for (std::uint64_t sequence = first; sequence <= sent_; ++sequence)
      sent_at_[sequence % scenario_.in_flight] = now;
    link_.send_bytes(bytes_);
  }

  const Scenario scenario_;
  test::RawAgent link_;
  v1::Frame frame_;
  std::string bytes_;
  std::uint64_t sent_ = 0, stored_ = 0;
  std::vector<Steady::time_point> sent_at_;
};

/// `mode`: "window" waits for receipts, "pour" does not. Answers on stdout for the other process.
int run_agents(const std::string& mode, const std::string& endpoint, const std::string& server_key,
               const Scenario& scenario) {
  std::vector<std::unique_ptr<LoadAgent>> agents;
  for (std::size_t i = 0; i < scenario.agents; ++i)
    agents.push_back(std::make_unique<LoadAgent>(endpoint, server_key, scenario));

  if (mode == "pour") {
    const auto until = Steady::now() + std::chrono::duration<double>(scenario.seconds);
    while (Steady::now() < until) {
      bool full = false;
      for (auto& agent : agents)
        for (int i = 0; i < 64 && !full; ++i) full = !agent->pour();
      // Full queues are libzmq's turn: trying on would only take the processor away from it.
      if (full) std::this_thread::sleep_for(500us);
    }
    return 0;
  }

  for (auto& agent : agents) agent->ask_in();
  for (auto& agent : agents) agent->greet();
  for (auto& agent : agents) agent->be_welcomed();
  std::vector<float> latencies;
  std::vector<zmq_pollitem_t> waits;
  for (auto& agent : agents) waits.push_back({agent->socket(), 0, ZMQ_POLLIN, 0});

  const auto run = [&](double seconds) {
    const auto until = Steady::now() + std::chrono::duration<double>(seconds);
    while (Steady::now() < until) {
      bool any = false;
      for (auto& agent : agents) {
        agent->publish();
        any = agent->hear(latencies) || any;
      }
      if (!any) zmq_poll(waits.data(), static_cast<int>(waits.size()), 1);
    }
  };
  run(0.5);  // warm: connections grown, caches filled
  latencies.clear();
  const auto began = Steady::now();
  run(scenario.seconds);
  const double took = std::chrono::duration<double>(Steady::now() - began).count();

  std::sort(latencies.begin(), latencies.end());
  const auto at = [&](double share) {
    return latencies.empty() ? 0.0 : latencies[static_cast<std::size_t>(share * static_cast<double>(latencies.size() - 1))];
  };
  std::uint64_t all = 0;
  for (const auto& agent : agents) all += agent->stored();
  std::printf("%.1f %.3f %.3f %llu\n", static_cast<double>(latencies.size()) / took, at(0.5), at(0.99),
              static_cast<unsigned long long>(all));
  std::fflush(stdout);
  _exit(0);  // a thousand sockets need no farewell
}

/// Starts this program again as the agents and hands over its output once it is done.
class AgentsProcess {
 public:
  AgentsProcess(const std::string& mode, const std::string& endpoint, const std::string& server_key,
                const Scenario& scenario) {
    std::array<int, 2> ends{};
    must(pipe2(ends.data(), O_CLOEXEC) == 0, "no pipe");
    const std::vector<std::string> words{"ingest_bench", "--agents-process", mode, endpoint, server_key,
                                         std::to_string(scenario.agents), std::to_string(scenario.in_flight),
                                         std::to_string(scenario.reports_per_frame),
                                         std::to_string(scenario.seconds), std::to_string(scenario.body_bytes)};
    std::vector<char*> arguments;
    for (const auto& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_ = fork();
    must(pid_ >= 0, "no second process");
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      execv("/proc/self/exe", arguments.data());
      _exit(127);
    }
    close(ends[1]);
    output_ = ends[0];
  }
  std::string finish() {
    std::string all;
    std::array<char, 256> some{};
    for (ssize_t got; (got = read(output_, some.data(), some.size())) > 0;)
      all.append(some.data(), static_cast<std::size_t>(got));
    close(output_);
    int status = 0;
    waitpid(pid_, &status, 0);
    must(status == 0, "the agents' process failed");
    return all;
  }
  bool done() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
  }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
};

/// A report queue that is nothing but a file written and synced by the group; keeps the order of each agent, leases nothing.
class FileQueue final : public test::FakeReportQueue {
 public:
  explicit FileQueue(const std::string& path)
      : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)), writer_([this] { commit_all(); }) {
    must(fd_ >= 0, "no file");
  }
  ~FileQueue() override {
    offers_.close();
    writer_.join();
    close(fd_);
  }
  void keep(std::vector<store::NewReport> batch, store::KeepDone done) override {
    must(offers_.push({std::move(batch), std::move(done)}), "the file is closed");
  }
  std::uint64_t last_sequence(const AgentId&, std::uint64_t) const override { return 0; }

 private:
  using Offer = std::pair<std::vector<store::NewReport>, store::KeepDone>;
  void commit_all() {
    std::unordered_map<AgentId, std::uint64_t> last;
    std::string bytes;
    while (auto first = offers_.pop()) {
      std::vector<Offer> group = offers_.drain();
      group.insert(group.begin(), std::move(*first));
      bytes.clear();
      std::vector<std::vector<store::KeepResult>> results;
      for (const auto& [batch, done] : group) {
        auto& kept = results.emplace_back();
        for (const store::NewReport& report : batch) {
          std::uint64_t& sequence = last[report.name.agent];
          if (report.name.sequence != sequence + 1) {
            kept.push_back({store::Kept::out_of_order, sequence});
            continue;
          }
          kept.push_back({store::Kept::stored, ++sequence});
          bytes += report.body;
        }
      }
      must(write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "disk full");
      must(fdatasync(fd_) == 0, "no sync");
      if (lseek(fd_, 0, SEEK_CUR) > (1 << 30)) lseek(fd_, 0, SEEK_SET);
      for (std::size_t i = 0; i < group.size(); ++i) group[i].second(std::move(results[i]));
    }
  }

  int fd_;
  Channel<Offer> offers_{64};
  std::thread writer_;
};

// ---- The gateway's process ----------------------------------------------------------------------------------------------------

gateway::AgentsConfig wide_open(const std::string& directory) {
  gateway::AgentsConfig config;
  config.bind = "tcp://127.0.0.1:0";
  config.key_file = directory + "/agents.key";
  config.in_flight_max = config.reports_per_frame_max = 4'096;
  config.reports_per_second = config.reports_burst = 10'000'000;
  config.enrolments_per_second = 100'000;
  config.enrol_interval = 100ms;
  config.unknown_peers_max = 10'000;
  return config;
}

store::Token ticket(const Clock& clock) {
  store::Token token;
  token.id = "00000001";
  token.hash = gateway::token_hash(token_secret);
  token.uses_max = 1'000'000;
  token.created_at = clock.wall();
  token.expires_at = clock.wall() + 1h;
  return token;
}

Measured measure(const Scenario& scenario, const std::string& directory, store::ReportQueue& queue,
                 store::DeviceRegistry& devices, const Clock& clock, Metrics& metrics) {
  must(devices.add_token(ticket(clock)).has_value(), "no token");
  gateway::Ingest ingest(wide_open(directory), queue, devices, clock, metrics);
  auto started = ingest.start();
  must(started.has_value(), started ? "" : started.error().message);
  Measured measured;
  double stored = 0;
  const double gateway_began = cpu_seconds(RUSAGE_SELF), agents_began = cpu_seconds(RUSAGE_CHILDREN);
  AgentsProcess agents("window", ingest.endpoint(), ingest.public_key(), scenario);
  must(std::sscanf(agents.finish().c_str(), "%lf %lf %lf %lf", &measured.reports_per_second, &measured.p50_ms,
                   &measured.p99_ms, &stored) == 4,
       "the agents' process said nothing");
  measured.gateway_cpu_us = (cpu_seconds(RUSAGE_SELF) - gateway_began) * 1e6 / stored;
  measured.agents_cpu_us = (cpu_seconds(RUSAGE_CHILDREN) - agents_began) * 1e6 / stored;
  ingest.drain(Steady::now() + 10s);
  ingest.stop();
  return measured;
}

Measured through_the_door(const Scenario& scenario, const std::string& kind, const std::string& directory) {
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  SystemClock clock;
  Metrics metrics;
  Measured measured;
  if (kind == "file") {
    FileQueue queue(directory + "/reports");
    test::FakeDeviceRegistry devices;
    measured = measure(scenario, directory, queue, devices, clock, metrics);
  } else {
    store::StoreConfig config;
    config.directory = directory;
    config.queue_bytes_max = std::int64_t{64} << 30;
    auto store = store::open_store(config, clock, metrics);
    must(store.has_value(), store ? "" : store.error().message);
    must((*store)->start().has_value(), "the store did not start");
    measured = measure(scenario, directory, (*store)->reports(), (*store)->devices(), clock, metrics);
    (*store)->drain(Steady::now() + 10s);
    (*store)->stop();
  }
  std::filesystem::remove_all(directory);
  return measured;
}

/// The same frames, decrypted by libzmq, and dropped.
Measured curve_alone(const Scenario& scenario) {
  adapters::RouterConfig config;
  config.bind = "tcp://127.0.0.1:0";
  config.linger = 0ms;
  auto key = adapters::make_curve_key_pair();
  must(key.has_value(), "no key");
  config.key = *key;
  auto router = adapters::RouterSocket::open(config, nullptr);
  must(router.has_value(), "no socket");
  const double began = cpu_seconds(RUSAGE_SELF);
  AgentsProcess agents("pour", (*router)->endpoint(), key->public_key, scenario);
  Wakeup never;
  adapters::ReceivedFrame frame;
  std::uint64_t frames = 0;
  Steady::time_point first{}, last{};
  while (!agents.done() || (*router)->wait(never.fd(), true, 0ms)) {
    (*router)->wait(never.fd(), true, 20ms);
    while ((*router)->receive(frame)) {
      if (frames++ == 0) first = Steady::now();
      if (frames % 64 == 0) last = Steady::now();
    }
  }
  agents.finish();
  const auto reports = static_cast<double>(frames * scenario.reports_per_frame);
  Measured measured;
  measured.reports_per_second = reports / std::chrono::duration<double>(last - first).count();
  measured.gateway_cpu_us = (cpu_seconds(RUSAGE_SELF) - began) * 1e6 / reports;
  return measured;
}

/// The same bytes, written and synced `batch` reports at a time.
double file_alone(const std::string& directory, std::size_t batch, const Scenario& scenario) {
  std::filesystem::create_directories(directory);
  const std::string path = directory + "/file_alone";
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  must(fd >= 0, "no file in " + directory);
  const std::string bytes(batch * scenario.body_bytes, 'x');
  std::uint64_t batches = 0;
  const auto began = Steady::now();
  const auto until = began + 1s;
  while (Steady::now() < until) {
    must(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()), "disk full");
    must(fdatasync(fd) == 0, "no sync");
    if (++batches % 64 == 0) must(lseek(fd, 0, SEEK_SET) == 0, "no seek");
  }
  const double took = std::chrono::duration<double>(Steady::now() - began).count();
  close(fd);
  std::filesystem::remove(path);
  return static_cast<double>(batches * batch) / took;
}

int run(double seconds, std::size_t body_bytes, const std::string& kind, const std::string& directory) {
  // A thousand agents are a thousand sockets at each end.
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  set_log_level(LogLevel::error);

  std::printf("%u cores for both processes; bodies of %zu bytes; CURVE on; STORED after the sync; store: %s in %s\n\n",
              std::thread::hardware_concurrency(), body_bytes, kind.c_str(), directory.c_str());
  Scenario scenario;
  scenario.seconds = seconds;
  scenario.body_bytes = body_bytes;

  std::printf("bare limits                                    reports/s\n");
  for (const std::size_t per_frame : {1, 64}) {
    scenario.reports_per_frame = per_frame;
    const Measured measured = curve_alone(scenario);
    std::printf("CURVE alone, 64 agents, %2zu a frame           %10.0f   CPU us a report: gateway %.2f\n", per_frame,
                measured.reports_per_second, measured.gateway_cpu_us);
    std::fflush(stdout);
  }
  for (const std::size_t batch : {1, 64, 4'096})
    std::printf("file alone, %4zu a sync                       %10.0f\n", batch,
                file_alone(directory, batch, scenario));

  std::printf("\nagents  in flight  a frame   stored reports/s    p50 ms    p99 ms   CPU us a report: gateway  agents\n");
  for (const std::size_t agents : {1, 64, 1'000})
    for (const auto& [in_flight, per_frame] : {std::pair<std::size_t, std::size_t>{1, 1}, {64, 1}, {64, 64}}) {
      scenario.agents = agents;
      scenario.in_flight = in_flight;
      scenario.reports_per_frame = per_frame;
      const Measured measured = through_the_door(scenario, kind, directory + "/store");
      std::printf("%6zu  %9zu  %7s   %16.0f  %8.2f  %8.2f   %24.2f  %6.2f\n", agents, in_flight, per_frame == 1 ? "1" : "all",
                  measured.reports_per_second, measured.p50_ms, measured.p99_ms, measured.gateway_cpu_us,
                  measured.agents_cpu_us);
      std::fflush(stdout);
    }
  return 0;
}

}  // namespace
}  // namespace greengate::bench

int main(int count, char** words) {
  using namespace greengate::bench;
  if (count == 10 && std::strcmp(words[1], "--agents-process") == 0) {
    Scenario scenario;
    scenario.agents = std::stoul(words[5]);
    scenario.in_flight = std::stoul(words[6]);
    scenario.reports_per_frame = std::stoul(words[7]);
    scenario.seconds = std::stod(words[8]);
    scenario.body_bytes = std::stoul(words[9]);
    return run_agents(words[2], words[3], words[4], scenario);
  }
  double seconds = 3;
  std::size_t body_bytes = 1'024;
  std::string kind = "embedded";
  std::string directory = (std::filesystem::temp_directory_path() / "greengate-ingest-bench").string();
  for (int i = 1; i + 1 < count; i += 2) {
    if (std::strcmp(words[i], "--seconds") == 0) seconds = std::stod(words[i + 1]);
    if (std::strcmp(words[i], "--body") == 0) body_bytes = std::stoul(words[i + 1]);
    if (std::strcmp(words[i], "--store") == 0) kind = words[i + 1];
    if (std::strcmp(words[i], "--directory") == 0) directory = words[i + 1];
  }
  return run(seconds, body_bytes, kind, directory);
}
