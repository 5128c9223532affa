#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace greengate::sim {

/// Reads the members of a JSON object that a script sent, and remembers what nobody asked for: a misspelt setting is told, not ignored.
class Fields {
 public:
  explicit Fields(const boost::json::object& object) : object_(object) {}

  bool has(std::string_view name) {
    asked_.insert(std::string(name));
    return object_.contains(name);
  }
  std::string text(std::string_view name, std::string otherwise = {}) {
    const boost::json::value* value = find(name);
    if (value == nullptr) return otherwise;
    if (value->is_string()) return std::string(value->as_string());
    wrong(name, "a text");
    return otherwise;
  }
  std::int64_t number(std::string_view name, std::int64_t otherwise = 0) {
    const boost::json::value* value = find(name);
    if (value == nullptr) return otherwise;
    if (value->is_int64()) return value->as_int64();
    if (value->is_double() && value->as_double() == static_cast<double>(static_cast<std::int64_t>(value->as_double())))
      return static_cast<std::int64_t>(value->as_double());
    wrong(name, "a whole number");
    return otherwise;
  }
  double real(std::string_view name, double otherwise = 0) {
    const boost::json::value* value = find(name);
    if (value == nullptr) return otherwise;
    if (value->is_double()) return value->as_double();
    if (value->is_int64()) return static_cast<double>(value->as_int64());
    wrong(name, "a number");
    return otherwise;
  }
  bool flag(std::string_view name, bool otherwise = false) {
    const boost::json::value* value = find(name);
    if (value == nullptr) return otherwise;
    if (value->is_bool()) return value->as_bool();
    wrong(name, "true or false");
    return otherwise;
  }
  /// Null when it is not there.
  const boost::json::value* find(std::string_view name) {
    asked_.insert(std::string(name));
    return object_.if_contains(name);
  }

  const boost::json::object& object() const { return object_; }
  /// Somebody else reads the rest.
  void forgive() {
    for (const auto& member : object_) asked_.insert(std::string(member.key()));
  }

  /// What is wrong with the object; empty when nothing is.
  std::string complaint() const {
    if (!complaint_.empty()) return complaint_;
    for (const auto& member : object_)
      if (!asked_.contains(std::string(member.key()))) return "\"" + std::string(member.key()) + "\" means nothing here.";
    return {};
  }

 private:
  void wrong(std::string_view name, const char* kind) {
    if (complaint_.empty()) complaint_ = "\"" + std::string(name) + "\" needs " + kind + ".";
  }
  const boost::json::object& object_;
  std::set<std::string> asked_;
  std::string complaint_;
};

}  // namespace greengate::sim
