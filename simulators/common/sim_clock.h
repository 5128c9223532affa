#pragma once

#include "core/clock.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace greengate::sim {

/// Simulated time: what is due when, and a hand that a test moves by days.
///
/// Promise   advance_to() runs everything that falls due on the way in its order, each at its own moment, and waits in between until the
///           work it caused has come to rest; so a sequence of verbs gives the same events every time.
/// Limits    A piece of work that does not rest within `patience` of real time no longer holds the clock up.
/// Threads   The io_context's one thread.
class SimClock final : public Clock {
 public:
  enum class Mode {
    running,  ///< Flows with real time, and jumps when it is told to.
    held,     ///< Stands still between jumps.
  };
  using Ticket = std::uint64_t;

  SimClock(boost::asio::io_context& io, Mode mode, WallTime start);
  SimClock(const SimClock&) = delete;
  SimClock& operator=(const SimClock&) = delete;

  WallTime wall() const override;
  SteadyTime steady() const override;
  std::int64_t now_ms() const;
  Mode mode() const { return mode_; }

  /// Never runs `what` before this call has returned. Times that have passed are due at once.
  Ticket at(std::int64_t when_ms, std::function<void()> what);
  Ticket after(std::chrono::milliseconds wait, std::function<void()> what);
  void cancel(Ticket ticket);

  /// Held by a coroutine while it has something to do that is not waiting for simulated time.
  class Busy {
   public:
    explicit Busy(SimClock& clock);
    Busy(Busy&&) = default;
    Busy& operator=(Busy&&) = delete;

   private:
    friend class SimClock;
    friend class Gate;
    struct Share {
      explicit Share(std::shared_ptr<int> counter) : at_work(std::move(counter)) { set(true); }
      ~Share() { set(false); }
      Share(const Share&) = delete;
      Share& operator=(const Share&) = delete;
      void set(bool to);
      std::shared_ptr<int> at_work;
      bool held = false;
    };
    std::shared_ptr<Share> share_;
  };

  /// Simulated time; the caller's work counts as resting meanwhile.
  boost::asio::awaitable<void> sleep(std::chrono::milliseconds wait, Busy& busy);

  /// Where coroutines wait for a person instead of for time; they count as resting meanwhile.
  class Gate {
   public:
    boost::asio::awaitable<void> wait(boost::asio::io_context& io, Busy& busy);
    /// Lets all of them go on.
    void open();

   private:
    std::vector<std::pair<std::shared_ptr<boost::asio::steady_timer>, std::shared_ptr<Busy::Share>>> waiting_;
  };

  /// False when some work did not come to rest in time. One at a time: another call meanwhile returns false at once.
  boost::asio::awaitable<bool> advance_to(std::int64_t when_ms);
  /// Until nobody is busy.
  boost::asio::awaitable<bool> settle();
  void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }

 private:
  void set_now(std::int64_t when_ms);
  void arm();
  void run_due(std::int64_t until_ms);

  boost::asio::io_context& io_;
  const Mode mode_;
  std::int64_t base_ms_;
  std::chrono::steady_clock::time_point base_steady_;
  const std::int64_t start_ms_;
  std::map<std::pair<std::int64_t, Ticket>, std::function<void()>> agenda_;
  std::map<Ticket, std::int64_t> when_;
  Ticket last_ticket_ = 0;
  boost::asio::steady_timer tick_;
  bool advancing_ = false;
  std::shared_ptr<int> at_work_ = std::make_shared<int>(0);
  std::chrono::milliseconds patience_{20'000};
};

}  // namespace greengate::sim
