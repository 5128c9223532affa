#include "adapters/bgb/http_channel.h"

#include <openssl/crypto.h>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <string_view>
#include <utility>

namespace greengate::adapters::bgb {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

constexpr std::uint32_t header_bytes_max = 16 * 1024;
constexpr std::size_t proxy_reply_bytes_max = 8 * 1024;
constexpr std::size_t addresses_max = 8;
constexpr std::chrono::milliseconds addresses_kept{60'000};
constexpr int interim_replies_max = 4;
constexpr std::size_t reads_per_turn = 8;  // then the others come first

// "200" of "HTTP/1.1 200 …"; empty when it is no such line.
std::string status_of(std::string_view reply) {
  constexpr std::size_t at = 9, digits = 3;
  if (!(reply.starts_with("HTTP/1.1 ") || reply.starts_with("HTTP/1.0 ")) || reply.size() <= at + digits) return "";
  const std::string_view status = reply.substr(at, digits);
  const char after = reply[at + digits];
  if (status.find_first_not_of("0123456789") != std::string_view::npos || (after != ' ' && after != '\r')) return "";
  return std::string(status);
}

Error lost(std::string message) {
  return Error{Remedy::retry, "bgb.lost", std::move(message), {}};
}

}  // namespace

HttpChannel::HttpChannel(const HttpChannelWorld& world, Lane lane, HttpRoute& route, std::size_t body_bytes_max,
                         HttpChannelEvents& events)
    : world_(world), lane_(lane), route_(route), body_bytes_max_(body_bytes_max), events_(&events), socket_(world.strand) {}

void HttpChannel::open(std::uint32_t address) {
  close();
  address_ = address;
  error_code no_literal;
  const auto literal = asio::ip::make_address(route_.first_hop().host, no_literal);
  if (!no_literal) route_.addresses = {tcp::endpoint(literal, route_.first_hop().port)};
  const bool fresh = !no_literal || (!route_.addresses.empty() && world_.clock.steady() - route_.resolved_at < addresses_kept);
  if (fresh) return connect();
  phase_ = Phase::resolving;
  const auto resolver = std::make_shared<tcp::resolver>(world_.strand);
  resolver->async_resolve(
      route_.first_hop().host, std::to_string(route_.first_hop().port),
      [self = shared_from_this(), resolver, turn = turn_](const error_code& wrong, const tcp::resolver::results_type& found) {
        if (turn != self->turn_ || !self->events_) return;
        if (!wrong) {
          self->route_.addresses.clear();
          for (const auto& entry : found)
            if (self->route_.addresses.size() < addresses_max) self->route_.addresses.push_back(entry.endpoint());
          self->route_.resolved_at = self->world_.clock.steady();
        }
        if (!self->route_.addresses.empty()) return self->connect();  // what was known before a bad day still serves
        self->broke({Remedy::retry, "bgb.resolve",
                     "The name " + self->route_.first_hop().host + " could not be resolved: " + wrong.message() + ".", {}});
      });
}

void HttpChannel::exchange(const HttpMessageRequest& request, std::uint32_t address) {
  out_ = head_of(request);
  out_ += request.body;
  written_ = 0;
  interim_ = 0;
  if (phase_ == Phase::ready) {
    phase_ = Phase::exchanging;
    return write();
  }
  std::string waiting = std::move(out_);
  if (phase_ == Phase::closed || phase_ == Phase::exchanging) open(address);
  out_ = std::move(waiting);
  request_waits_ = true;
}

void HttpChannel::close() {
  ++turn_;
  if (phase_ == Phase::ready && stream_) stream_.close_notify();
  phase_ = Phase::closed;
  request_waits_ = false;
  parser_.reset();
  stream_ = TlsStream();
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_both, ignored);  // it may never have been connected
  socket_.close(ignored);
  read_armed_ = write_armed_ = false;
  std::string().swap(in_);
  std::string().swap(out_);
}

void HttpChannel::abandon() {
  events_ = nullptr;
  close();
}

void HttpChannel::connect() {
  phase_ = Phase::connecting;
  const tcp::endpoint target = route_.addresses[address_ % route_.addresses.size()];
  const auto report = [self = shared_from_this(), turn = turn_](const error_code& refused) {
    if (turn != self->turn_ || !self->events_) return;
    if (!refused) return self->tcp_there();
    self->broke({Remedy::retry, "bgb.connect",
                 "Connecting to " + self->route_.first_hop().authority() + " failed: " + refused.message() + ".", {}});
  };
  error_code wrong = world_.prepare(socket_, target.protocol());
  // Never from within the owner's call, which may hold what an error would take away.
  if (wrong) return asio::post(world_.strand, [report, wrong] { report(wrong); });
  socket_.async_connect(target, report);
}

