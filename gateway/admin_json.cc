#include "gateway/admin_json.h"

#include <boost/json.hpp>

#include <charconv>

namespace greengate::gateway {
namespace {

namespace json = boost::json;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::string decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      plain += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace

AdminReply ok(const json::value& value) { return {200, json::serialize(value)}; }

AdminReply problem(unsigned status, std::string_view code, std::string_view message) {
  return {status, json::serialize(json::object{{"code", code}, {"message", message}})};
}

AdminReply problem(const Error& error) {
  const std::string_view code = error.code;
  const unsigned status = code == "admin.not_found" || code == "queue.no_letter" ? 404
                          : code == "admin.bad_request"                          ? 400
                          : error.remedy == Remedy::reject                       ? 409
                                                                                 : 503;
  return problem(status, code, error.message);
}

json::value time_or_null(const std::optional<WallTime>& time) {
  return time ? json::value(to_millis(*time)) : json::value(nullptr);
}

json::value time_or_null(WallTime time) { return time == WallTime{} ? json::value(nullptr) : json::value(to_millis(time)); }

std::vector<std::string> split_path(std::string_view target) {
  std::vector<std::string> parts;
  std::string_view rest = target.substr(0, target.find('?'));
  while (!rest.empty()) {
    const auto slash = rest.find('/');
    if (slash != 0) parts.push_back(decoded(rest.substr(0, slash)));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  return parts;
}

std::optional<std::string> query_text(std::string_view target, std::string_view name) {
  auto at = target.find('?');
  while (at != std::string_view::npos) {
    const auto end = target.find('&', at + 1);
    const std::string_view pair = target.substr(at + 1, end == std::string_view::npos ? end : end - at - 1);
    if (pair.substr(0, pair.find('=')) == name) {
      const auto equals = pair.find('=');
      return equals == std::string_view::npos ? std::string() : decoded(pair.substr(equals + 1));
    }
    at = end;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> query_number(std::string_view target, std::string_view name) {
  const auto text = query_text(target, name);
  if (!text || text->empty()) return std::nullopt;
  std::uint64_t value = 0;
  const char* past = text->data() + text->size();
  const auto [end, error] = std::from_chars(text->data(), past, value);
  return error == std::errc() && end == past ? std::optional(value) : std::nullopt;
}

Result<json::object> body_object(const std::string& body) {
  if (body.empty()) return json::object();
  boost::system::error_code broken;
  json::parse_options options;
  options.max_depth = 16;
  json::value parsed = json::parse(body, broken, {}, options);
  if (broken || !parsed.is_object()) return fail(Remedy::reject, "admin.bad_request", "the body is not a JSON object.");
  return std::move(parsed.as_object());
}

}  // namespace greengate::gateway
