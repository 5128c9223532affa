#include "gateway/agents_config.h"

#include <string_view>

namespace greengate::gateway {
namespace {

class Complaints {
 public:
  template <class N>
  void within(const char* key, N value, N least, N most) {
    if (value < least || value > most)
      add(key, "is " + std::to_string(value) + "; it can be " + std::to_string(least) + " to " +
                   std::to_string(most) + ".");
  }
  void within(const char* key, std::chrono::milliseconds value, std::chrono::milliseconds least,
              std::chrono::milliseconds most) {
    if (value < least || value > most)
      add(key, "is " + duration_text(value) + "; it can be " + duration_text(least) + " to " +
                   duration_text(most) + ".");
  }
  void add(const char* key, std::string message) {
    found_.push_back({std::string("agents.") + key, std::move(message)});
  }
  std::vector<ConfigProblem> take() { return std::move(found_); }

 private:
  std::vector<ConfigProblem> found_;
};

constexpr std::int64_t mebibyte = 1 << 20;

}  // namespace

void AgentsConfig::read(ConfigReader& reader) {
  reader.read("agents.bind", bind);
  reader.read("agents.key_file", key_file);
  reader.read("agents.io_threads", io_threads);
  reader.read_bytes("agents.frame_bytes_max", frame_bytes_max);
  reader.read("agents.reports_per_frame_max", reports_per_frame_max);
  reader.read_bytes("agents.report_bytes_max", report_bytes_max);
  reader.read("agents.in_flight_max", in_flight_max);
  reader.read_bytes("agents.in_flight_bytes_max", in_flight_bytes_max);
  reader.read("agents.reports_per_second", reports_per_second);
  reader.read("agents.reports_burst", reports_burst);
  reader.read("agents.sessions_max", sessions_max);
  reader.read("agents.unknown_peers_max", unknown_peers_max);
  reader.read_bytes("agents.memory_bytes_max", memory_bytes_max);
  reader.read("agents.messages_out_max", messages_out_max);
  reader.read("agents.enrolments_per_second", enrolments_per_second);
  reader.read("agents.enrol_interval", enrol_interval);
  reader.read("agents.ping_interval", ping_interval);
  reader.read("agents.heartbeat_interval", heartbeat_interval);
  reader.read("agents.inventory_interval", inventory_interval);
  reader.read("agents.report_window", report_window);
  reader.read("agents.reconnects_per_second", reconnects_per_second);
  reader.read("agents.reconnect_window_min", reconnect_window_min);
  reader.read("agents.reconnect_window_max", reconnect_window_max);
  reader.read("agents.pending_retry", pending_retry);
  reader.read("agents.full_queue_retry", full_queue_retry);
  reader.read("agents.full_state_interval", full_state_interval);
}

std::vector<ConfigProblem> AgentsConfig::problems() const {
  using namespace std::chrono_literals;
  Complaints found;
  if (!bind.starts_with("tcp://"))
    found.add("bind", "is \"" + bind + "\"; give an address such as \"tcp://*:7443\".");
  if (key_file.empty())
    found.add("key_file", "is empty; name a file, such as \"/var/lib/greengate/agents.key\".");
  found.within("io_threads", io_threads, 1u, 16u);
  found.within("frame_bytes_max", frame_bytes_max, mebibyte / 16, 256 * mebibyte);
  found.within("reports_per_frame_max", reports_per_frame_max, 1u, 100'000u);
  found.within("report_bytes_max", report_bytes_max, std::int64_t{1'024}, 256 * mebibyte);
  if (report_bytes_max > frame_bytes_max)
    found.add("report_bytes_max", "is larger than agents.frame_bytes_max, so such a report could never arrive.");
  found.within("in_flight_max", in_flight_max, 1u, 100'000u);
  if (in_flight_max > reports_per_frame_max)
    found.add("in_flight_max", "is larger than agents.reports_per_frame_max; an agent may send all of them in one frame.");
  found.within("in_flight_bytes_max", in_flight_bytes_max, std::int64_t{1'024}, 1'024 * mebibyte);
  if (in_flight_bytes_max < report_bytes_max)
    found.add("in_flight_bytes_max", "is smaller than agents.report_bytes_max, so the largest report could never be taken.");
  found.within("reports_per_second", reports_per_second, 1u, 10'000'000u);
  found.within("reports_burst", reports_burst, 1u, 10'000'000u);
  found.within("sessions_max", sessions_max, 1u, 1'000'000u);
  found.within("unknown_peers_max", unknown_peers_max, 1u, 100'000u);
  found.within("memory_bytes_max", memory_bytes_max, mebibyte, 65'536 * mebibyte);
  if (memory_bytes_max < in_flight_bytes_max)
    found.add("memory_bytes_max", "is smaller than agents.in_flight_bytes_max; one agent would make all others wait.");
  found.within("messages_out_max", messages_out_max, 16u, 1'000'000u);
  found.within("enrolments_per_second", enrolments_per_second, 1u, 100'000u);
  found.within("enrol_interval", enrol_interval, 100ms, std::chrono::milliseconds(1h));
  found.within("ping_interval", ping_interval, 1'000ms, std::chrono::milliseconds(1h));
  found.within("heartbeat_interval", heartbeat_interval, 60'000ms, std::chrono::milliseconds(24h * 30));
  found.within("inventory_interval", inventory_interval, 60'000ms, std::chrono::milliseconds(24h * 45));
  found.within("report_window", report_window, 1'000ms, std::chrono::milliseconds(24h * 7));
  found.within("reconnects_per_second", reconnects_per_second, 1u, 100'000u);
  found.within("reconnect_window_min", reconnect_window_min, 0ms, std::chrono::milliseconds(1h));
  found.within("reconnect_window_max", reconnect_window_max, 1'000ms, std::chrono::milliseconds(24h));
  if (reconnect_window_min > reconnect_window_max)
    found.add("reconnect_window_min", "is longer than agents.reconnect_window_max.");
  found.within("pending_retry", pending_retry, 1'000ms, std::chrono::milliseconds(24h));
  found.within("full_queue_retry", full_queue_retry, 1'000ms, std::chrono::milliseconds(1h));
  found.within("full_state_interval", full_state_interval, 1'000ms, std::chrono::milliseconds(24h * 7));
  return found.take();
}

}  // namespace greengate::gateway
