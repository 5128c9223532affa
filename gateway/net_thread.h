#pragma once

#include "core/lifecycle.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string_view>

namespace boost::asio {
class io_context;
}

namespace greengate::gateway {

/// The one thread that runs the io_context: connections to the site, notification sessions, and the doors for operators.
class NetThread final : public Component {
 public:
  NetThread();
  ~NetThread() override;
  boost::asio::io_context& context();

  std::string_view name() const override { return "net"; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Calls `tick` every so often on a thread of its own until stopped; for sweeps that wait for nothing.
class Ticker final : public Component {
 public:
  /// `name` lives as long as the program.
  Ticker(std::string_view name, std::chrono::milliseconds every, std::function<void()> tick);
  ~Ticker() override;

  std::string_view name() const override { return name_; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  void stop() override;

 private:
  struct State;
  const std::string_view name_;
  std::unique_ptr<State> state_;
};

}  // namespace greengate::gateway
