#include "adapters/wns/token_source.h"

#include "adapters/http/retry_after.h"

#include <openssl/crypto.h>
#include <boost/json.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <vector>

namespace greengate::adapters {
namespace {

namespace json = boost::json;
using std::chrono::seconds;

constexpr std::size_t token_octets_max = 8 * 1024;
constexpr std::size_t depth_max = 8;

Url https(const char* host) {
  Url url;
  url.tls = true;
  url.host = host;
  url.port = 443;
  return url;
}

void append_encoded(std::string& out, std::string_view value) {
  constexpr char hex[] = "0123456789ABCDEF";
  constexpr std::string_view marks = "-._~";
  for (const char c : value) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || marks.find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += hex[static_cast<unsigned char>(c) >> 4];
      out += hex[static_cast<unsigned char>(c) & 15];
    }
  }
}

std::string form_of(std::string_view client_id, const Secret& secret, std::string_view scope) {
  std::string form;
  form.reserve(128 + 3 * (client_id.size() + secret.reveal().size() + scope.size()));  // never moves, so no copy is left behind
  form += "grant_type=client_credentials&client_id=";
  append_encoded(form, client_id);
  form += "&client_secret=";
  append_encoded(form, secret.reveal());
  form += "&scope=";
  append_encoded(form, scope);
  return form;
}

// Room for a small document that is wiped when it is done with.
struct WipedRoom {
  explicit WipedRoom(std::size_t bytes) : memory(bytes) {}
  ~WipedRoom() { OPENSSL_cleanse(memory.data(), memory.size()); }
  std::vector<unsigned char> memory;
};

std::string_view text_in(const json::object& object, const char* key) {
  const auto* value = object.if_contains(key);
  const auto* text = value ? value->if_string() : nullptr;
  return text ? std::string_view(text->data(), text->size()) : std::string_view();
}

seconds life_in(const json::object& object, seconds life_max) {
  const auto* value = object.if_contains("expires_in");
  std::int64_t life = 0;
  if (value && value->is_int64()) {
    life = value->get_int64();
  } else if (value && value->is_string()) {
    const std::string_view text(value->get_string().data(), value->get_string().size());
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), life);
    if (error != std::errc() || end != text.data() + text.size()) life = 0;
  }
  return life <= 0 || life > life_max.count() ? life_max : seconds(life);
}

bool is_bearer(std::string_view type) {
  constexpr std::string_view bearer = "bearer";
  return type.size() == bearer.size() && std::equal(type.begin(), type.end(), bearer.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
         });
}

// A service's error word, fit to be repeated: the protocol's own are lower-case words.
std::string word_in(const json::object& object) {
  const std::string_view word = text_in(object, "error");
  const bool fit = !word.empty() && word.size() <= 40 &&
                   std::all_of(word.begin(), word.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
  return fit ? std::string(word) : std::string();
}

std::string number_in(const json::object& object) {
  const auto* value = object.if_contains("error_codes");
  const auto* list = value ? value->if_array() : nullptr;
  if (!list || list->empty() || !list->front().is_int64()) return {};
  return " (AADSTS" + std::to_string(list->front().get_int64()) + ")";
}

}  // namespace

seconds token_margin(seconds life, seconds margin_max) { return std::min(margin_max, seconds((life.count() + 9) / 10)); }

Result<TokenGrant> TokenSource::read(unsigned status, std::string_view retry_after, std::string_view body, WallTime now) const {
  const std::string who = "The " + std::string(name()) + " token service";
  const auto unusable = [&](const char* why) { return fail(Remedy::retry, "wns.token_reply", who + "'s answer cannot be used: " + why + "."); };
  if (status == 429 || status >= 500)
    return fail(Remedy::retry, "wns.token_busy", who + " answered " + std::to_string(status) + ".",
                parse_retry_after(retry_after, now, retry_after_max_).value_or(std::chrono::milliseconds(0)));

  WipedRoom room(4'096 + body.size() * 4);
  json::monotonic_resource memory(room.memory.data(), room.memory.size());
  json::parse_options options;
  options.max_depth = depth_max;
  json::error_code broken;
  const json::value document = json::parse(json::string_view(body.data(), body.size()), broken, &memory, options);
  const auto* object = broken ? nullptr : document.if_object();
  if (status != 200) {
    const std::string word = object ? word_in(*object) : std::string();
    const std::string said = who + " answered " + std::to_string(status) + (word.empty() ? "" : " " + word) + (object ? number_in(*object) : "");
    if (status != 400 && status != 401) return unusable(("it answered " + std::to_string(status)).c_str());
    if (closed_to_new_clients(word))
      return fail(Remedy::reject, "wns.token_closed",
                  said + ": it takes no clients that were made lately; this app needs an identity of the other service (auth = \"entra\").");
    if (word == "invalid_client" || word == "unauthorized_client")
      return fail(Remedy::reject, "wns.token_client", said + ": check client_id and the secret files.");
    if (word == "invalid_request" || word == "invalid_scope")
      return fail(Remedy::reject, "wns.token_request", said + ": check auth, tenant and client_id.");
    return fail(Remedy::retry, "wns.token_reply", said + ".");
  }
  if (!object) return unusable("it is no JSON object");
  if (const auto* type = object->if_contains("token_type"); type && !is_bearer(text_in(*object, "token_type")))
    return unusable("its token is not a bearer token");
  const std::string_view token = text_in(*object, "access_token");
  if (token.empty()) return unusable("it holds no token");
  if (token.size() > token_octets_max) return unusable("its token is longer than 8 KiB");
  if (!std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; }))
    return unusable("its token has octets a header cannot hold");
  TokenGrant grant;
  grant.token = Secret(std::string(token));
  grant.life = life_in(*object, life_max_);
  return grant;
}

LegacyTokens::LegacyTokens(const WnsApp& app, const WnsSettings& settings)
    : TokenSource(settings),
      server_(https("login.live.com")),
      target_("/accesstoken.srf"),
      client_id_(app.client_id.starts_with("S-1-15-2-") ? "ms-app://" + app.client_id : app.client_id) {}

std::string LegacyTokens::form(const Secret& client_secret) const { return form_of(client_id_, client_secret, "notify.windows.com"); }

EntraTokens::EntraTokens(const WnsApp& app, const WnsSettings& settings)
    : TokenSource(settings),
      server_(https("login.microsoftonline.com")),
      target_("/" + app.tenant + "/oauth2/v2.0/token"),
      client_id_(app.client_id),
      scope_(settings.entra_scope) {}

std::string EntraTokens::form(const Secret& client_secret) const { return form_of(client_id_, client_secret, scope_); }

std::unique_ptr<TokenSource> make_token_source(const WnsApp& app, const WnsSettings& settings) {
  if (app.auth == "entra") return std::make_unique<EntraTokens>(app, settings);
  return std::make_unique<LegacyTokens>(app, settings);
}

}  // namespace greengate::adapters
