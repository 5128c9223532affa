#include "adapters/http/speaking.h"

#include "adapters/http/reading.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>

namespace greengate::adapters {
namespace {

namespace http = boost::beast::http;
namespace ssl = asio::ssl;
using boost::system::error_code;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr int interim_replies_max = 4;  ///< 1xx before the answer itself.

template <class Stream>
asio::awaitable<Spoken> speak_over(Stream& stream, Connection& connection,
                              const HttpClientConfig& config, const std::string& head,
                              const HttpRequest& request) {
  Spoken spoken;
  const std::array<asio::const_buffer, 2> parts{asio::buffer(head), asio::buffer(request.body)};
  auto [not_sent, sent] = co_await asio::async_write(stream, parts, as_result);
  static_cast<void>(sent);
  if (not_sent) {
    spoken.error = not_sent;
    spoken.doing = "sending the request";
    co_return spoken;
  }

  spoken.doing = "reading the reply";
  for (int interim = 0;; ++interim) {
    ReplyParser parser;
    parser.header_limit(static_cast<std::uint32_t>(config.header_bytes_max));
    parser.body_limit(config.body_bytes_max);
    parser.eager(true);
    if (request.method == "HEAD") parser.skip(true);
    while (!parser.is_done()) {
      if (connection.buffered > 0) {
        error_code error;
        const std::size_t used =
            parser.put(asio::buffer(connection.buffer.data(), connection.buffered), error);
        connection.buffered -= used;
        if (used > 0)
          std::copy_n(connection.buffer.data() + used, connection.buffered,
                      connection.buffer.data());
        if (error == http::error::body_limit && config.cut_long_bodies) {
          spoken.reply = take_reply(parser);  // what it says in its head is known; the connection is not kept
          co_return spoken;
        }
        if (error && error != http::error::need_more) {
          spoken.error = error;
          co_return spoken;
        }
        if (parser.is_done()) break;
        if (!error && used > 0) continue;
        // Only a header whose end has not come yet is left unread: it may need more room.
        if (connection.buffered == connection.buffer.size()) {
          if (connection.buffer.size() >= config.header_bytes_max) {
            spoken.error = http::error::header_limit;
            co_return spoken;
          }
          connection.buffer.resize(std::min(connection.buffer.size() * 2, config.header_bytes_max));
        }
      }
      auto [error, read] = co_await stream.async_read_some(
          asio::buffer(connection.buffer.data() + connection.buffered,
                       connection.buffer.size() - connection.buffered),
          as_result);
      connection.buffered += read;
      if (read > 0) spoken.nothing_arrived = false;
      if (error == asio::error::eof || error == ssl::error::stream_truncated) {
        error_code cut;
        if (parser.got_some()) parser.put_eof(cut);  // a body without a length ends here
        if (!parser.is_done() || cut) {
          spoken.error = cut ? cut : error;
          co_return spoken;
        }
      } else if (error) {
        spoken.error = error;
        co_return spoken;
      }
    }
    if (parser.get().result_int() / 100 == 1 && interim < interim_replies_max) continue;
    spoken.keep = parser.keep_alive() && connection.buffered == 0;
    spoken.reply = take_reply(parser);
    co_return spoken;
  }
}

}  // namespace

asio::awaitable<Spoken> speak(Connection& connection, const HttpClientConfig& config, const std::string& head, const HttpRequest& request) {
  if (connection.tls) return speak_over(*connection.tls, connection, config, head, request);
  return speak_over(connection.socket, connection, config, head, request);
}

}  // namespace greengate::adapters
