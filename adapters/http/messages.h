#pragma once

#include "adapters/http/url.h"

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::adapters {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// The first header of that name, whatever its case; empty when there is none.
std::string_view header_in(const HttpHeaders& headers, std::string_view name);

/// A request to send. Content-Length, Host and Connection are written by the client.
struct HttpRequest {
  HttpRequest() = default;
  Url server;
  std::string method = "GET";  ///< Any token: "CCM_POST".
  std::string target = "/";
  HttpHeaders headers;
  std::string_view body;  ///< Borrowed, so that nothing is copied: it stays where it is until the
                          ///< exchange has ended.
  std::chrono::milliseconds deadline{
      30'000};  ///< From now to the reply's last byte, connecting included.
};

/// A reply, whole.
struct HttpResponse {
  HttpResponse() = default;
  unsigned status = 0;
  std::string reason;   ///< "Not Found": what the server wrote there, often nothing.
  HttpHeaders headers;  ///< As sent.
  std::string body;

  std::string_view header(std::string_view name) const { return header_in(headers, name); }
};

}  // namespace greengate::adapters
