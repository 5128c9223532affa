#pragma once

#include "adapters/mdm/enrolments.h"
#include "core/clock.h"
#include "core/config_reader.h"
#include "core/lifecycle.h"
#include "core/metrics.h"

#include "adapters/mdm/dm_endpoint.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace greengate::adapters {

struct DmServerConfig {
  std::string listen = "0.0.0.0:8443";       ///< Address and port; port 0 takes a free one.
  std::string path = "/dm";
  std::string certificate_file, key_file;    ///< PEM: what the server shows; the chain may follow.
  std::string client_ca_file;                ///< PEM: CAs of the devices' certificates. Empty: fingerprints alone are known.
  std::uint32_t threads = 2;                 ///< Each may wait for the disk.
  std::uint32_t connections_max = 2'000;     ///< The next is closed at once.
  std::size_t header_bytes_max = 16 * 1024;
  std::size_t message_bytes_max = 256 * 1024;
  std::chrono::milliseconds handshake_timeout{10'000};
  std::chrono::milliseconds request_timeout{20'000};  ///< From the first byte to the last, however slowly they come.
  std::chrono::milliseconds idle_timeout{30'000};     ///< Between two messages.

  std::vector<ConfigProblem> problems() const;
};

/// The HTTPS door for Windows devices: TLS 1.2 and 1.3, client certificates, one POST a message.
///
/// Promise   A request is whole and within its bounds before anybody looks at it. Whoever shows no certificate, or an unknown one, is told so in
///           HTTP (401, 403), where a person can read it. Beyond `connections_max` a connection is closed before anything is computed for it, and
///           who is told to come later (429, 503) does not keep its place meanwhile.
/// Limits    DmServerConfig. 405 for other methods, 404 for other paths, 415 for other types, 413 and 431 for size, 408 for slowness.
/// Threads   Its own, `threads` of them; start() and stop(): the main thread.
/// Errors    mdm.listen, mdm.certificate (reject).
/// Source    wns-mdm-push 12.1, 13
class DmServer final : public Component {
 public:
  /// Runs on the server's threads and may wait for the disk.
  using Handler = std::function<DmReply(const DmPeer&, std::string_view body)>;

  DmServer(DmServerConfig config, Handler handler, const Clock& clock, Metrics& metrics);
  ~DmServer() override;

  std::string_view name() const override { return "mdm"; }
  Result<void> start() override;
  void drain(SteadyTime until) override;
  void stop() override;
  std::uint16_t port() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace greengate::adapters
