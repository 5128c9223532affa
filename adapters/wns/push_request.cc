#include "adapters/wns/push_request.h"

#include "adapters/wns/dice.h"
#include "core/check.h"

#include <array>

namespace greengate::adapters {

HttpRequest push_request(const PushOrder& order, std::chrono::milliseconds deadline) {
  GREENGATE_CHECK(order.ttl.count() > 0, "a cached push has a time to live; without one WNS answers 400 (R-16)");
  HttpRequest request;
  request.server.tls = true;
  request.server.host = order.channel.host;
  request.server.port = 443;
  request.method = "POST";
  request.target = order.channel.target;
  request.deadline = deadline;
  constexpr std::string_view scheme = "Bearer ";
  std::string authorization;
  authorization.reserve(scheme.size() + order.token->reveal().size());  // never moves, so no copy is left behind
  authorization.append(scheme).append(order.token->reveal());
  request.headers.reserve(8);
  request.headers.emplace_back("Authorization", std::move(authorization));
  request.headers.emplace_back("Content-Type", "application/octet-stream");
  request.headers.emplace_back("X-WNS-Type", "wns/raw");
  request.headers.emplace_back("X-WNS-Cache-Policy", "cache");
  request.headers.emplace_back("X-WNS-TTL", std::to_string(order.ttl.count()));
  request.headers.emplace_back("X-WNS-RequestForStatus", "true");
  if (order.urgent) request.headers.emplace_back("X-WNS-PRIORITY", "1");
  request.headers.emplace_back("MS-CV", order.correlation);
  request.body = "wake";
  return request;
}

std::string correlation_base(std::uint64_t& random) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string base;
  base.reserve(28);
  for (int i = 0; i < 21; ++i) base += digits[roll(random, 64)];
  base += digits[roll(random, 4) * 16];  // the last of 22 holds two of the 128 bits
  return base;
}

}  // namespace greengate::adapters
