#include "core/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace greengate {

struct Metrics::Registry {
  prometheus::Registry families;
};

Metrics::Metrics() : registry_(std::make_unique<Registry>()) {}
Metrics::~Metrics() = default;

Counter Metrics::counter(const std::string& name, const std::string& help, const Labels& labels) {
  return Counter(&prometheus::BuildCounter().Name(name).Help(help).Register(registry_->families).Add(labels));
}

Gauge Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return Gauge(&prometheus::BuildGauge().Name(name).Help(help).Register(registry_->families).Add(labels));
}

Histogram Metrics::histogram(const std::string& name, const std::string& help, const std::vector<double>& bounds,
                             const Labels& labels) {
  return Histogram(
      &prometheus::BuildHistogram().Name(name).Help(help).Register(registry_->families).Add(labels, bounds));
}

std::string Metrics::render() const { return prometheus::TextSerializer().Serialize(registry_->families.Collect()); }

std::vector<std::string> Metrics::names() const {
  std::vector<std::string> names;
  for (const auto& family : registry_->families.Collect()) names.push_back(family.name);
  return names;
}

void Counter::add(double amount) const { static_cast<prometheus::Counter*>(series_)->Increment(amount); }
void Gauge::set(double value) const { static_cast<prometheus::Gauge*>(series_)->Set(value); }
void Gauge::add(double amount) const { static_cast<prometheus::Gauge*>(series_)->Increment(amount); }
void Histogram::observe(double value) const { static_cast<prometheus::Histogram*>(series_)->Observe(value); }

}  // namespace greengate
