#pragma once

#include "core/result.h"
#include "simulators/common/https_listener.h"

#include <boost/json.hpp>

#include <cstdint>
#include <list>
#include <optional>
#include <string>

namespace greengate::sim::wns {

/// Something that goes wrong on the service's side because a test wants it to.
struct Fault {
  std::uint64_t id = 0;
  bool token = false;              ///< Else it befalls pushes.
  std::string kind;                ///< See faults.cc.
  std::string pfn, device, host;   ///< Only these, when not empty.
  unsigned status = 0;
  std::string reason, word, device_word, location, body;
  HttpFields fields;
  std::int64_t retry_after_s = -1, delay_ms = 0, bytes = 0;
  std::int64_t left = 1;           ///< Negative: until it is lifted.
  std::uint64_t hits = 0;
};

/// Limits    100 faults at a time.
class Faults {
 public:
  /// Errors: fault.syntax, fault.too_many.
  Result<std::uint64_t> add(const boost::json::object& wish);
  bool remove(std::uint64_t id);
  void clear() { faults_.clear(); }
  /// Counts it when it applies. `connection`: asked before HTTP, by the host alone.
  std::optional<Fault> draw(bool token, const std::string& host, const std::string& pfn, const std::string& device);
  std::optional<Fault> draw_connection(const std::string& host);
  bool black_hole(const std::string& host) const;
  boost::json::array view() const;

 private:
  std::list<Fault> faults_;
  std::uint64_t last_id_ = 0;
};

}  // namespace greengate::sim::wns
