#include "adapters/bgb/http_profile.h"

#include "adapters/bgb/profile_reader.h"

#include <algorithm>
#include <cctype>

namespace greengate::adapters::bgb {
namespace {

namespace json = boost::json;

constexpr std::size_t template_chars_max = 1024;

bool is_token(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

bool is_visible(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

HttpProfile::HttpProfile()
    : guesses{{"http.method", method},
              {"http.path", path},
              {"http.request_types", sign_in_word + ", " + receive_word + ", " + send_word},
              {"http.content_type", content_type},
              {"http.header_xml", "BgbMessageHeaderHttp"},
              {"http.hook_xml", "clientauth"},
              {"http.signs", "payload"},
              {"http.signature_text", "base64"},
              {"http.signature_byte_order", "little"},
              {"http.reply_header", "xml_header"},
              {"http.cookies", "true"},
              {"http.hang_seconds", std::to_string(hang_seconds)},
              {"http.hang_parameter", "none"}} {}

Result<HttpProfile> read_http_profile(const json::value& given, const std::string& file) {
  HttpProfile http;
  http.guesses.clear();
  ProfileReader reader(http.guesses, file);
  const json::object none;
  const json::object* found = given.if_object();
  if (!found) reader.complain("section \"http\" is no object.");
  const json::object& h = found ? *found : none;
  const json::value* name = h.if_contains("name");
  if (name && name->is_string())
    http.name = std::string(name->get_string());
  else
    reader.complain("http.name is missing.");

  const auto token = [&](const char* key) {
    std::string text = reader.word(reader.value(h, "http", key), std::string("http.") + key);
    if (!text.empty() && !is_token(text)) reader.complain(std::string("http.") + key + " is no token.");
    return text;
  };
  http.method = token("method");
  http.path = reader.text_of(reader.value(h, "http", "path"), "http.path", 1, 256);
  if (!http.path.starts_with("/") || !is_visible(http.path) || http.path.find_first_of("?#") != std::string::npos)
    reader.complain("http.path needs a path such as /bgb/handler.ashx.");
  if (const auto* types = reader.value(h, "http", "request_types")) {
    const json::object* table = types->if_object();
    const auto one = [&](const char* key) {
      const json::value* word = table ? table->if_contains(key) : nullptr;
      std::string text = reader.word(word, "http.request_types");
      if (!is_token(text))
        reader.complain("http.request_types needs a word each for parameter, sign_in, receive and send.");
      return text;
    };
    http.type_parameter = one("parameter");
    http.sign_in_word = one("sign_in");
    http.receive_word = one("receive");
    http.send_word = one("send");
  }
  http.content_type = reader.text_of(reader.value(h, "http", "content_type"), "http.content_type", 1, 128);
  for (const unsigned char c : http.content_type)
    if (c < 0x20 || c >= 0x7f) reader.complain("http.content_type has characters a header cannot have.");
  http.header_xml = reader.text_of(reader.value(h, "http", "header_xml"), "http.header_xml", 1, template_chars_max);
  if (http.header_xml.find("{source_id}") == std::string::npos)
    reader.complain("http.header_xml has no place for {source_id}.");
  http.hook_xml = reader.text_of(reader.value(h, "http", "hook_xml"), "http.hook_xml", 0, template_chars_max);
  http.signs = static_cast<HttpProfile::Signs>(
      reader.choice(reader.value(h, "http", "signs"), "http.signs", {"nothing", "payload", "client_id"}));
  if (http.signs != HttpProfile::Signs::nothing && (http.hook_xml.find("{signature}") == std::string::npos ||
                                                    http.header_xml.find("{hooks}") == std::string::npos))
    reader.complain("http.hook_xml needs {signature} and http.header_xml needs {hooks}, or http.signs is \"nothing\".");
  http.signature_text = static_cast<HttpProfile::SignatureText>(
      reader.choice(reader.value(h, "http", "signature_text"), "http.signature_text", {"base64", "hex"}));
  http.signature_little_endian =
      reader.choice(reader.value(h, "http", "signature_byte_order"), "http.signature_byte_order", {"little", "big"}) == 0;
  http.reply_header = static_cast<HttpProfile::ReplyHeader>(
      reader.choice(reader.value(h, "http", "reply_header"), "http.reply_header", {"xml_header", "fixed_part"}));
  http.cookies = reader.flag(reader.value(h, "http", "cookies"), "http.cookies");
  http.hang_seconds = static_cast<std::uint32_t>(
      reader.number(reader.value(h, "http", "hang_seconds"), "http.hang_seconds", 1, 3600));
  http.hang_parameter = reader.text_of(reader.value(h, "http", "hang_parameter"), "http.hang_parameter", 0, 64);
  if (!http.hang_parameter.empty() && !is_token(http.hang_parameter))
    reader.complain("http.hang_parameter is no token.");
  if (!reader.complaint().empty()) return fail(Remedy::reject, "bgb.profile", reader.complaint());
  return http;
}

}  // namespace greengate::adapters::bgb
