#pragma once

#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/message.h"
#include "adapters/bgb/message_schema.h"
#include "adapters/bgb/profile.h"
#include "adapters/http/messages.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::adapters::bgb {

/// Cookies of one agent with one server. Never shared: a cookie may be all that names a session.
///
/// Promise   What the server sets goes back to it and to nobody else; domain and path are not looked at, as there is one server and
///           one path. A Max-Age of 0 or less takes a cookie away.
/// Limits    16 cookies, 4 KiB each; what is more or malformed is dropped.
class CookieJar {
 public:
  static constexpr std::size_t cookies_max = 16;
  static constexpr std::size_t cookie_bytes_max = 4096;

  void take(const HttpHeaders& headers);
  std::string header() const;  ///< "a=1; b=2", or empty.
  std::size_t size() const { return cookies_.size(); }

 private:
  void set(std::string_view line);
  std::vector<std::pair<std::string, std::string>> cookies_;
};

/// What a request is for. Which verb and word that means is the profile's affair.
enum class HttpPurpose : std::uint8_t { sign_in, receive, send };

/// As whom a request is signed. The key is PKCS#8, needed for this request only and wiped by whoever fetched it.
struct HttpSigner {
  SmsId sms_id;
  std::string_view private_key_der;
};

struct HttpMessageRequest {
  std::string method, target;
  HttpHeaders headers;
  std::string body;
};

/// What a reply means for the session, whatever number the server chose.
enum class HttpVerdict : std::uint8_t {
  messages,  ///< 200 with at least one message.
  empty,     ///< 200 or 204 without one: the hold ended, or there was nothing to say.
  refused,   ///< 401, 403: as a sign-in refused.
  broken,    ///< 404, 500: this server has no working HTTP mode.
  busy,      ///< 503, perhaps with a wish when to come back.
  proxy,     ///< 407: something in between wants credentials.
  cut,       ///< 408, 502, 504: something in between gave up waiting.
  strange,   ///< Any other number, or a body that is no row of frames.
};

struct HttpMeaning {
  HttpVerdict verdict = HttpVerdict::empty;
  std::vector<Message> messages;
  std::uint32_t kind_mismatches = 0;
  Error error;  ///< For all but messages and empty; with the server's own wish in retry_after.
};

/// Messages as HTTP requests, and replies as what they mean: the working model of bgb-protocol 3, every
/// literal of it from the profile.
///
/// Promise   A request names its sender in an XML header and, unless the profile signs nothing, carries one
///           hook: RSA-SHA256 by the agent's key over what HttpProfile::signs says.
/// Limits    A reply's body holds at most messages_max frames, each within the profile's bounds; body_bytes_max() bounds the whole.
/// Threads   const after construction; any.
/// Errors    bgb.identity (reject): the key cannot sign. bgb.frame_*: the message cannot be written. In HttpMeaning: bgb.http_refused,
///           bgb.http_broken, bgb.http_busy, bgb.http_proxy, bgb.http_cut, bgb.http_reply, bgb.frame_*, bgb.xml_* (retry).
/// Source    bgb-protocol 3, 4.1, 8.2; docs/reference/bgb-facts.md
class HttpBinding {
 public:
  static constexpr std::size_t messages_max = 256;

  explicit HttpBinding(Profile profile);

  /// `message` is null for `receive`. `hold_seconds` asks for a shorter hold where the profile knows how; 0 does not.
  Result<HttpMessageRequest> request(HttpPurpose purpose, const Message* message, VersionPair version,
                                     const HttpSigner& signer, const CookieJar& cookies, std::uint32_t hold_seconds) const;
  HttpMeaning read(const HttpResponse& reply, WallTime now) const;

  std::size_t body_bytes_max() const;
  const Profile& profile() const { return profile_; }

 private:
  Result<std::string> hook(const HttpSigner& signer, std::string_view payload) const;

  Profile profile_;
  FrameCodec writer_, reader_;
  MessageSchema schema_;
};

/// "120", or an IMF date; 0 when there is none or it is neither. At most an hour. Source: RFC 9110 10.2.3
std::chrono::milliseconds retry_after_of(std::string_view value, WallTime now);

}  // namespace greengate::adapters::bgb
