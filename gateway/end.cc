#include "gateway/end.h"

#include "core/log.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <ctime>
#include <mutex>
#include <optional>
#include <thread>

namespace greengate::gateway {
namespace {

constexpr int exit_failed = 1;
constexpr long look_every_ns = 50'000'000;
// For the last line of the log: who reads it may have stopped reading.
constexpr unsigned last_words_s = 1;

sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

struct End::State {
  const Log log{"main"};
  std::mutex mutex;  // guards what follows
  std::condition_variable told;
  bool ready = false, kept = false;
  int first = 0;
  std::optional<SteadyTime> deadline;
  std::function<std::string()> at;

  void run();
  void took(int number);
  void look();
  [[noreturn]] void leave(int status);
};

void End::State::run() {
  const sigset_t signals = ending_signals();
  for (;;) {
    bool watching = false;
    {
      std::lock_guard lock(mutex);
      watching = first != 0;
    }
    // Until the first signal there is nothing else to see to.
    const timespec a_moment{0, look_every_ns};
    const int number = watching ? sigtimedwait(&signals, nullptr, &a_moment) : sigwaitinfo(&signals, nullptr);
    if (number > 0) took(number);
    look();
  }
}

void End::State::took(int number) {
  std::lock_guard lock(mutex);
  if (first != 0) leave(kept ? 0 : exit_failed);
  if (!ready) leave(0);
  first = number;
  told.notify_all();
}

void End::State::look() {
  std::lock_guard lock(mutex);
  if (!deadline || std::chrono::steady_clock::now() < *deadline) return;
  if (kept) leave(0);
  alarm(last_words_s);
  log.error("not stopped in time, left as it is", kv("part", at()));
  leave(exit_failed);
}

void End::State::leave(int status) { _exit(status); }

End::End() : state_(std::make_shared<State>()) {
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([state = state_] { state->run(); }).detach();
}

End::~End() = default;

void End::ready() {
  std::lock_guard lock(state_->mutex);
  state_->ready = true;
}

int End::wait() {
  std::unique_lock lock(state_->mutex);
  state_->told.wait(lock, [this] { return state_->first != 0; });
  return state_->first;
}

void End::watch(SteadyTime deadline, std::function<std::string()> at) {
  std::lock_guard lock(state_->mutex);
  state_->deadline = deadline;
  state_->at = std::move(at);
}

void End::everything_is_kept(SteadyTime deadline) {
  std::lock_guard lock(state_->mutex);
  state_->kept = true;
  state_->deadline = deadline;
  state_->at = nullptr;
}

}  // namespace greengate::gateway
