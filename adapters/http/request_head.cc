#include "adapters/http/request_head.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace greengate::adapters {
namespace {

bool is_token(std::string_view text) {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) != 0 || marks.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool fits_a_line(std::string_view text, bool spaces) {
  return std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return c == ' ' ? spaces : (c > 0x20 && c != 0x7f) || (spaces && c == '\t');
  });
}

}  // namespace

Result<std::string> head_of(const HttpRequest& request) {
  const auto refuse = [](const std::string& what) {
    return fail(Remedy::reject, "http.request", "The request cannot be sent: " + what + ".");
  };
  if (!is_token(request.method)) return refuse("its method is no token");
  if (request.target.empty() || request.target.front() != '/' ||
      !fits_a_line(request.target, false))
    return refuse("its target is no path");
  std::string head;
  std::size_t octets = 512 + request.target.size();
  for (const auto& [name, value] : request.headers) octets += name.size() + value.size() + 4;
  head.reserve(octets);  // never moves: what is wiped later is the only copy
  head.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\nHost: ");
  head.append(request.server.authority()).append("\r\n");
  for (const auto& [name, value] : request.headers) {
    if (!is_token(name) || !fits_a_line(value, true))
      return refuse("its header " + name.substr(0, 40) + " is malformed");
    head.append(name).append(": ").append(value).append("\r\n");
  }
  if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD"))
    head.append("Content-Length: ").append(std::to_string(request.body.size())).append("\r\n");
  return head.append("\r\n");
}

}  // namespace greengate::adapters
