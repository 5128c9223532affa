#include "tests/adapters/bgb/strict_proxy.h"

#include <boost/asio.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

namespace greengate::test {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::size_t head_bytes_max = 16 * 1024, overheard_max = 1 << 20, pump_bytes = 16 * 1024;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool digits(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// Meant for the next hop alone, or for the proxy itself (RFC 9110 7.6.1, 11.7).
const std::set<std::string> not_for_a_proxy{"connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
                                            "proxy-authorization", "authorization", "x-forwarded-for", "via", "forwarded"};

}  // namespace

struct StrictProxy::Impl {
  struct Client : std::enable_shared_from_this<Client> {
    Client(Impl& owner, tcp::socket from) : impl(owner), near(std::move(from)), far(owner.io), timer(owner.io) {}

    void read_head() {
      near.async_read_some(asio::buffer(up), [self = shared_from_this()](const error_code& wrong, std::size_t bytes) {
        if (wrong) return self->end();
        self->head.append(self->up.data(), bytes);
        const std::size_t at = self->head.find("\r\n\r\n");
        if (at != std::string::npos) return self->judge(at);
        if (self->head.size() > head_bytes_max) return self->refuse("a head of more than 16 KiB");
        self->read_head();
      });
    }

    void judge(std::size_t at) {
      rest = head.substr(at + 4);
      head.resize(at + 2);
      ProxyRequest request;
      std::size_t line_end = head.find("\r\n");
      const std::string line = head.substr(0, line_end);
      const std::size_t first = line.find(' '), last = line.rfind(' ');
      if (first == std::string::npos || first == last) return refuse("no request line: " + line);
      request.method = line.substr(0, first);
      request.target = line.substr(first + 1, last - first - 1);
      if (line.substr(last + 1) != "HTTP/1.1") return refuse("another version: " + line);
      if (request.target.find(' ') != std::string::npos) return refuse("a space in the target: " + line);
      for (std::size_t from = line_end + 2; from < head.size();) {
        line_end = head.find("\r\n", from);
        const std::string field = head.substr(from, line_end - from);
        from = line_end + 2;
        const std::size_t colon = field.find(": ");
        if (colon == std::string::npos || colon == 0 || field.find_first_of("\t\r\n") != std::string::npos)
          return refuse("a malformed field: " + field);
        request.headers.emplace_back(lower(field.substr(0, colon)), field.substr(colon + 2));
      }
      impl.note(request);
      std::string authority;
      if (!check(request, authority)) return serve_not();
      if (impl.misbehaves()) return serve_not();
      const auto port = impl.port_of(authority);
      if (!port) return reply_and_end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
      const bool tunnel = request.method == "CONNECT";
      if (!tunnel) {
        const std::size_t path = request.target.find('/', 7);
        forwarded = request.method + " " + request.target.substr(path) + " HTTP/1.1\r\n";
        for (const auto& [name, value] : request.headers) forwarded += name + ": " + value + "\r\n";
        forwarded += "\r\n";
      }
      far.async_connect({asio::ip::make_address("127.0.0.1"), *port}, [self = shared_from_this(), tunnel](const error_code& refused) {
        if (refused) return self->reply_and_end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        if (tunnel) return self->begin_tunnel();
        self->impl.overhear(self->forwarded + self->rest);
        const auto all = std::make_shared<std::string>(self->forwarded + self->rest);
        asio::async_write(self->far, asio::buffer(*all), [self, all](const error_code& wrong, std::size_t) {
          if (wrong) return self->end();
          self->pump_down();
          self->next_plain();
        });
      });
    }

    bool check(const ProxyRequest& request, std::string& authority) {
      std::size_t hosts = 0;
      std::string host;
      bool fine = true;
      const auto complain = [&](const std::string& what) {
        impl.complain(what);
        fine = false;
      };
      std::size_t length = 0;
      for (const auto& [name, value] : request.headers) {
        if (name == "host") {
          ++hosts;
          host = value;
        }
        if (not_for_a_proxy.contains(name)) complain("a header that is not for a proxy: " + name);
        if (name == "content-length" && digits(value)) length = std::stoul(value);
      }
      if (hosts != 1) complain(std::to_string(hosts) + " Host headers");
      if (request.method == "CONNECT") {
        const std::size_t colon = request.target.rfind(':');
        if (colon == std::string::npos || colon == 0 || !digits(request.target.substr(colon + 1)) ||
            request.target.find_first_of("/?#@") != std::string::npos)
          complain("CONNECT wants host:port, not " + request.target);
        if (host != request.target) complain("Host is " + host + " for " + request.target);
        if (request.headers.size() != 1) complain("CONNECT with more than its Host");
        if (!rest.empty()) complain("bytes before the tunnel is there");
        authority = request.target;
        return fine;
      }
      if (!request.target.starts_with("http://")) {
        complain("no absolute form: " + request.target);
        return false;
      }
      const std::string after = request.target.substr(7);
      authority = after.substr(0, after.find('/'));
      if (authority.find('@') != std::string::npos) complain("credentials in the target");
      if (host != authority) complain("Host is " + host + " for " + authority);
      if (after.find('/') == std::string::npos) complain("an absolute form without a path");
      body_left = length > rest.size() ? length - rest.size() : 0;
      if (rest.size() > length) complain("more bytes than Content-Length says");
      if (authority.find(':') == std::string::npos) authority += ":80";
      return fine;
    }

