// How a connection to a server comes about: its name, its address, its certificate.
#pragma once

#include "adapters/http/client.h"
#include "adapters/http/connection.h"
#include "adapters/http/url.h"
#include "core/metrics.h"
#include "core/result.h"

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>

namespace greengate::adapters {

/// Opens connections for HttpClient.
///
/// Limits    HttpClientConfig's connect_timeout and tls_timeout, and whatever expires the attempt; eight addresses a name.
/// Threads   connect(): that of the event loop it is given; several loops may be connecting at once.
/// Errors    read_certificates(): http.tls_config. connect(): http.resolve, http.address, http.connect, http.connect_timeout,
///           http.tls, http.tls_untrusted.
class Connector {
 public:
  /// `config` outlives the connector; `opened` counts connections, before they are encrypted.
  Connector(const HttpClientConfig& config, Counter opened);

  /// Before the first connect().
  Result<void> read_certificates();
  asio::awaitable<Result<std::unique_ptr<Connection>>> connect(asio::io_context& context, Url server, Attempt& attempt);

 private:
  const HttpClientConfig& config_;
  const Counter opened_;
  asio::ssl::context tls_;
  std::string pin_;  // 32 bytes, or empty
};

}  // namespace greengate::adapters