void HttpChannel::tcp_there() {
  if (!route_.proxy || !route_.server.tls) return begin_tls();
  phase_ = Phase::asking_proxy;
  const bool bracketed = route_.server.host.find(':') != std::string::npos;
  const std::string target =
      (bracketed ? "[" + route_.server.host + "]" : route_.server.host) + ":" + std::to_string(route_.server.port);
  std::string waiting = std::move(out_);
  out_ = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
  in_.clear();
  // A few bytes on a fresh connection; one that does not take them whole is of no use.
  const auto [step, bytes] = write_raw(std::as_bytes(std::span(out_)));
  const bool whole = step == Step::done && bytes == out_.size();
  out_ = std::move(waiting);
  if (!whole) return broke({Remedy::retry, "bgb.http_proxy", "The proxy takes nothing.", {}});
  wait_read();
}

void HttpChannel::proxy_replied() {
  const auto refuse = [&](std::string why) { broke({Remedy::retry, "bgb.http_proxy", std::move(why), {}}); };
  if (in_.size() > proxy_reply_bytes_max) return refuse("The proxy's reply is too long or has no end.");
  const std::size_t end = in_.find("\r\n\r\n");
  if (end == std::string::npos) return wait_read();
  const std::string status = status_of(in_);
  if (status.empty()) return refuse("The proxy's reply cannot be read.");
  if (!status.starts_with("2")) return refuse("The proxy does not connect us: " + status + ".");
  if (in_.size() != end + 4) return refuse("The proxy's reply is followed by bytes that no server sent.");
  std::string().swap(in_);
  begin_tls();
}

void HttpChannel::begin_tls() {
  const std::uint64_t turn = turn_;
  auto as = events_->connected(lane_);
  if (turn != turn_ || !events_) return;
  if (!as) return broke(std::move(as.error()));
  if (!route_.server.tls) {
    OPENSSL_cleanse(as->private_key_der.data(), as->private_key_der.size());
    return secured();
  }
  auto stream = TlsStream::make(world_.tls, socket_.native_handle(), route_.server.host, as->certificate_der, as->private_key_der);
  OPENSSL_cleanse(as->private_key_der.data(), as->private_key_der.size());
  if (!stream) return broke(std::move(stream.error()));
  stream_ = std::move(*stream);
  phase_ = Phase::securing;
  progress();
}

void HttpChannel::secured() {
  phase_ = Phase::ready;
  const std::uint64_t turn = turn_;
  if (!request_waits_) events_->secured(lane_);
  if (turn != turn_ || !events_) return;
  if (std::exchange(request_waits_, false)) {
    phase_ = Phase::exchanging;
    return write();
  }
  if (phase_ == Phase::ready) wait_read();  // to learn of its end
}

void HttpChannel::progress() {
  switch (phase_) {
    case Phase::securing:
      switch (stream_.handshake()) {
        case Step::done:
          stream_.forget_identity();
          return secured();
        case Step::want_read:
          return wait_read();
        case Step::want_write:
          return wait_write();
        default:
          return broke(stream_.error());
      }
    case Phase::asking_proxy:
    case Phase::ready:
      return read();
    case Phase::exchanging:
      if (written_ < out_.size()) return write();
      return read();
    default:
      return;
  }
}

void HttpChannel::write() {
  while (written_ < out_.size()) {
    const auto [step, bytes] = write_raw(std::as_bytes(std::span(out_)).subspan(written_));
    if (step == Step::done) {
      written_ += bytes;
      continue;
    }
    if (step == Step::want_write) return wait_write();
    if (step == Step::want_read) return wait_read();
    return broke(stream_ ? stream_.error() : plain_error_);
  }
  std::string().swap(out_);
  written_ = 0;
  const std::uint64_t turn = turn_;
  events_->sent(lane_);
  if (turn == turn_ && events_) wait_read();
}

void HttpChannel::read() {
  for (std::size_t i = 0; i < reads_per_turn; ++i) {
    const std::uint64_t turn = turn_;
    const auto [step, bytes] = read_raw(world_.buffer);
    switch (step) {
      case Step::done:
        feed(world_.buffer.first(bytes));
        if (turn != turn_ || !events_ || phase_ == Phase::securing || phase_ == Phase::closed) return;
        if (phase_ == Phase::asking_proxy || phase_ == Phase::ready) return wait_read();
        break;
      case Step::want_read:
        return wait_read();
      case Step::want_write:
        return wait_write();
      case Step::closed:
        return end_of_stream();
      default:
        return broke(stream_ ? stream_.error() : plain_error_);
    }
  }
  asio::post(world_.strand, [self = shared_from_this(), turn = turn_] {
    if (turn == self->turn_ && self->events_) self->progress();
  });
}

