#include "simulators/notification_server/calibrate.h"

#include "core/clock.h"
#include "simulators/notification_server/calibration.h"
#include "simulators/notification_server/message.h"
#include "simulators/notification_server/tls.h"

#include <boost/asio.hpp>
#include <boost/json.hpp>

#include <openssl/err.h>
#include <poll.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <system_error>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace asio = boost::asio;
namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds frame_silence{500};  // after this a frame is whole, whatever its header says
constexpr std::size_t capture_bytes_max = 1 << 20;

Result<void> put_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return fail(Remedy::retry, "calibrate.file", path.string() + " cannot be written.");
  return {};
}

Result<void> report(const CalibrateOptions& options, const Calibration& solved, std::ostream& out) {
  std::filesystem::path golden = options.profile_file;
  golden.replace_extension(".frames.json");
  if (auto done = put_file(options.profile_file, solved.profile_json); !done) return done;
  if (auto done = put_file(golden, solved.golden_json); !done) return done;
  json::array open, unlikely;
  for (const std::string& line : solved.open) open.emplace_back(line);
  for (const std::string& line : solved.unlikely) unlikely.emplace_back(line);
  out << json::serialize(json::object{{"profile", options.profile_file.string()},
                                      {"frames", golden.string()},
                                      {"row", solved.best.row},
                                      {"messages", solved.xml.size()},
                                      {"explanations", solved.also.size() + 1},
                                      {"open", std::move(open)},
                                      {"unlikely", std::move(unlikely)}})
      << std::endl;
  return {};
}

/// A client's line, read with a deadline. One client, one thread: nothing here is in a hurry.
class Caller {
 public:
  Caller(asio::ip::tcp::socket socket, SSL_CTX* context) : socket_(std::move(socket)) {
    boost::system::error_code ignored;
    socket_.native_non_blocking(true, ignored);
    ssl_ = make_ssl(context, socket_.native_handle());
  }

  bool greet(steady_clock::time_point until) {
    for (;;) {
      ERR_clear_error();
      const int done = SSL_do_handshake(ssl_.get());
      if (done == 1) return true;
      if (!wait(SSL_get_error(ssl_.get(), done), until)) return false;
    }
  }

  /// Reads until there was silence after something came; false when nothing did until the deadline, or the line is gone.
  bool read_burst(std::string& into, steady_clock::time_point until) {
    const std::size_t before = into.size();
    std::array<char, 16 * 1024> part;
    while (into.size() < capture_bytes_max) {
      ERR_clear_error();
      const int got = SSL_read(ssl_.get(), part.data(), int(part.size()));
      if (got > 0) {
        into.append(part.data(), static_cast<std::size_t>(got));
        until = std::min(until, steady_clock::now() + frame_silence);
        continue;
      }
      if (!wait(SSL_get_error(ssl_.get(), got), until)) break;
    }
    return into.size() > before;
  }

  void write(const std::string& bytes) {
    ERR_clear_error();
    SSL_write(ssl_.get(), bytes.data(), int(bytes.size()));
    ERR_clear_error();
  }

 private:
  bool wait(int why, steady_clock::time_point until) {
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) return false;
    const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd line{.fd = socket_.native_handle(), .events = static_cast<short>(why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT), .revents = 0};
    return ::poll(&line, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000))) > 0;
  }

  asio::ip::tcp::socket socket_;
  Ssl ssl_;
};

Result<Calibration> from_client(const CalibrateOptions& options, const NotifyConfig& config, std::ostream& out) {
  std::error_code ignored;
  std::filesystem::create_directories(config.dir, ignored);
  ServerIdentity identity{.certificate_file = config.certificate_file,
                          .key_file = config.key_file,
                          .name = config.server_name,
                          .make = config.certificate_file.empty(),
                          .tls13_only = false,
                          .tls12_only = false};
  if (identity.make) {
    identity.certificate_file = config.dir / "server-certificate.pem";
    identity.key_file = config.dir / "server-key.pem";
  }
  auto context = make_context(identity, false);
  if (!context) return pass(context);
  asio::io_context io;
  boost::system::error_code refused;
  const auto address = asio::ip::make_address(config.bind_address, refused);
  asio::ip::tcp::acceptor acceptor(io);
  if (!refused) acceptor.open(asio::ip::tcp::endpoint(address, 0).protocol(), refused);
  if (!refused) acceptor.set_option(asio::socket_base::reuse_address(true), refused);
  if (!refused) acceptor.bind({address, config.port}, refused);
  if (!refused) acceptor.listen(16, refused);
  if (refused) return fail(Remedy::retry, "notify.bind", "Cannot listen on " + config.bind_address + ": " + refused.message() + ".");
  out << json::serialize(json::object{{"ready", true}, {"calibrating", true}, {"notify_port", acceptor.local_endpoint().port()}})
      << std::endl;

  const auto until = steady_clock::now() + std::chrono::seconds(options.wait_s);
  Error last{Remedy::retry, "calibrate.no_client", "No client came in time.", {}};
  while (steady_clock::now() < until) {
    const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now()).count();
    pollfd door{.fd = acceptor.native_handle(), .events = POLLIN, .revents = 0};
    if (::poll(&door, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000))) <= 0) continue;
    Caller caller(acceptor.accept(refused), context->get());
    std::string stream;
    if (refused || !caller.greet(steady_clock::now() + std::chrono::seconds(30)) ||
        !caller.read_burst(stream, steady_clock::now() + std::chrono::seconds(60))) {
      last = {Remedy::retry, "calibrate.no_client", "A client came and said nothing.", {}};
      continue;
    }
    auto first = calibrate(stream, options.name);
    if (!first) {
      last = first.error();
      continue;
    }
    const std::uint32_t confirm = first->best.channel_is_constant ? first->best.sign_in_channel : first->best.sign_in_channel + 1;
    caller.write(frame_like(first->best, confirm, confirm_xml(to_millis(SystemClock().wall()) / 1000, config.message_version)));
    if (!caller.read_burst(stream, steady_clock::now() + std::chrono::seconds(options.wait_s))) return first;
    auto both = calibrate(stream, options.name);
    return both ? both : first;  // what came second was no KeepAlive
  }
  return tl::unexpected<Error>(std::move(last));
}

}  // namespace

Result<void> run_calibration(const CalibrateOptions& options, const NotifyConfig& config, std::ostream& out) {
  std::string stream;
  for (const auto& path : options.captures) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    auto bytes = read_capture(text.str());
    if (!bytes) return pass(bytes);
    stream += *bytes;
  }
  auto solved = options.captures.empty() ? from_client(options, config, out) : calibrate(stream, options.name);
  if (!solved) return pass(solved);
  return report(options, *solved, out);
}

}  // namespace greengate::sim
