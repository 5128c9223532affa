#include "simulators/common/sim_clock.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>

#include <algorithm>

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
using RealClock = std::chrono::steady_clock;

}  // namespace

SimClock::SimClock(asio::io_context& io, Mode mode, WallTime start)
    : io_(io), mode_(mode), base_ms_(to_millis(start)), base_steady_(RealClock::now()), start_ms_(base_ms_), tick_(io) {}

std::int64_t SimClock::now_ms() const {
  if (mode_ == Mode::held) return base_ms_;
  return base_ms_ + std::chrono::duration_cast<std::chrono::milliseconds>(RealClock::now() - base_steady_).count();
}
WallTime SimClock::wall() const {
  return from_millis(now_ms());
}
SteadyTime SimClock::steady() const {
  return SteadyTime(std::chrono::hours(1)) + std::chrono::milliseconds(now_ms() - start_ms_);
}

void SimClock::set_now(std::int64_t when_ms) {
  if (when_ms <= now_ms()) return;
  base_ms_ = when_ms;
  base_steady_ = RealClock::now();
}

SimClock::Ticket SimClock::at(std::int64_t when_ms, std::function<void()> what) {
  const Ticket ticket = ++last_ticket_;
  agenda_.emplace(std::pair(when_ms, ticket), std::move(what));
  when_.emplace(ticket, when_ms);
  arm();
  return ticket;
}

SimClock::Ticket SimClock::after(std::chrono::milliseconds wait, std::function<void()> what) {
  return at(now_ms() + std::max<std::int64_t>(0, wait.count()), std::move(what));
}

void SimClock::cancel(Ticket ticket) {
  const auto found = when_.find(ticket);
  if (found == when_.end()) return;
  agenda_.erase({found->second, ticket});
  when_.erase(found);
}

void SimClock::arm() {
  if (advancing_ || agenda_.empty()) return;
  const std::int64_t due = agenda_.begin()->first.first;
  // A held clock runs only what is due already: nothing else comes by itself.
  if (mode_ == Mode::held && due > now_ms()) return;
  tick_.expires_after(std::chrono::milliseconds(std::max<std::int64_t>(0, due - now_ms())));
  tick_.async_wait([this](const boost::system::error_code& failed) {
    if (failed || advancing_) return;
    run_due(now_ms());
    arm();
  });
}

void SimClock::run_due(std::int64_t until_ms) {
  const Ticket newest = last_ticket_;  // what these events add has its turn later
  for (auto it = agenda_.begin(); it != agenda_.end() && it->first.first <= until_ms;) {
    if (it->first.second > newest) {
      ++it;
      continue;
    }
    auto what = std::move(it->second);
    when_.erase(it->first.second);
    agenda_.erase(it);
    what();
    it = agenda_.begin();
  }
}

SimClock::Busy::Busy(SimClock& clock) : share_(std::make_shared<Share>(clock.at_work_)) {}
void SimClock::Busy::Share::set(bool to) {
  if (to == held) return;
  held = to;
  *at_work += to ? 1 : -1;
}

asio::awaitable<void> SimClock::sleep(std::chrono::milliseconds wait, Busy& busy) {
  auto timer = std::make_shared<asio::steady_timer>(io_, RealClock::time_point::max());
  auto share = busy.share_;
  after(wait, [timer, share] {
    share->set(true);  // before the coroutine runs, or the clock would take it for resting
    timer->cancel();
  });
  share->set(false);
  auto [woken] = co_await timer->async_wait(as_result);
  (void)woken;
  share->set(true);
}

asio::awaitable<void> SimClock::Gate::wait(asio::io_context& io, Busy& busy) {
  auto timer = std::make_shared<asio::steady_timer>(io, RealClock::time_point::max());
  auto share = busy.share_;
  waiting_.emplace_back(timer, share);
  share->set(false);
  auto [woken] = co_await timer->async_wait(as_result);
  (void)woken;
}

void SimClock::Gate::open() {
  for (auto& [timer, share] : std::exchange(waiting_, {})) {
    share->set(true);
    timer->cancel();
  }
}

asio::awaitable<bool> SimClock::settle() {
  const auto until = RealClock::now() + patience_;
  asio::steady_timer pause(io_);
  // Handlers that are ready may begin something; they are let in before anybody is believed to rest.
  for (int quiet = 0; quiet < 2;) {
    if (*at_work_ == 0) {
      ++quiet;
      co_await asio::post(io_, asio::use_awaitable);
      continue;
    }
    quiet = 0;
    if (RealClock::now() > until) co_return false;
    pause.expires_after(std::chrono::milliseconds(1));
    auto [woken] = co_await pause.async_wait(as_result);
    (void)woken;
  }
  co_return true;
}

asio::awaitable<bool> SimClock::advance_to(std::int64_t when_ms) {
  if (advancing_) co_return false;
  advancing_ = true;
  tick_.cancel();
  bool rested = co_await settle();
  while (!agenda_.empty() && agenda_.begin()->first.first <= when_ms) {
    const std::int64_t due = agenda_.begin()->first.first;
    set_now(due);
    run_due(due);
    const bool rests = co_await settle();
    rested = rested && rests;
  }
  set_now(when_ms);
  advancing_ = false;
  arm();
  co_return rested;
}

}  // namespace greengate::sim
