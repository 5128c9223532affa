#include "adapters/http/unix_client.h"

#include "adapters/http/reading.h"

#include <boost/asio.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <optional>

namespace greengate::adapters {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using local = asio::local::stream_protocol;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::uint32_t header_bytes_max = 64 * 1024;
constexpr std::uint64_t reply_bytes_max = 64u << 20;

/// References outlive it: unix_request() waits for its end.
asio::awaitable<void> ask(beast::basic_stream<local>& stream, const std::string& path,
                          http::request<http::string_body>& request,
                          std::optional<Result<HttpResponse>>& answer) {
  const local::endpoint server(path);
  auto [no_line] = co_await stream.async_connect(server, as_result);
  if (no_line) {
    answer.emplace(no_line == beast::error::timeout
                       ? http_error("connecting", no_line)
                       : fail(Remedy::retry, "http.connect",
                              "No answer on " + path + ": " + no_line.message() + "."));
    co_return;
  }
  auto [not_sent, sent] = co_await http::async_write(stream, request, as_result);
  static_cast<void>(sent);
  if (not_sent) {
    answer.emplace(http_error("sending the request", not_sent));
    co_return;
  }
  ReplyParser parser;
  parser.header_limit(header_bytes_max);
  parser.body_limit(reply_bytes_max);
  beast::flat_buffer buffer;
  auto [no_reply, read] = co_await http::async_read(stream, buffer, parser, as_result);
  static_cast<void>(read);
  if (no_reply)
    answer.emplace(http_error("reading the reply", no_reply));
  else
    answer.emplace(take_reply(parser));
}

}  // namespace

Result<HttpResponse> unix_request(const std::string& socket_path, const std::string& method,
                                  const std::string& target, const std::string& body,
                                  std::chrono::milliseconds deadline) {
  const bool plain =
      std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  const bool word = std::all_of(method.begin(), method.end(),
                                [](unsigned char c) { return std::isupper(c) != 0; });
  if (method.empty() || !word || target.empty() || target.front() != '/' || !plain ||
      socket_path.size() > 107)
    return fail(Remedy::reject, "http.request",
                "The request cannot be sent: its method, target or socket path is none.");
  asio::io_context loop(1);
  beast::basic_stream<local> stream(loop);
  stream.expires_after(deadline);
  http::request<http::string_body> request;
  request.method_string(method);
  request.target(target);
  request.set(http::field::host, "localhost");
  request.set(http::field::connection, "close");
  request.body() = body;
  request.prepare_payload();
  std::optional<Result<HttpResponse>> answer;
  asio::co_spawn(loop, ask(stream, socket_path, request, answer), [](std::exception_ptr thrown) {
    if (thrown) std::rethrow_exception(thrown);  // out of memory, or a bug of ours
  });
  loop.run();
  return std::move(*answer);
}

}  // namespace greengate::adapters
