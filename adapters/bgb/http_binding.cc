#include "adapters/bgb/http_binding.h"

#include "adapters/bgb/xml_text.h"
#include "core/openssl_handles.h"

#include <openssl/evp.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <memory>
#include <span>

namespace greengate::adapters::bgb {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds retry_after_max{3'600};

Profile with_header_means(Profile profile, Profile::HeaderSizeMeans means) {
  profile.header_size_means = means;
  return profile;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_without_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// One pass, so that a value which looks like a place is not taken for one.
std::string filled(std::string_view form, std::initializer_list<std::pair<std::string_view, std::string_view>> places) {
  std::string out;
  while (!form.empty()) {
    bool found = false;
    if (form.front() == '{') {
      for (const auto& [place, value] : places) {
        if (!form.starts_with(place)) continue;
        out += value;
        form.remove_prefix(place.size());
        found = true;
        break;
      }
    }
    if (found) continue;
    out += form.front();
    form.remove_prefix(1);
  }
  return out;
}

std::string base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int written = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(written));
  return out;
}

std::string hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : bytes) {
    out += digits[static_cast<unsigned char>(c) >> 4];
    out += digits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

// The SMSID as MP messages sign it: UTF-16LE with its NUL. It is ASCII.
std::string sms_id_bytes(std::string_view sms_id) {
  std::string out;
  for (const char c : sms_id) {
    out += c;
    out += '\0';
  }
  out.append(2, '\0');
  return out;
}

}  // namespace

milliseconds retry_after_of(std::string_view value, WallTime now) {
  value = trimmed(value);
  if (value.empty() || value.size() > 40) return milliseconds(0);
  const auto bounded = [](std::int64_t s) {
    return milliseconds(std::clamp<std::int64_t>(s, 0, retry_after_max.count()) * 1000);
  };
  std::int64_t number = 0;
  const auto [end, wrong] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (wrong == std::errc() && end == value.data() + value.size()) return bounded(number);
  if (wrong == std::errc::result_out_of_range) return bounded(retry_after_max.count());
  std::tm parts{};
  const std::string text(value);
  const char* rest = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (!rest || *rest != '\0') return milliseconds(0);
  return bounded(static_cast<std::int64_t>(timegm(&parts)) - to_millis(now) / 1000);
}

void CookieJar::take(const HttpHeaders& headers) {
  for (const auto& [name, value] : headers)
    if (same_without_case(name, "Set-Cookie")) set(value);
}

void CookieJar::set(std::string_view line) {
  const std::string_view pair = trimmed(line.substr(0, line.find(';')));
  const auto equals = pair.find('=');
  if (equals == std::string_view::npos || equals == 0 || pair.size() > cookie_bytes_max) return;
  const std::string_view name = trimmed(pair.substr(0, equals)), value = trimmed(pair.substr(equals + 1));
  const auto plain = [](std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f && c != ';' && c != ','; });
  };
  if (name.empty() || !plain(name) || !plain(value)) return;
  bool gone = false;
  for (std::size_t at = line.find(';'); at != std::string_view::npos;) {
    const std::size_t next = line.find(';', at + 1);
    const std::string_view part = trimmed(line.substr(at + 1, next == std::string_view::npos ? next : next - at - 1));
    const auto is = part.find('=');
    if (is != std::string_view::npos && same_without_case(trimmed(part.substr(0, is)), "Max-Age")) {
      const std::string_view age = trimmed(part.substr(is + 1));
      gone = age.starts_with("-") || age.find_first_not_of('0') == std::string_view::npos;
    }
    at = next;
  }
  const auto known = std::find_if(cookies_.begin(), cookies_.end(), [&](const auto& c) { return c.first == name; });
  if (gone) {
    if (known != cookies_.end()) cookies_.erase(known);
  } else if (known != cookies_.end()) {
    known->second = std::string(value);
  } else if (cookies_.size() < cookies_max) {
    cookies_.emplace_back(std::string(name), std::string(value));
  }
}

std::string CookieJar::header() const {
  std::string out;
  for (const auto& [name, value] : cookies_) out += (out.empty() ? "" : "; ") + name + "=" + value;
  return out;
}

HttpBinding::HttpBinding(Profile profile)
    : profile_(std::move(profile)),
      writer_(with_header_means(profile_, Profile::HeaderSizeMeans::xml_header)),
      reader_(with_header_means(profile_, profile_.http.reply_header == HttpProfile::ReplyHeader::xml_header
                                              ? Profile::HeaderSizeMeans::xml_header
                                              : Profile::HeaderSizeMeans::fixed_part)),
      schema_(profile_) {}

std::size_t HttpBinding::body_bytes_max() const {
  return 2 * (static_cast<std::size_t>(profile_.payload_bytes_max) + profile_.header_bytes_max);
}

