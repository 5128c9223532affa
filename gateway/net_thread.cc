#include "gateway/net_thread.h"

#include <boost/asio.hpp>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

namespace greengate::gateway {

namespace asio = boost::asio;

struct NetThread::State {
  asio::io_context context{1};
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work;
  std::thread thread;
};

NetThread::NetThread() : state_(std::make_unique<State>()) {}
NetThread::~NetThread() { stop(); }
asio::io_context& NetThread::context() { return state_->context; }

Result<void> NetThread::start() {
  state_->work.emplace(state_->context.get_executor());
  state_->thread = std::thread([this] { state_->context.run(); });
  return {};
}

void NetThread::drain(SteadyTime) {}

void NetThread::stop() {
  state_->work.reset();
  state_->context.stop();
  if (state_->thread.joinable()) state_->thread.join();
}

struct Ticker::State {
  std::chrono::milliseconds every;
  std::function<void()> tick;
  std::mutex mutex;  // guards everything below
  std::condition_variable stopped;
  bool stopping = false;
  std::thread thread;
};

Ticker::Ticker(std::string_view name, std::chrono::milliseconds every, std::function<void()> tick)
    : name_(name), state_(std::make_unique<State>()) {
  state_->every = every;
  state_->tick = std::move(tick);
}

Ticker::~Ticker() { stop(); }

Result<void> Ticker::start() {
  state_->thread = std::thread([this] {
    std::unique_lock lock(state_->mutex);
    while (!state_->stopped.wait_for(lock, state_->every, [this] { return state_->stopping; })) {
      lock.unlock();
      state_->tick();
      lock.lock();
    }
  });
  return {};
}

void Ticker::drain(SteadyTime) {}

void Ticker::stop() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->stopped.notify_all();
  if (state_->thread.joinable()) state_->thread.join();
}

}  // namespace greengate::gateway
