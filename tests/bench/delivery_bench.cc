// What delivering costs: lease → translate → compress → sign → post → settle, beside the bare RSA-2048 signature measured in the same run.
//
//   delivery_bench [--sim PROGRAM] [--reports N] [--body BYTES] [--runs N] [--workers N] [--coalesce]
//
// Product code from the store to the wire runs in this process, with the real SQLite store, the real registration and the real HTTP client;
// the management point is greengate-sim in a process of its own, so its work is not in our CPU figure. Messages are verified there as always.
#include "adapters/http/client.h"
#include "adapters/mp/management_point.h"
#include "core/log.h"
#include "core/random.h"
#include "store/open_store.h"
#include "store/sealer.h"
#include "workers/courier.h"
#include "workers/identities.h"
#include "workers/key_pool.h"
#include "workers/pool.h"
#include "workers/site_errands.h"
#include "workers/translator.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <boost/asio/io_context.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <latch>
#include <string>
#include <vector>

namespace greengate::bench {
namespace {

using Steady = std::chrono::steady_clock;

void must(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "delivery_bench: %s\n", what.c_str());
  std::exit(1);
}

struct Options {
  std::string sim;
  std::size_t reports = 10'000;
  std::size_t body_bytes = 4'096;
  int runs = 3;
  std::uint32_t workers = workers::PoolConfig().workers;
  bool coalesce = false;
};

double cpu_seconds(int who) {
  rusage used{};
  getrusage(who, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

double thread_cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The management point, in a process of its own.
class Simulator {
 public:
  Simulator(const std::string& program, const std::filesystem::path& folder) {
    int out[2];
    must(pipe(out) == 0, "no pipe");
    child_ = fork();
    must(child_ >= 0, "no second process");
    if (child_ == 0) {
      dup2(out[1], 1);
      const std::string dir = (folder / "site").string();
      execl(program.c_str(), program.c_str(), "mp", "--dir", dir.c_str(), "--mp-port", "0", "--admin-port", "0", "--evidence", "none",
            "--log-level", "error", nullptr);
      _exit(127);
    }
    close(out[1]);
    std::string line;
    for (char c; read(out[0], &c, 1) == 1 && c != '\n';) line += c;
    close(out[0]);
    const auto place = line.find("\"mp_port\":");
    must(place != std::string::npos, "the simulator said: " + line);
    port_ = std::atoi(line.c_str() + place + 10);
  }
  ~Simulator() {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
  }
  int port() const { return port_; }

 private:
  pid_t child_ = -1;
  int port_ = 0;
};

class RealDoor final : public workers::MpDoor {
 public:
  RealDoor(adapters::HttpClient& http, const Clock& clock, const adapters::MpSettings& settings, const adapters::Url& url)
      : point_(http, clock, settings, url) {}
  const std::string& name() const override { return name_; }
  Result<std::string> get(std::string_view target) override { return point_.get(target); }
  Result<adapters::Verdict> send(const adapters::OutgoingMessage& message) override { return point_.send(message); }

 private:
  std::string name_ = "sim";
  adapters::ManagementPoint point_;
};

// State messages of a realistic shape, until the serialized report reaches `bytes`.
std::string state_report(std::size_t bytes) {
  v1::StateMessages all;
  while (all.ByteSizeLong() < bytes) {
    v1::StateMessage& one = *all.add_messages();
    one.set_time_ms(1'768'472'430'000 + all.messages_size());
    one.set_topic_type(500);
    one.set_topic_id("505fda07-b4f3-45fb-83d9-" + std::to_string(100'000'000'000 + all.messages_size()));
    one.set_topic_id_type(3);
    one.set_state_id(2);
    one.add_parameters("200");
    one.add_parameters(std::to_string(random_u64()));
  }
  return all.SerializeAsString();
}

int run(const Options& options) {
  const auto folder = std::filesystem::temp_directory_path() / ("greengate-delivery-bench-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  set_log_level(LogLevel::error);
  Simulator simulator(options.sim, folder);

  const SystemClock clock;
  Metrics metrics;
  store::StoreConfig store_config;
  store_config.directory = (folder / "store").string();
  std::filesystem::create_directories(store_config.directory);
  auto store = store::open_store(store_config, clock, metrics);
  must(store && (*store)->start(), "the store does not open");
  adapters::MpSettings settings;
  settings.site_code = "P01";
  auto sealer = store::Sealer::from_key_file((folder / "seal.key").string(), true);
  boost::asio::io_context net;
  auto http = adapters::HttpClient::create(net, {}, metrics);
  must(sealer && http, "no sealer or client");
  auto url = adapters::parse_url("http://127.0.0.1:" + std::to_string(simulator.port()));
  std::vector<std::unique_ptr<workers::MpDoor>> doors;
  doors.push_back(std::make_unique<RealDoor>(**http, clock, settings, *url));
  workers::CourierConfig courier_config;
  courier_config.pacing = workers::PacingConfig::unlimited();  // how fast it can be, not how fast it should
  workers::Courier courier(courier_config, std::move(doors), clock, metrics, 1);
  workers::Identities identities(settings, (*store)->devices(), *sealer, 64);
  workers::KeyPool keys(4);
  workers::Translator translator(settings);
  workers::InventoryPlanner inventories({}, settings, (*store)->baselines(), metrics);

  constexpr std::size_t devices = 16;
  std::latch ready(devices);
  workers::SiteErrandsConfig errands_config;
  errands_config.confirm_first = errands_config.confirm_cap = std::chrono::milliseconds(50);
  workers::SiteErrands errands(errands_config, settings, (*store)->devices(), (*store)->reports(), identities, keys, courier, clock,
                               metrics, [&](const AgentId&) { ready.count_down(); });
  must(keys.start() && errands.start(), "errands do not start");
  std::vector<AgentId> agents;
  for (std::size_t i = 0; i < devices; ++i) {
    store::EnrolRequest request;
    request.host_name = "bench" + std::to_string(i);
    request.key = AgentKey(request.host_name + std::string(40 - request.host_name.size(), 'k'));
    std::promise<AgentId> id;
    (*store)->devices().enrol(request, [&](Result<store::Device> device) { id.set_value(device->id); });
    agents.push_back(id.get_future().get());
    must((*store)->devices().set_state(agents.back(), store::DeviceState::active).has_value(), "an agent cannot be made active");
    errands.agent_active(agents.back());
  }
  ready.wait();
  keys.stop();  // its work for later agents is not delivery's

  const auto key = adapters::SigningKey::generate();
  const std::string to_sign(4'096, 'x');
  const std::string body = state_report(options.body_bytes);
  std::printf("%zu-byte reports, %zu devices, %u workers, %s; %zu reports a run\n\n", body.size(), devices, options.workers,
              options.coalesce ? "state messages coalesced" : "one message a report", options.reports);
  std::printf("%-6s %14s %18s %20s %8s\n", "run", "reports/s", "CPU us/report", "bare RSA-2048 us", "ratio");
  std::vector<double> ratios, rates;
  std::uint64_t sequence = 0;
  for (int turn = 1; turn <= options.runs; ++turn) {
    for (const AgentId& agent : agents) (*store)->reports().hold(agent);
    for (std::size_t done = 0; done < options.reports; done += devices) {
      ++sequence;
      std::vector<store::NewReport> batch;
      for (const AgentId& agent : agents) {
        store::NewReport report;
        report.name = {agent, 1, sequence};
        report.kind = v1::KIND_STATE_MESSAGES;
        report.collected_at = clock.wall();
        report.body = body;
        batch.push_back(std::move(report));
      }
      std::promise<void> kept;
      (*store)->reports().keep(std::move(batch), [&](auto result) {
        must(result.has_value(), "a report was not kept");
        kept.set_value();
      });
      kept.get_future().get();
    }
    double signing = thread_cpu_seconds();
    constexpr int signatures = 1'000;
    for (int i = 0; i < signatures; ++i) must(key->sign(to_sign, adapters::SignatureHash::sha256).has_value(), "a signature failed");
    signing = (thread_cpu_seconds() - signing) / signatures * 1e6;

    workers::PoolConfig pool_config;
    pool_config.workers = options.workers;
    if (!options.coalesce) pool_config.coalescer.state_reports_max = 1;
    const std::size_t expected = (options.reports + devices - 1) / devices * devices;
    std::atomic<std::size_t> delivered{0};
    std::promise<void> all_done;
    workers::Pool pool(pool_config, (*store)->reports(), (*store)->devices(), identities, translator, inventories, courier, clock, metrics,
                       [&](const workers::ReportOutcome& outcome) {
                         must(outcome.outcome == store::Outcome::delivered, "a report was not delivered: " + outcome.code);
                         if (++delivered == expected) all_done.set_value();
                       });
    const double cpu_before = cpu_seconds(RUSAGE_SELF);
    const auto began = Steady::now();
    for (const AgentId& agent : agents) (*store)->reports().unhold(agent);
    must(pool.start().has_value(), "the pool does not start");
    all_done.get_future().get();
    const double seconds = std::chrono::duration<double>(Steady::now() - began).count();
    const double cpu = (cpu_seconds(RUSAGE_SELF) - cpu_before) / static_cast<double>(expected) * 1e6;
    pool.drain({});
    // stop() would stop the courier too, which the next run needs; waking the workers is enough for them to end.
    std::printf("%-6d %14.0f %18.1f %20.1f %8.2f\n", turn, static_cast<double>(expected) / seconds, cpu, signing, cpu / signing);
    std::fflush(stdout);
    ratios.push_back(cpu / signing);
    rates.push_back(static_cast<double>(expected) / seconds);
    pool.stop();
  }
  std::sort(ratios.begin(), ratios.end());
  std::sort(rates.begin(), rates.end());
  std::printf("median %13.0f %47.2f\n", rates[rates.size() / 2], ratios[ratios.size() / 2]);
  errands.stop();
  (*store)->stop();
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace greengate::bench

int main(int argc, char** argv) {
  greengate::bench::Options options;
  options.sim = (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "greengate-sim").string();
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--coalesce") {
      options.coalesce = true;
      continue;
    }
    greengate::bench::must(i + 1 < argc, name + " takes a value");
    const char* value = argv[++i];
    if (name == "--sim") {
      options.sim = value;
    } else if (name == "--reports") {
      options.reports = static_cast<std::size_t>(std::atoll(value));
    } else if (name == "--body") {
      options.body_bytes = static_cast<std::size_t>(std::atoll(value));
    } else if (name == "--workers") {
      options.workers = static_cast<std::uint32_t>(std::atoi(value));
    } else if (name == "--runs") {
      options.runs = std::atoi(value);
    } else {
      greengate::bench::must(false, name + " is not an option");
    }
  }
  return greengate::bench::run(options);
}
