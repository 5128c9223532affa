// Keeps reports for ever and tells each acknowledged one on the descriptor it was given: "agent
// sequence". Its parent kills it.
#include "store/open_store.h"

#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>

using namespace greengate;

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int out = std::atoi(argv[2]);
  const SystemClock clock;
  Metrics metrics;
  store::StoreConfig config;
  config.directory = argv[1];
  auto opened = store::open_store(config, clock, metrics);
  if (!opened || !(*opened)->start()) return 1;
  store::ReportQueue& queue = (*opened)->reports();

  std::mutex mutex;
  std::condition_variable answered;
  int in_flight = 0;
  const std::string agents[] = {"first", "second", "third"};
  std::uint64_t next[3];
  for (int i = 0; i < 3; ++i) next[i] = queue.last_sequence(AgentId(agents[i]), 1) + 1;
  for (int turn = 0;; turn = (turn + 1) % 3) {
    std::vector<store::NewReport> batch(static_cast<std::size_t>(1 + turn * 3));
    for (auto& report : batch) {
      report.name = {AgentId(agents[turn]), 1, next[turn]++};
      report.body = agents[turn] + "/" + std::to_string(report.name.sequence);
    }
    const std::string line = agents[turn] + " " + std::to_string(batch.back().name.sequence) + "\n";
    {
      std::unique_lock lock(mutex);
      answered.wait(lock, [&] { return in_flight < 2; });
      ++in_flight;
    }
    queue.keep(std::move(batch), [&, line](Result<std::vector<store::KeepResult>> results) {
      if (!results) _exit(1);
      for (const auto& result : *results) {
        if (result.kept != store::Kept::stored) _exit(1);
      }
      if (write(out, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(1);
      std::lock_guard lock(mutex);
      --in_flight;
      answered.notify_one();
    });
  }
}
