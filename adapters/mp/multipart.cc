#include "adapters/mp/multipart.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace greengate::adapters {
namespace {

constexpr std::size_t part_header_bytes_max = 8 * 1024;
constexpr std::size_t boundary_chars_max = 70;

bool same_letters(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](unsigned char x, unsigned char y) {
           return std::tolower(x) == std::tolower(y);
         });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// The boundary parameter of a Content-Type, quoted or not; empty when there is none.
std::string_view boundary_of(std::string_view content_type) {
  std::size_t at = content_type.find(';');
  while (at != std::string_view::npos) {
    const std::string_view rest = content_type.substr(at + 1);
    const std::size_t equals = rest.find('='), next = rest.find(';');
    if (equals != std::string_view::npos && (next == std::string_view::npos || equals < next) &&
        same_letters(trimmed(rest.substr(0, equals)), "boundary")) {
      std::string_view value = trimmed(rest.substr(equals + 1));
      if (!value.empty() && value.front() == '"') {
        const std::size_t end = value.find('"', 1);
        return end == std::string_view::npos ? std::string_view() : value.substr(1, end - 1);
      }
      return trimmed(value.substr(0, value.find(';')));
    }
    at = next == std::string_view::npos ? next : at + 1 + next;
  }
  return {};
}

/// `part` without its header lines; nullopt when they have no end within their limit.
std::optional<std::string_view> without_headers(std::string_view part) {
  if (part.substr(0, 2) == "\r\n") return part.substr(2);  // no headers at all
  const std::size_t end = part.substr(0, part_header_bytes_max).find("\r\n\r\n");
  if (end == std::string_view::npos) return std::nullopt;
  return part.substr(end + 4);
}

}  // namespace

std::string multipart_head(std::string_view boundary) {
  return "--" + std::string(boundary) + "\r\ncontent-type: text/plain; charset=UTF-16\r\n\r\n";
}

std::string multipart_middle(std::string_view boundary) {
  return "\r\n--" + std::string(boundary) + "\r\ncontent-type: application/octet-stream\r\n\r\n";
}

std::string multipart_tail(std::string_view boundary) {
  return "\r\n--" + std::string(boundary) + "--";
}

std::string multipart_content_type(std::string_view boundary) {
  return "multipart/mixed; boundary=\"" + std::string(boundary) + "\"";
}

Result<MessageParts> parse_multipart(std::string_view body, std::string_view content_type,
                                     std::string_view default_boundary) {
  const auto refuse = [](const char* what) {
    return fail(Remedy::reject, "mp.multipart",
                std::string("The reply is not a message of two parts: ") + what + ".");
  };
  std::string_view boundary = boundary_of(content_type);
  if (boundary.empty()) boundary = default_boundary;
  if (boundary.size() > boundary_chars_max) return refuse("its boundary is too long");
  const std::string line = "--" + std::string(boundary);
  const std::string between = "\r\n" + line;

  if (body.substr(0, 2) == "\r\n") body.remove_prefix(2);
  if (body.substr(0, line.size()) != line || body.substr(line.size(), 2) != "\r\n")
    return refuse("it does not begin with its boundary");
  body.remove_prefix(line.size() + 2);

  const std::size_t middle = body.find(between + "\r\n");
  if (middle == std::string_view::npos) return refuse("there is no second part");
  const std::size_t end = body.rfind(between + "--");
  // Not before the second part begins: the two boundaries may share the line end between them at
  // most.
  if (end == std::string_view::npos || end < middle + between.size())
    return refuse("it is cut short");

  const auto header = without_headers(body.substr(0, middle));
  const std::size_t second = middle + between.size() + 2;
  const auto payload =
      second <= end ? without_headers(body.substr(second, end - second)) : std::nullopt;
  if (!header || !payload) return refuse("a part's headers have no end");
  return MessageParts{*header, *payload};
}

}  // namespace greengate::adapters