    // Plain HTTP: the body of this request, then perhaps a next request on the same connection.
    void next_plain() {
      near.async_read_some(asio::buffer(up), [self = shared_from_this()](const error_code& wrong, std::size_t bytes) {
        if (wrong) return self->end();
        const std::size_t body = std::min(bytes, self->body_left);
        self->body_left -= body;
        if (body == bytes) {
          self->impl.overhear(std::string(self->up.data(), bytes));
          const auto piece = std::make_shared<std::string>(self->up.data(), bytes);
          asio::async_write(self->far, asio::buffer(*piece), [self, piece](const error_code& unsent, std::size_t) {
            if (unsent) return self->end();
            self->next_plain();
          });
          return;
        }
        self->next_request(std::string(self->up.data(), bytes));
      });
    }

    void next_request(std::string bytes) {
      head = std::move(bytes);
      error_code ignored;
      far.close(ignored);
      far = tcp::socket(impl.io);
      const std::size_t at = head.find("\r\n\r\n");
      if (at != std::string::npos) return judge(at);
      read_head();
    }

    void begin_tunnel() {
      tunnelled = true;
      asio::async_write(near, asio::buffer(std::string_view("HTTP/1.1 200 Connection established\r\nProxy-Agent: strict\r\n\r\n")),
                        [self = shared_from_this()](const error_code& wrong, std::size_t) {
                          if (wrong) return self->end();
                          self->pump_up();
                          self->pump_down();
                        });
    }

    void pump_up() {
      near.async_read_some(asio::buffer(up), [self = shared_from_this()](const error_code& wrong, std::size_t bytes) {
        if (wrong) return self->end();
        self->impl.overhear(std::string(self->up.data(), bytes));
        asio::async_write(self->far, asio::buffer(self->up.data(), bytes), [self](const error_code& unsent, std::size_t) {
          if (unsent) return self->end();
          self->pump_up();
        });
      });
    }

    void pump_down() {
      far.async_read_some(asio::buffer(down), [self = shared_from_this()](const error_code& wrong, std::size_t bytes) {
        if (wrong == asio::error::operation_aborted) return;
        if (wrong) return self->end();
        asio::async_write(self->near, asio::buffer(self->down.data(), bytes), [self](const error_code& unsent, std::size_t) {
          if (unsent) return self->end();
          self->pump_down();
        });
      });
    }

    // In the manner it was told to have.
    void serve_not() {
      manner = impl.manner();
      if (manner.silent) return watch();
      if (manner.answer.empty() && manner.endless.empty()) return end();
      const auto all = std::make_shared<std::string>(manner.answer);
      asio::async_write(near, asio::buffer(*all), [self = shared_from_this(), all](const error_code& wrong, std::size_t bytes) {
        self->impl.said(bytes);
        if (wrong) return self->end();
        if (!self->manner.endless.empty()) return self->say_more(0);
        if (self->manner.hold_open) return self->watch();
        self->end();
      });
    }

    void say_more(std::size_t from) {
      const std::size_t bytes = manner.trickle ? 1 : manner.endless.size() - from;
      asio::async_write(near, asio::buffer(manner.endless.data() + from, bytes),
                        [self = shared_from_this(), from](const error_code& wrong, std::size_t sent) {
                          self->impl.said(sent);
                          if (wrong) return self->end();
                          const std::size_t next = (from + sent) % self->manner.endless.size();
                          if (!self->manner.trickle) return self->say_more(next);
                          self->timer.expires_after(std::chrono::milliseconds(1));
                          self->timer.async_wait([self, next](const error_code& stopped) {
                            if (!stopped) self->say_more(next);
                          });
                        });
    }