Result<std::string> HttpBinding::hook(const HttpSigner& signer, std::string_view payload) const {
  const HttpProfile& http = profile_.http;
  if (http.signs == HttpProfile::Signs::nothing) return std::string();
  const auto* bytes = reinterpret_cast<const unsigned char*>(signer.private_key_der.data());
  const openssl::Pkcs8 info(
      d2i_PKCS8_PRIV_KEY_INFO(nullptr, &bytes, static_cast<long>(signer.private_key_der.size())));
  const openssl::Pkey key(info ? EVP_PKCS82PKEY(info.get()) : nullptr);
  const auto refuse = [](const char* why) {
    ERR_clear_error();
    return fail(Remedy::reject, "bgb.identity", std::string("A message cannot be signed: ") + why + ".");
  };
  if (!key || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) return refuse("the agent's key is no RSA key in PKCS#8");

  const std::string id = sms_id_bytes(signer.sms_id.raw());
  const std::string_view covered = http.signs == HttpProfile::Signs::payload && !payload.empty() ? payload : std::string_view(id);
  const openssl::DigestContext context(EVP_MD_CTX_new());
  std::size_t size = static_cast<std::size_t>(EVP_PKEY_get_size(key.get()));
  std::string signature(size, '\0');
  if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     reinterpret_cast<const unsigned char*>(covered.data()), covered.size()) != 1)
    return refuse("the signature failed");
  signature.resize(size);
  if (http.signature_little_endian) std::reverse(signature.begin(), signature.end());
  const std::string text = http.signature_text == HttpProfile::SignatureText::base64 ? base64(signature) : hex(signature);
  return filled(http.hook_xml, {{"{signature}", text}});
}

Result<HttpMessageRequest> HttpBinding::request(HttpPurpose purpose, const Message* message, VersionPair version,
                                                const HttpSigner& signer, const CookieJar& cookies,
                                                std::uint32_t hold_seconds) const {
  const HttpProfile& http = profile_.http;
  std::string payload;
  if (message) {
    std::string xml;
    if (auto written = schema_.write(*message, xml); !written) return pass(written);
    auto bytes = writer_.payload_bytes(xml);
    if (!bytes) return pass(bytes);
    payload = std::move(*bytes);
  }
  auto signed_hook = hook(signer, payload);
  if (!signed_hook) return pass(signed_hook);

  HttpMessageRequest request;
  std::string source, type;
  append_escaped(source, signer.sms_id.raw(), XmlPlace::anywhere);
  append_escaped(type, profile_.client_type, XmlPlace::anywhere);
  const std::string header =
      filled(http.header_xml, {{"{source_id}", source}, {"{source_type}", type}, {"{hooks}", *signed_hook}});
  // A request that only waits carries no message: type "None".
  if (auto framed = writer_.encode_with_header(message ? message->kind : Kind::unknown, version, header, payload, request.body);
      !framed)
    return pass(framed);
  request.method = http.method;
  request.target = http.path + "?" + http.type_parameter + "=" +
                   (purpose == HttpPurpose::sign_in ? http.sign_in_word
                    : purpose == HttpPurpose::receive ? http.receive_word
                                                      : http.send_word);
  if (hold_seconds > 0 && !http.hang_parameter.empty() && purpose == HttpPurpose::receive)
    request.target += "&" + http.hang_parameter + "=" + std::to_string(hold_seconds);
  request.headers.emplace_back("Content-Type", http.content_type);
  if (std::string held = http.cookies ? cookies.header() : ""; !held.empty())
    request.headers.emplace_back("Cookie", std::move(held));
  return request;
}

HttpMeaning HttpBinding::read(const HttpResponse& reply, WallTime now) const {
  HttpMeaning meaning;
  const auto as = [&](HttpVerdict verdict, const char* code, std::string message) {
    meaning.verdict = verdict;
    meaning.messages.clear();
    meaning.error = Error{Remedy::retry, code, std::move(message), retry_after_of(reply.header("Retry-After"), now)};
    return meaning;
  };
  const std::string number = std::to_string(reply.status);
  switch (reply.status) {
    case 200:
    case 204:
      break;
    case 401:
    case 403:
      return as(HttpVerdict::refused, "bgb.http_refused", "The server answered " + number + ": it does not take this client.");
    case 404:
    case 500:
      return as(HttpVerdict::broken, "bgb.http_broken", "The server answered " + number + ": its HTTP mode does not work.");
    case 407:
      return as(HttpVerdict::proxy, "bgb.http_proxy", "A proxy wants credentials (407).");
    case 503:
      return as(HttpVerdict::busy, "bgb.http_busy", "The server is busy (503).");
    case 408:
    case 502:
    case 504:
      return as(HttpVerdict::cut, "bgb.http_cut", "Something on the way gave up waiting (" + number + ").");
    default:
      return as(HttpVerdict::strange, "bgb.http_reply", "The server answered " + number + ", which means nothing here.");
  }

  std::span<const std::byte> rest = std::as_bytes(std::span(reply.body));
  std::string scratch;
  while (!rest.empty()) {
    if (meaning.messages.size() == messages_max)
      return as(HttpVerdict::strange, "bgb.http_reply", "A reply has more than 256 messages.");
    const Decoded decoded = reader_.decode(rest, scratch);
    if (decoded.status == Decoded::Status::need_more)
      return as(HttpVerdict::strange, "bgb.http_reply", "A reply ends inside a frame.");
    if (decoded.status == Decoded::Status::bad) return as(HttpVerdict::strange, decoded.code, decoded.why);
    rest = rest.subspan(decoded.bytes);
    auto parsed = schema_.parse(decoded.frame);
    if (!parsed) return as(HttpVerdict::strange, parsed.error().code, std::move(parsed.error().message));
    if (parsed->kind_mismatch) ++meaning.kind_mismatches;
    // A frame with neither payload nor type says nothing, as an empty body does.
    if (parsed->message.kind == Kind::unknown && decoded.frame.xml_utf8.empty()) continue;
    meaning.messages.push_back(std::move(parsed->message));
  }
  meaning.verdict = meaning.messages.empty() ? HttpVerdict::empty : HttpVerdict::messages;
  return meaning;
}

}  // namespace greengate::adapters::bgb
