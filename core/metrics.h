#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace greengate {

/// A number that only grows. Any thread; cheap.
class Counter {
 public:
  explicit Counter(void* series) : series_(series) {}
  void add(double amount = 1) const;

 private:
  void* series_;
};

/// A number that goes both ways. Any thread; cheap.
class Gauge {
 public:
  explicit Gauge(void* series) : series_(series) {}
  void set(double value) const;
  void add(double amount) const;

 private:
  void* series_;
};

/// How a duration or size is spread. Any thread.
class Histogram {
 public:
  explicit Histogram(void* series) : series_(series) {}
  void observe(double value) const;

 private:
  void* series_;
};

/// Every number an operator can read, in Prometheus' text form. A component asks once, in its probe, and keeps the handle.
///
/// Names     greengate_<component>_<what>_<unit>[_total], listed in docs/reference/metrics.md; no id ever in a label.
/// Threads   Any. Handles stay valid as long as the Metrics they came from.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;
  Metrics();
  ~Metrics();

  Counter counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram histogram(const std::string& name, const std::string& help, const std::vector<double>& bounds,
                      const Labels& labels = {});
  std::string render() const;
  /// Every family's name, for the test that holds docs/reference/metrics.md against the code.
  std::vector<std::string> names() const;

 private:
  struct Registry;
  std::unique_ptr<Registry> registry_;
};

}  // namespace greengate
