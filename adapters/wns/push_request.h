#pragma once

#include "adapters/http/messages.h"
#include "adapters/wns/channel_uri.h"
#include "adapters/wns/secret.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace greengate::adapters {

/// One push, decided and not yet sent.
struct PushOrder {
  std::uint64_t id = 0;  ///< For the answer.
  ChannelUri channel;
  std::shared_ptr<const Secret> token;
  std::chrono::seconds ttl{};
  bool urgent = false;
  std::string correlation;  ///< MS-CV
};

/// The request as it goes out: a raw notification that says nothing but "come" (wns-mdm-push 5, R-15, R-16, R-18). Its Authorization header
/// holds the token; the HTTP client wipes it after sending. The body is a literal.
HttpRequest push_request(const PushOrder& order, std::chrono::milliseconds deadline);

/// A correlation vector's base: 16 random octets as 22 characters of base64; ".0", ".1" … follow for the pushes of one wake.
std::string correlation_base(std::uint64_t& random);

}  // namespace greengate::adapters
