#pragma once

#include <memory>

namespace CLI {
class App;
}

namespace greengate::sim {

/// `greengate-sim wns`, `mdm-device` and `windows`: options, and a run until a signal ends it.
class WindowsCommand {
 public:
  explicit WindowsCommand(CLI::App& app);
  ~WindowsCommand();
  bool chosen() const;
  /// The exit code: 0 ended by a signal, 1 could not start, 2 wrong usage.
  int run();

 private:
  struct Options;
  std::unique_ptr<Options> options_;
};

}  // namespace greengate::sim
