#pragma once

#include "core/metrics.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace greengate::gateway {

/// What an operator can read of the agents' door. Threads: the ingest thread.
class IngestProbe {
 public:
  explicit IngestProbe(Metrics& metrics);

  void frames_received(std::size_t count) { frames_.add(static_cast<double>(count)); }
  void frame_refused(std::string_view code);
  void reports(std::string_view outcome, std::size_t count);
  void report_bytes(std::int64_t bytes) { bytes_.add(static_cast<double>(bytes)); }
  void receipts_sent(std::size_t count) { receipts_.add(static_cast<double>(count)); }
  void keep_took(std::chrono::duration<double> seconds) { keep_.observe(seconds.count()); }
  void session_ended(std::string_view why);
  void enrolment(std::string_view outcome);
  void handshakes(std::uint64_t allowed, std::uint64_t refused);
  void standing(std::size_t active, std::size_t unknown, std::size_t all, std::int64_t held_bytes);

 private:
  Counter& counted(std::map<std::string, Counter, std::less<>>& series, const char* name,
                   const char* help, const char* label, std::string_view value);

  Metrics& metrics_;
  Counter frames_, bytes_, receipts_, allowed_, refused_;
  Histogram keep_;
  Gauge active_, unknown_, other_, held_;
  std::uint64_t allowed_seen_ = 0, refused_seen_ = 0;
  std::map<std::string, Counter, std::less<>> refused_frames_, reports_, ended_, enrolments_;
};

}  // namespace greengate::gateway
