#pragma once

#include "core/config_reader.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace greengate::gateway {

/// [agents]: the door agents come through, its bounds, and when it wants them to speak.
struct AgentsConfig {
  std::string bind = "tcp://*:7443";                  ///< Port 0 takes any free one.
  std::string key_file = "/var/lib/greengate/agents.key";  ///< Made at first start; agents pin agents.key.pub.
  std::uint32_t io_threads = 1;                       ///< libzmq's own; they do the CURVE work.

  // Bounds on one agent.
  std::int64_t frame_bytes_max = 16 << 20;
  std::uint32_t reports_per_frame_max = 1'024;
  std::int64_t report_bytes_max = 8 << 20;            ///< One report's body.
  std::uint32_t in_flight_max = 256;                  ///< Reports without a receipt; told in Welcome.
  std::int64_t in_flight_bytes_max = 32 << 20;
  std::uint32_t reports_per_second = 1'000;           ///< Sustained; flow.rate above it.
  std::uint32_t reports_burst = 5'000;

  // Bounds on all of them.
  std::uint32_t sessions_max = 50'000;
  std::uint32_t unknown_peers_max = 1'000;            ///< Connections whose key is not enrolled.
  std::int64_t memory_bytes_max = 128 << 20;          ///< Reports on their way to the store; gateway.busy above it.
  std::uint32_t messages_out_max = 16'384;            ///< Notifications and receipts waiting for the ingest thread.
  std::uint32_t enrolments_per_second = 50;           ///< Asked of the store, all peers together.
  std::chrono::milliseconds enrol_interval{5'000};    ///< Between one peer's requests, after a burst of three.

  // When agents speak.
  std::chrono::milliseconds ping_interval{30'000};    ///< An agent silent three times as long is gone.
  std::chrono::milliseconds heartbeat_interval{std::chrono::hours(24)};      ///< Between discovery reports.
  std::chrono::milliseconds inventory_interval{std::chrono::hours(24 * 7)};  ///< Between hardware inventories.
  std::chrono::milliseconds report_window{std::chrono::hours(4)};   ///< Periodic reports are spread over it.
  std::uint32_t reconnects_per_second = 200;          ///< After a restart; makes the reconnect window.
  std::chrono::milliseconds reconnect_window_min{2'000};
  std::chrono::milliseconds reconnect_window_max{std::chrono::minutes(10)};
  std::chrono::milliseconds pending_retry{60'000};    ///< How often one that waits for approval asks again.
  std::chrono::milliseconds full_queue_retry{30'000};  ///< THROTTLED queue.full.
  std::chrono::milliseconds full_state_interval{std::chrono::minutes(30)};  ///< Between two FullStateWanted to one agent.

  /// Takes every key of [agents] from the file.
  void read(ConfigReader& reader);
  std::vector<ConfigProblem> problems() const;
};

}  // namespace greengate::gateway
