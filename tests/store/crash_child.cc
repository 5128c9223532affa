// Works on a store for ever and tells on the descriptor it was given what is done: "agent sequence". Its parent kills it.
#include "store/open_store.h"

#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <future>
#include <mutex>
#include <string>

using namespace greengate;

namespace {

int out = -1;

void tell(const std::string& agent, std::uint64_t sequence) {
  const std::string line = agent + " " + std::to_string(sequence) + "\n";
  if (write(out, line.data(), line.size()) != static_cast<ssize_t>(line.size())) _exit(1);
}

/// The value, or the end.
template <class T>
T must(Result<T> result) {
  if (!result) _exit(1);
  return std::move(*result);
}
void must(Result<void> result) {
  if (!result) _exit(1);
}

store::NewReport numbered(const std::string& agent, std::uint64_t sequence) {
  store::NewReport report;
  report.name = {AgentId(agent), 1, sequence};
  report.kind = 1;
  report.body = agent + "/" + std::to_string(sequence);
  return report;
}

/// Two batches in flight.
[[noreturn]] void keep(store::ReportQueue& queue) {
  std::mutex mutex;
  std::condition_variable answered;
  int in_flight = 0;
  const std::string agents[] = {"first", "second", "third"};
  std::uint64_t next[3];
  for (int i = 0; i < 3; ++i) next[i] = queue.last_sequence(AgentId(agents[i]), 1) + 1;
  for (int turn = 0;; turn = (turn + 1) % 3) {
    std::vector<store::NewReport> batch;
    for (int i = 0; i < 1 + turn * 3; ++i) batch.push_back(numbered(agents[turn], next[turn]++));
    {
      std::unique_lock lock(mutex);
      answered.wait(lock, [&] { return in_flight < 2; });
      ++in_flight;
    }
    queue.keep(std::move(batch), [&, turn, last = next[turn] - 1](Result<std::vector<store::KeepResult>> results) {
      for (const auto& result : must(std::move(results))) {
        if (result.kept != store::Kept::stored) _exit(1);
      }
      tell(agents[turn], last);
      std::lock_guard lock(mutex);
      --in_flight;
      answered.notify_one();
    });
  }
}

void keep_and_wait(store::ReportQueue& queue, std::vector<store::NewReport> batch) {
  std::promise<void> kept;
  queue.keep(std::move(batch), [&kept](Result<std::vector<store::KeepResult>> results) {
    for (const auto& result : must(std::move(results))) {
      if (result.kept != store::Kept::stored) _exit(1);
    }
    kept.set_value();
  });
  kept.get_future().wait();
}

store::Batch lease(store::ReportQueue& queue, std::uint32_t reports_max) {
  auto batch = must(queue.lease(store::LaneSet::all(), reports_max, 1 << 20, std::chrono::milliseconds(0)));
  if (!batch) _exit(1);
  return std::move(*batch);
}

/// Buries what it keeps and puts most of it back.
[[noreturn]] void letters(store::ReportQueue& queue) {
  std::uint64_t next = queue.last_sequence(AgentId("first"), 1) + 1;
  for (unsigned turn = 0;; ++turn) {
    keep_and_wait(queue, {numbered("first", next), numbered("first", next + 1), numbered("first", next + 2)});
    next += 3;
    const store::Batch batch = lease(queue, 20);
    std::vector<ItemId> some;
    for (std::size_t i = 0; i < batch.reports.size(); i += 2) some.push_back(batch.reports[i].id);
    must(queue.bury(batch.lease, some, Error{Remedy::reject, "mp.refused", "Refused.", {}}));
    queue.hand_back(batch.lease);
    if (turn % 2 == 1) {
      some.clear();
      for (const auto& letter : must(queue.dead_letters({}, 15))) some.push_back(letter.id);
      if (must(queue.replay(some)) != some.size()) _exit(1);
    }
    tell("first", next - 1);
  }
}

/// Settles one by one, each with a baseline that says which.
[[noreturn]] void baselines(store::ReportQueue& queue) {
  for (std::uint64_t next = queue.last_sequence(AgentId("first"), 1) + 1;; ++next) {
    keep_and_wait(queue, {numbered("first", next)});
    const store::Batch batch = lease(queue, 1);
    const std::uint64_t sequence = batch.reports[0].name.sequence;
    store::BaselineMove move;
    move.kind = 1;
    move.major = sequence;
    move.body = batch.reports[0].body;
    must(queue.settle(batch.lease, {{batch.reports[0].id, store::Outcome::delivered, "message"}}, {move}));
    tell("first", sequence);
  }
}

/// Posts for two devices and ends most of it; tells "first" each entry that was posted and "second" each that was ended.
[[noreturn]] void mail(store::Mailbox& mailbox, const Clock& clock) {
  for (std::uint64_t turn = 0;; ++turn) {
    store::Action action;
    action.task = 1;
    action.parameters = "parameters";
    action.origin = "site";
    action.created_at = clock.wall();
    action.expires_at = clock.wall() + std::chrono::hours(24);
    const AgentId device(turn % 2 == 0 ? "first" : "second");
    std::promise<std::uint64_t> posted;
    mailbox.post(action, device, [&posted](Result<store::Posted> result) { posted.set_value(must(std::move(result)).entry); });
    const std::uint64_t entry = posted.get_future().get();
    tell("posted", entry);
    if (turn % 3 == 0) continue;
    std::promise<void> ended;
    mailbox.move(entry, device, store::EntryState::done, {}, {}, [&ended](Result<store::Entry> result) {
      must(std::move(result));
      ended.set_value();
    });
    ended.get_future().wait();
    tell("ended", entry);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  out = std::atoi(argv[2]);
  const SystemClock clock;
  Metrics metrics;
  store::StoreConfig config;
  config.directory = argv[1];
  config.mailbox.entries_per_device_max = 10'000;
  auto opened = store::open_store(config, clock, metrics);
  if (!opened || !(*opened)->start()) return 1;
  const std::string work = argv[3];
  if (work == "keep") keep((*opened)->reports());
  if (work == "letters") letters((*opened)->reports());
  if (work == "mail") mail((*opened)->mailbox(), clock);
  if (work == "baselines") baselines((*opened)->reports());
  return 2;
}
