#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace greengate::test {

/// One request as the proxy read it.
struct ProxyRequest {
  std::string method, target;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
};

/// A strict forward proxy for tests (RFC 9110 9.3.6, 7.6; RFC 9112 3.2): tunnels for CONNECT, one request at a time in absolute form.
/// It reads with a few lines of its own. Whatever a client may not say to a proxy is kept in complaints(): a target in the wrong form, a
/// Host that differs from it, hop-by-hop headers, credentials, bytes sent before the tunnel is there.
class StrictProxy {
 public:
  /// What it does instead of its work. An empty one closes the connection as soon as the request is read.
  struct Manner {
    std::string answer;       ///< Said in place of serving, then the end.
    bool hold_open = false;   ///< After `answer` the connection stays.
    std::string endless;      ///< Said again and again after `answer`, as long as it is taken.
    bool trickle = false;     ///< `endless` goes out a byte at a time, one a millisecond.
    bool silent = false;      ///< Reads and says nothing.
    Manner() {}
  };

  StrictProxy();
  ~StrictProxy();

  std::string url(const std::string& host = "127.0.0.1") const;  ///< "http://127.0.0.1:port"
  /// `authority` ("mp.site.test:443") is at 127.0.0.1:`port`. Nobody else is reached.
  void knows(const std::string& authority, int port);
  void behave(Manner manner);
  void be_honest();
  /// Ends every tunnel and every exchange.
  void cut();

  std::vector<ProxyRequest> requests() const;
  std::vector<std::string> complaints() const;
  /// All that went through tunnels towards servers, and what came as plain requests; 1 MiB at most.
  std::string overheard() const;
  std::size_t open_connections() const;
  std::size_t bytes_said() const;  ///< By its Manner.

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace greengate::test
