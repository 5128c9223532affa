#include "adapters/http/reading.h"

#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>

namespace greengate::adapters {

namespace asio = boost::asio;
namespace http = boost::beast::http;

tl::unexpected<Error> http_error(const char* doing, const boost::system::error_code& error) {
  const std::string what = std::string("While ") + doing + ": ";
  if (error == boost::beast::error::timeout || error == asio::error::operation_aborted)
    return fail(Remedy::retry, "http.timeout", what + "the deadline passed.");
  if (error == http::error::body_limit || error == http::error::header_limit ||
      error == http::error::buffer_overflow)
    return fail(Remedy::retry, "http.reply_too_large",
                what + "the reply is larger than its limit.");
  if (error == asio::error::eof || error == asio::error::connection_reset ||
      error == asio::error::broken_pipe || error == asio::ssl::error::stream_truncated ||
      error == http::error::end_of_stream || error == http::error::partial_message)
    return fail(Remedy::retry, "http.closed", what + "the peer closed the connection.");
  if (error.category() == http::make_error_code(http::error::bad_method).category())
    return fail(Remedy::retry, "http.protocol",
                what + "the peer does not speak HTTP: " + error.message() + ".");
  if (error.category() == asio::error::get_ssl_category())
    return fail(Remedy::retry, "http.tls", what + error.message() + ".");
  return fail(Remedy::retry, "http.connection", what + error.message() + ".");
}

HttpResponse take_reply(ReplyParser& parser) {
  auto message = parser.release();
  HttpResponse reply;
  reply.status = message.result_int();
  reply.reason = std::string(message.reason());
  for (const auto& field : message)
    reply.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  reply.body = std::move(message.body());
  return reply;
}

}  // namespace greengate::adapters