void HttpChannel::feed(std::span<const std::byte> bytes) {
  if (phase_ == Phase::ready) return close();  // nobody asked; whatever it is, the next exchange takes a fresh connection
  in_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (phase_ == Phase::asking_proxy) return proxy_replied();
  while (!in_.empty()) {
    if (!parser_) {
      parser_ = std::make_unique<ReplyParser>();
      parser_->header_limit(header_bytes_max);
      parser_->body_limit(body_bytes_max_);
      parser_->eager(true);
    }
    error_code error;
    const std::size_t used = parser_->put(asio::buffer(in_), error);
    in_.erase(0, used);
    if (error && error != http::error::need_more)
      return broke({Remedy::retry, "bgb.http_reply", "The server's reply cannot be read: " + error.message() + ".", {}});
    if (parser_->is_done()) {
      if (parser_->get().result_int() / 100 != 1) return finish_exchange();
      if (++interim_ > interim_replies_max) return broke({Remedy::retry, "bgb.http_reply", "The server only announces replies.", {}});
      parser_.reset();
      continue;
    }
    if (error || used == 0) return;
  }
}

void HttpChannel::end_of_stream() {
  if (phase_ == Phase::exchanging && parser_ && parser_->got_some()) {
    error_code cut;
    parser_->put_eof(cut);  // a body without a length ends here
    if (!cut && parser_->is_done()) return finish_exchange();
  }
  broke(lost(phase_ == Phase::asking_proxy ? "The proxy closed the connection." : "The server closed the connection."));
}

void HttpChannel::finish_exchange() {
  const bool keep = parser_->keep_alive() && in_.empty() && !parser_->need_eof();
  HttpResponse reply = take_reply(*parser_);
  parser_.reset();
  std::string().swap(in_);
  if (keep) {
    phase_ = Phase::ready;
    wait_read();  // to learn of its end
  } else {
    close();
  }
  events_->replied(lane_, std::move(reply));
}

void HttpChannel::broke(Error why) {
  if (phase_ == Phase::asking_proxy) why.code = "bgb.http_proxy";  // nobody else was there to fail
  const bool idle = phase_ == Phase::ready;
  const bool sent = phase_ == Phase::exchanging && (out_.empty() || written_ > 0);
  close();
  if (!idle) events_->failed(lane_, std::move(why), sent);
}

void HttpChannel::wait_read() {
  if (read_armed_ || !socket_.is_open()) return;
  read_armed_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this(), turn = turn_](const error_code& wrong) {
    if (turn != self->turn_) return;
    self->read_armed_ = false;
    if (!wrong && self->events_) self->progress();
  });
}

void HttpChannel::wait_write() {
  if (write_armed_ || !socket_.is_open()) return;
  write_armed_ = true;
  socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this(), turn = turn_](const error_code& wrong) {
    if (turn != self->turn_) return;
    self->write_armed_ = false;
    if (!wrong && self->events_) self->progress();
  });
}

TlsStream::Moved HttpChannel::read_raw(std::span<std::byte> into) {
  if (stream_) return stream_.read(into);
  error_code error;
  const std::size_t bytes = socket_.read_some(asio::buffer(into.data(), into.size()), error);
  if (!error) return {Step::done, bytes};
  if (error == asio::error::would_block) return {Step::want_read, 0};
  if (error == asio::error::eof) return {Step::closed, 0};
  plain_error_ = lost("The connection broke: " + error.message() + ".");
  return {Step::failed, 0};
}

TlsStream::Moved HttpChannel::write_raw(std::span<const std::byte> from) {
  if (stream_) return stream_.write(from);
  error_code error;
  const std::size_t bytes = socket_.write_some(asio::buffer(from.data(), from.size()), error);
  if (!error) return {Step::done, bytes};
  if (error == asio::error::would_block) return {Step::want_write, 0};
  plain_error_ = lost("The connection broke: " + error.message() + ".");
  return {Step::failed, 0};
}

std::string HttpChannel::head_of(const HttpMessageRequest& request) const {
  std::string head = request.method + " ";
  if (route_.proxy && !route_.server.tls) head += "http://" + route_.server.authority();
  head += request.target + " HTTP/1.1\r\nHost: " + route_.server.authority() + "\r\n";
  for (const auto& [name, value] : request.headers) head += name + ": " + value + "\r\n";
  head += "Content-Length: " + std::to_string(request.body.size()) + "\r\n\r\n";
  return head;
}

}  // namespace greengate::adapters::bgb