    void watch() {
      near.async_read_some(asio::buffer(up), [self = shared_from_this()](const error_code& wrong, std::size_t) {
        if (wrong) return self->end();
        self->watch();
      });
    }

    void reply_and_end(std::string text) {
      const auto all = std::make_shared<std::string>(std::move(text));
      asio::async_write(near, asio::buffer(*all), [self = shared_from_this(), all](const error_code&, std::size_t) { self->end(); });
    }

    void refuse(const std::string& why) {
      impl.complain(why);
      end();
    }

    void end() {
      error_code ignored;
      timer.cancel();
      near.shutdown(tcp::socket::shutdown_both, ignored);
      near.close(ignored);
      far.close(ignored);
      std::lock_guard lock(impl.mutex);
      impl.clients.erase(shared_from_this());
    }

    Impl& impl;
    tcp::socket near, far;
    asio::steady_timer timer;
    std::array<char, pump_bytes> up{}, down{};
    std::string head, rest, forwarded;
    std::size_t body_left = 0;
    bool tunnelled = false;
    Manner manner;
  };

  Impl() : acceptor(io, {asio::ip::make_address("127.0.0.1"), 0}) {
    accept();
    thread = std::thread([this] { io.run(); });
  }
  ~Impl() {
    asio::post(io, [this] {
      error_code ignored;
      acceptor.close(ignored);
      end_all();
    });
    asio::post(io, [this] { io.stop(); });
    thread.join();
  }

  void accept() {
    acceptor.async_accept([this](const error_code& wrong, tcp::socket socket) {
      if (wrong) return;
      const auto client = std::make_shared<Client>(*this, std::move(socket));
      {
        std::lock_guard lock(mutex);
        clients.insert(client);
      }
      client->read_head();
      accept();
    });
  }

  void end_all() {
    std::set<std::shared_ptr<Client>> all;
    {
      std::lock_guard lock(mutex);
      all = clients;
    }
    for (const auto& client : all) client->end();
  }

  void note(const ProxyRequest& request) {
    std::lock_guard lock(mutex);
    requests.push_back(request);
  }
  void complain(const std::string& what) {
    std::lock_guard lock(mutex);
    complaints.push_back(what);
  }
  void overhear(const std::string& bytes) {
    std::lock_guard lock(mutex);
    overheard.append(bytes, 0, std::min(bytes.size(), overheard_max - std::min(overheard_max, overheard.size())));
  }
  void said(std::size_t bytes) {
    std::lock_guard lock(mutex);
    bytes_said += bytes;
  }
  std::optional<unsigned short> port_of(const std::string& authority) const {
    std::lock_guard lock(mutex);
    const auto found = names.find(authority);
    if (found == names.end()) return std::nullopt;
    return static_cast<unsigned short>(found->second);
  }
  Manner manner() const {
    std::lock_guard lock(mutex);
    return how.value_or(Manner());
  }
  bool misbehaves() const {
    std::lock_guard lock(mutex);
    return how.has_value();
  }

  asio::io_context io;
  tcp::acceptor acceptor;
  mutable std::mutex mutex;
  std::optional<Manner> how;
  std::map<std::string, int> names;
  std::set<std::shared_ptr<Client>> clients;
  std::vector<ProxyRequest> requests;
  std::vector<std::string> complaints;
  std::string overheard;
  std::size_t bytes_said = 0;
  std::thread thread;
};

StrictProxy::StrictProxy() : impl_(std::make_unique<Impl>()) {}
StrictProxy::~StrictProxy() = default;

std::string StrictProxy::url(const std::string& host) const {
  return "http://" + host + ":" + std::to_string(impl_->acceptor.local_endpoint().port());
}
void StrictProxy::knows(const std::string& authority, int port) {
  std::lock_guard lock(impl_->mutex);
  impl_->names[authority] = port;
}
void StrictProxy::behave(Manner manner) {
  std::lock_guard lock(impl_->mutex);
  impl_->how = std::move(manner);
}
void StrictProxy::be_honest() {
  std::lock_guard lock(impl_->mutex);
  impl_->how.reset();
}
void StrictProxy::cut() {
  asio::post(impl_->io, [this] { impl_->end_all(); });
}
std::vector<ProxyRequest> StrictProxy::requests() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->requests;
}
std::vector<std::string> StrictProxy::complaints() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->complaints;
}
std::string StrictProxy::overheard() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->overheard;
}
std::size_t StrictProxy::open_connections() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->clients.size();
}
std::size_t StrictProxy::bytes_said() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->bytes_said;
}

}  // namespace greengate::test
