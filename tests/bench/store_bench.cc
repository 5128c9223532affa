// How fast the store is on this machine's disk, beside what the disk itself allows in the same run.
// Usage: store_bench [directory [records [page_bytes [backlog]]]]. Figures belong in docs/adr/0003.
// Processor time a record tells what a quiet machine could do when this one is busy.
#include "core/metrics.h"
#include "store/embedded/embedded_store.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace greengate;
using store::Outcome;
using Seconds = std::chrono::duration<double>;

constexpr std::size_t kBodyBytes = 1'024;
constexpr std::size_t kDevices = 2'000;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return Seconds(std::chrono::steady_clock::now() - start).count();
}

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "store_bench: %s\n", why.c_str());
  std::exit(1);
}

/// Processor time of this process so far, all threads.
double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

std::size_t resident_bytes() {
  std::ifstream status("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  status >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

/// Makes reports round robin over the devices, `run` in a row of each.
class Maker {
 public:
  explicit Maker(std::size_t run, std::size_t devices = kDevices) : run_(run), sequences_(devices) {
    for (std::size_t i = 0; i < devices; ++i) {
      char id[17];
      std::snprintf(id, sizeof id, "%016zx", i * 0x9e3779b97f4a7c15u);
      ids_.emplace_back(id);
    }
    body_.resize(kBodyBytes);
    for (std::size_t i = 0; i < body_.size(); ++i) body_[i] = static_cast<char>(i * 131 + i / 7);
  }
  std::vector<store::NewReport> batch(std::size_t count) {
    std::vector<store::NewReport> made(count);
    for (auto& report : made) {
      report.name = {ids_[device_], 1, ++sequences_[device_]};
      report.kind = 3;
      report.body = body_;
      if (++in_run_ == run_) {
        in_run_ = 0;
        device_ = (device_ + 1) % ids_.size();
      }
    }
    return made;
  }

 private:
  std::size_t run_;
  std::vector<AgentId> ids_;
  std::vector<std::uint64_t> sequences_;
  std::string body_;
  std::size_t device_ = 0, in_run_ = 0;
};

/// Offers `records` in batches, at most `in_flight_max` unanswered, as the ingest would. All must
/// be stored.
void keep_all(store::ReportQueue& queue, Maker& maker, std::size_t records, std::size_t batch_size,
              std::size_t in_flight_max) {
  std::mutex mutex;
  std::condition_variable answered;
  std::size_t in_flight = 0;
  std::atomic<bool> failed = false;
  for (std::size_t offered = 0; offered < records; offered += batch_size) {
    auto batch = maker.batch(batch_size);
    {
      std::unique_lock lock(mutex);
      answered.wait(lock, [&] { return in_flight < in_flight_max; });
      ++in_flight;
    }
    queue.keep(std::move(batch), [&](Result<std::vector<store::KeepResult>> results) {
      if (!results)
        failed = true;
      else
        for (const auto& result : *results) failed = failed || result.kept != store::Kept::stored;
      std::lock_guard lock(mutex);
      --in_flight;
      answered.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  answered.wait(lock, [&] { return in_flight == 0; });
  if (failed) give_up("a report was not stored");
}

void settle_all(store::ReportQueue& queue, std::atomic<std::size_t>& settled, std::size_t until) {
  while (settled < until) {
    auto batch = queue.lease(store::LaneSet::all(), 256, 16 << 20, std::chrono::milliseconds(20));
    if (!batch) give_up(batch.error().message);
    if (!*batch) continue;
    std::vector<store::Settlement> settlements;
    for (const auto& report : (*batch)->reports)
      settlements.push_back({report.id, Outcome::delivered, "message"});
    if (auto done = queue.settle((*batch)->lease, settlements); !done)
      give_up(done.error().message);
    settled += settlements.size();
  }
}

store::EmbeddedOptions options;

std::unique_ptr<store::Store> open(const std::string& directory, const Clock& clock,
                                   Metrics& metrics) {
  store::StoreConfig config;
  config.directory = directory;
  auto opened = store::open_embedded(config, options, clock, metrics);
  if (!opened) give_up(opened.error().message);
  if (auto started = (*opened)->start(); !started) give_up(started.error().message);
  return std::move(*opened);
}

/// The bare limit: the same bytes in the same groups, written and synced, over a file that is
/// already there.
double raw_rate(const std::string& directory, std::size_t records, std::size_t group) {
  const std::string path = directory + "/raw";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) give_up("cannot make " + path);
  const std::string bytes(group * kBodyBytes, 'x');
  const std::size_t wrap = 64u << 20;
  const std::string fill(1 << 20, '0');
  for (std::size_t i = 0; i < wrap / fill.size(); ++i) {
    if (write(fd, fill.data(), fill.size()) < 0) give_up("cannot write");
  }
  fsync(fd);
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < records; i += group) {
    if (pwrite(fd, bytes.data(), bytes.size(),
               static_cast<off_t>(i * kBodyBytes % (wrap - bytes.size()))) < 0)
      give_up("cannot write");
    fdatasync(fd);
  }
  const double rate = static_cast<double>(records) / seconds_since(start);
  close(fd);
  std::filesystem::remove(path);
  return rate;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string base = argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string();
  const std::size_t records = argc > 2 ? std::stoul(argv[2]) : 400'000;
  if (argc > 3) options.database.page_bytes = static_cast<std::uint32_t>(std::stoul(argv[3]));
  const std::string directory = base + "/store_bench";
  const SystemClock clock;
  const auto fresh = [&] {
    std::filesystem::remove_all(directory);
    std::filesystem::create_directories(directory);
  };

  std::printf("%zu-byte bodies, %zu devices, %u processors\n", kBodyBytes, kDevices,
              std::thread::hardware_concurrency());
  const struct {
    std::size_t batch, in_flight, count;
  } cases[] = {{256, 1, records},
               {256, 8, records},
               {16, 1, records / 4},
               {16, 64, records},
               {1, 1, records / 40}};
  for (const auto& [batch, in_flight, count] : cases) {
    fresh();
    const double bare = raw_rate(directory, count / 2, batch);
    Metrics metrics;
    auto store = open(directory, clock, metrics);
    Maker maker(16);
    const std::size_t whole = count / batch * batch;
    const double cpu = cpu_seconds();
    const auto start = std::chrono::steady_clock::now();
    keep_all(store->reports(), maker, whole, batch, in_flight);
    const double rate = static_cast<double>(whole) / seconds_since(start);
    std::printf(
        "keep by %3zu, %2zu in flight: %8.0f records/s, %5.1f us processor time each (bare "
        "write+fdatasync, one at a time: %8.0f)\n",
        batch, in_flight, rate, (cpu_seconds() - cpu) * 1e6 / static_cast<double>(whole), bare);
    std::fflush(stdout);
  }

  for (const std::size_t workers : {2u, 8u}) {
    fresh();
    Metrics metrics;
    auto store = open(directory, clock, metrics);
    Maker maker(64);
    const std::size_t whole = records / 256 * 256;
    std::atomic<std::size_t> settled = 0;
    std::vector<std::thread> threads;
    const double cpu = cpu_seconds();
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < workers; ++i)
      threads.emplace_back([&] { settle_all(store->reports(), settled, whole); });
    keep_all(store->reports(), maker, whole, 256, 8);
    const double kept = seconds_since(start);
    for (auto& thread : threads) thread.join();
    std::printf(
        "keep + lease + settle, %zu workers: %8.0f records/s, %5.1f us processor time each "
        "(keeping took %.0f %% of the time)\n",
        workers, static_cast<double>(whole) / seconds_since(start),
        (cpu_seconds() - cpu) * 1e6 / static_cast<double>(whole),
        100 * kept / seconds_since(start));
    std::fflush(stdout);
  }

  {
    fresh();
    const std::size_t backlog = argc > 4 ? std::stoul(argv[4]) : 1'000'000;
    {
      Metrics metrics;
      auto store = open(directory, clock, metrics);
      Maker maker(16, 20'000);
      keep_all(store->reports(), maker, backlog / 256 * 256, 256, 8);
    }
    const std::size_t before = resident_bytes();
    const auto start = std::chrono::steady_clock::now();
    Metrics metrics;
    auto store = open(directory, clock, metrics);
    std::printf(
        "start with %zu waiting reports of 20000 devices: %.2f s, %.0f bytes resident a report\n",
        backlog / 256 * 256, seconds_since(start),
        static_cast<double>(resident_bytes() - std::min(before, resident_bytes())) /
            static_cast<double>(backlog));
  }
  std::filesystem::remove_all(directory);
}
