#pragma once

#include "core/result.h"
#include "simulators/common/authority.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace greengate::sim::mdm {

/// https://name[:port]/path, and where to connect really.
struct DmAddress {
  std::string name, target, host_field, connect_host, connect_port;
  /// Errors: option.dm_url.
  static Result<DmAddress> parse(const std::string& url, const std::string& connect);
};

/// A session's connection to the DM server: HTTP/1.1 over TLS with the device's certificate, kept while the server keeps it.
///
/// Limits    An answer can be 1 MiB; `timeout` of real time for each exchange.
/// Threads   The io_context's one thread.
class DmLine {
 public:
  struct Reply {
    Reply() = default;
    int status = 0;  ///< 0: none came.
    std::string body, content_type, retry_after, trouble;
    bool has_length = false;
  };
  /// `verify`: the server's certificate must be its name's and of an authority that `context` trusts.
  DmLine(boost::asio::io_context& io, boost::asio::ssl::context& context, DmAddress address, const Issued& certificate, bool verify,
         std::chrono::milliseconds timeout);
  ~DmLine();
  boost::asio::awaitable<Reply> post(std::string body, std::vector<std::pair<std::string, std::string>> fields);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace greengate::sim::mdm
