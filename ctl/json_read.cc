#include "ctl/json_read.h"

#include "ctl/views.h"

#include <boost/json.hpp>

namespace greengate::ctl {
namespace json = boost::json;

const json::value* find(const json::value& in, std::string_view path) {
  const json::value* at = &in;
  while (at && !path.empty()) {
    const auto dot = path.find('.');
    const json::object* object = at->if_object();
    at = object ? object->if_contains(path.substr(0, dot)) : nullptr;
    path = dot == std::string_view::npos ? std::string_view() : path.substr(dot + 1);
  }
  return at && !at->is_null() ? at : nullptr;
}

std::optional<std::int64_t> number(const json::value& in, std::string_view path) {
  const json::value* value = find(in, path);
  if (!value) return std::nullopt;
  if (value->is_int64()) return value->get_int64();
  if (value->is_uint64()) return static_cast<std::int64_t>(value->get_uint64());
  return std::nullopt;
}

std::string text(const json::value& in, std::string_view path) {
  const json::value* value = find(in, path);
  if (!value) return "-";
  if (const json::string* string = value->if_string()) return string->empty() ? "-" : std::string(*string);
  if (const bool* flag = value->if_bool()) return *flag ? "yes" : "no";
  return json::serialize(*value);
}

std::string time_at(const json::value& in, std::string_view path) {
  const auto millis = number(in, path);
  return millis ? time_text(*millis) : "-";
}

const json::array& items(const json::value& in, std::string_view path) {
  static const json::array none;
  const json::value* value = find(in, path);
  const json::array* array = value ? value->if_array() : nullptr;
  return array ? *array : none;
}

bool is_true(const json::value& in, std::string_view path) {
  const json::value* value = find(in, path);
  return value && value->is_bool() && value->get_bool();
}

std::string step(const json::value& in, std::string_view from, std::string_view to) {
  const auto begin = number(in, from), end = number(in, to);
  return begin && end ? "+" + span_text(*end - *begin) : "-";
}

}  // namespace greengate::ctl
