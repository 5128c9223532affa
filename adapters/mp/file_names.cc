#include "adapters/mp/file_names.h"

namespace greengate::adapters {
namespace {

constexpr std::size_t name_bytes_max = 255;   // NAME_MAX of every system we collect from
constexpr std::size_t path_bytes_max = 4096;  // PATH_MAX

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

}  // namespace

Result<void> check_file_name(const char* code, std::string_view name, std::string_view path) {
  const auto refuse = [&](std::string_view why) {
    return fail(Remedy::reject, code, "A file is named \"" + printable_name(name.substr(0, 60)) + "\": " + std::string(why) + ".");
  };
  if (name.empty()) return refuse("a file has a name");
  if (name.size() > name_bytes_max) return refuse("a name has at most 255 bytes");
  if (name == "." || name == ".." || name.find('/') != std::string_view::npos || name.find('\0') != std::string_view::npos)
    return refuse("no file can be called that");
  if (path.empty()) return refuse("it lies in no folder");
  if (path.size() > path_bytes_max) return refuse("its folder's name has more than 4096 bytes");
  if (path.find('\0') != std::string_view::npos) return refuse("no folder can be called as its folder is");
  return {};
}

std::string printable_name(std::string_view name) {
  constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(name.size());
  for (const char c : name) {
    if (!is_control(c)) {
      out.push_back(c);
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += {'\\', 'x', digits[byte >> 4], digits[byte & 0xF]};
  }
  return out;
}

std::string attachment_name(std::string_view name) {
  if (name == "." || name == "..") return "_";
  std::string out(name);
  for (char& c : out)
    if (is_control(c) || std::string_view("\\/:*?\"<>|").find(c) != std::string_view::npos) c = '_';
  // Windows drops these at a name's end, so that two names would be one.
  if (!out.empty() && (out.back() == '.' || out.back() == ' ')) out.back() = '_';
  return out;
}

std::string attachment_path(std::string_view path, std::string_view name) {
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    out += attachment_name(path.substr(0, slash));
    out += '/';
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  return out + attachment_name(name);
}

}  // namespace greengate::adapters
