// What a mailbox costs: disk and memory of a device that is away, and how many posts a second are taken. The limits stand beside
// the figures: 1 KiB of disk and 300 B of memory for each of 1,000,000 absent devices with one waiting action.
// Usage: mailbox_bench [directory [devices]]. The registry is left out: it is the same with and without a mailbox.
#include "core/metrics.h"
#include "store/embedded/embedded_store.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <fstream>
#include <malloc.h>
#include <mutex>
#include <string>
#include <vector>

namespace {

using namespace greengate;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "mailbox_bench: %s\n", why.c_str());
  std::exit(1);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

std::int64_t resident_bytes() {
  malloc_trim(0);
  std::ifstream status("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  status >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::int64_t disk_bytes(const std::string& directory) {
  std::int64_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory)) bytes += static_cast<std::int64_t>(file.file_size());
  return bytes;
}

AgentId device(std::size_t number) {
  char id[17];
  std::snprintf(id, sizeof id, "%016zx", (number + 1) * 0x9e3779b97f4a7c15u);  // as the registry's: anywhere in the order
  return AgentId(id);
}

std::unique_ptr<store::Store> open(const std::string& directory, const Clock& clock, Metrics& metrics, std::size_t devices) {
  store::StoreConfig config;
  config.directory = directory;
  config.mailbox.entries_max = static_cast<std::uint32_t>(devices * 4 + 1'000);
  auto opened = store::open_embedded(config, {}, clock, metrics);
  if (!opened) give_up(opened.error().message);
  if (auto started = (*opened)->start(); !started) give_up(started.error().message);
  return std::move(*opened);
}

store::Action push(const Clock& clock, std::string key) {
  store::Action action;
  action.task = 2;
  action.collapse = "hardware_inventory";
  action.origin = "site";
  action.origin_key = std::move(key);
  action.created_at = clock.wall();
  action.expires_at = clock.wall() + std::chrono::hours(24);
  return action;
}

/// One by one, as pushes come, at most `in_flight_max` unanswered. `own_actions`: every device an action of its own, else one for all.
void post_singly(store::Mailbox& mailbox, const Clock& clock, std::size_t devices, bool own_actions, std::size_t in_flight_max) {
  std::mutex mutex;
  std::condition_variable answered;
  std::size_t in_flight = 0, failed = 0;
  for (std::size_t i = 0; i < devices; ++i) {
    {
      std::unique_lock lock(mutex);
      answered.wait(lock, [&] { return in_flight < in_flight_max; });
      ++in_flight;
    }
    mailbox.post(push(clock, own_actions ? std::to_string(i) + "/" + std::to_string(i + 1'000) : "13/1013"), device(i), [&](Result<store::Posted> posted) {
      std::lock_guard lock(mutex);
      --in_flight;
      if (!posted || !posted->fresh) ++failed;
      answered.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  answered.wait(lock, [&] { return in_flight == 0; });
  if (failed > 0) give_up(std::to_string(failed) + " posts failed");
}

void figure(const char* what, double value, const char* unit, double limit) {
  std::printf("  %-58s %10.1f %-8s", what, value, unit);
  if (limit > 0) std::printf(" limit %8.0f   %s", limit, value <= limit ? "kept" : "MISSED");
  std::printf("\n");
}

void measure(const char* title, const std::string& directory, std::size_t devices, const Clock& clock, const std::function<void(store::Mailbox&)>& fill) {
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  const std::int64_t before = resident_bytes();
  const double count = static_cast<double>(devices);
  std::printf("%s\n", title);
  {
    Metrics metrics;
    auto store = open(directory, clock, metrics, devices);
    const auto start = std::chrono::steady_clock::now();
    const double cpu = cpu_seconds();
    fill(store->mailbox());
    const double wall = seconds_since(start);
    figure("posts a second", count / wall, "/s", 0);
    figure("processor time a post", (cpu_seconds() - cpu) * 1e6 / count, "us", 0);
    figure("resident memory a device, right after", static_cast<double>(resident_bytes() - before) / count, "B", 300);
  }
  figure("disk a device", static_cast<double>(disk_bytes(directory)) / count, "B", 1'024);
  Metrics metrics;
  const auto start = std::chrono::steady_clock::now();
  auto store = open(directory, clock, metrics, devices);
  figure("start with all of them", seconds_since(start) * 1e3, "ms", 0);
  figure("resident memory a device, after a restart", static_cast<double>(resident_bytes() - before) / count, "B", 300);
  const auto looking = std::chrono::steady_clock::now();
  constexpr std::size_t looks = 20'000;
  for (std::size_t i = 0; i < looks; ++i) {
    const auto waiting = store->mailbox().open_entries(device(i * 7'919 % devices), 100);
    if (!waiting || waiting->size() != 1) give_up("a device's entry is not there");
  }
  figure("looking into one returning device's mailbox", seconds_since(looking) * 1e6 / looks, "us", 0);
  figure("resident memory a device, 20 000 of them looked into", static_cast<double>(resident_bytes() - before) / count, "B", 300);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string directory = (argc > 1 ? std::string(argv[1]) : std::filesystem::temp_directory_path().string()) + "/mailbox-bench";
  const std::size_t devices = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  if (devices < 20) give_up("give at least 20 devices");
  const SystemClock clock;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("%zu absent devices with one waiting action each\n", devices);
  measure("one button for all, pushed device by device:", directory, devices, clock,
          [&](store::Mailbox& mailbox) { post_singly(mailbox, clock, devices, false, 4'096); });
  measure("every device an action of its own:", directory, devices, clock,
          [&](store::Mailbox& mailbox) { post_singly(mailbox, clock, devices, true, 4'096); });
  measure("one order for the whole fleet:", directory, devices, clock, [&](store::Mailbox& mailbox) {
    std::vector<AgentId> all;
    all.reserve(devices);
    for (std::size_t i = 0; i < devices; ++i) all.push_back(device(i));
    if (const auto posted = mailbox.post(push(clock, ""), all); !posted || posted->devices != devices) give_up("the order was not posted whole");
  });
  std::filesystem::remove_all(directory);
  return 0;
}
