// Reads the values of a profile file, each with its basis.
#pragma once

#include <boost/json.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::adapters::bgb {

// Collects the first complaint only: a profile is written once and by hand, so one sentence at a
// time will do.
class ProfileReader {
 public:
  /// Guesses in use are appended to `guesses`, which outlives the reader.
  ProfileReader(std::vector<std::pair<std::string, std::string>>& guesses, std::string file)
      : guesses_(guesses), file_(std::move(file)) {}

  void complain(const std::string& sentence) {
    if (complaint_.empty()) complaint_ = file_ + ": " + sentence;
  }
  const std::string& complaint() const { return complaint_; }

  // The value under section.key, or null; notes it as a guess when its basis says so.
  const boost::json::value* value(const boost::json::object& section, const std::string& section_name,
                           const std::string& key) {
    const boost::json::value* entry = section.if_contains(key);
    const std::string path = section_name + "." + key;
    if (!entry) {
      complain(path + " is missing.");
      return nullptr;
    }
    const boost::json::object* pair = entry->if_object();
    const boost::json::value* inner = pair ? pair->if_contains("value") : nullptr;
    if (!inner) {
      complain(path + " needs {\"value\": …, \"basis\": …}.");
      return nullptr;
    }
    note(path, *pair, boost::json::serialize(*inner));
    return inner;
  }

  void note(const std::string& path, const boost::json::object& pair, std::string shown) {
    const boost::json::value* basis = pair.if_contains("basis");
    const boost::json::string* text = basis ? basis->if_string() : nullptr;
    if (text && *text == "guessed") {
      guesses_.emplace_back(path, std::move(shown));
    } else if (!text || (*text != "captured" && *text != "documented")) {
      complain(path + " needs a basis: \"captured\", \"documented\" or \"guessed\".");
    }
  }

  std::uint64_t number(const boost::json::value* value, const std::string& path, std::uint64_t low,
                       std::uint64_t high) {
    if (!value) return low;
    std::uint64_t n = 0;
    if (value->is_int64() && value->get_int64() >= 0)
      n = static_cast<std::uint64_t>(value->get_int64());
    else if (value->is_uint64())
      n = value->get_uint64();
    else
      complain(path + " must be a whole number, 0 or more.");
    if (n < low || n > high)
      complain(path + " is " + std::to_string(n) + "; it can be " + std::to_string(low) + " to " +
               std::to_string(high) + ".");
    return n;
  }

  // Which of `choices` the value names.
  std::size_t choice(const boost::json::value* value, const std::string& path,
                     std::initializer_list<std::string_view> choices) {
    if (!value) return 0;
    const boost::json::string* text = value->if_string();
    std::size_t index = 0;
    std::string known;
    for (const std::string_view one : choices) {
      if (text && std::string_view(*text) == one) return index;
      known += (known.empty() ? "\"" : ", \"") + std::string(one) + "\"";
      ++index;
    }
    complain(path + " can be " + known + ".");
    return 0;
  }

  bool flag(const boost::json::value* value, const std::string& path) {
    if (!value) return false;
    if (!value->is_bool()) complain(path + " can be true or false.");
    return value->is_bool() && value->get_bool();
  }

  std::string word(const boost::json::value* value, const std::string& path) {
    return text_of(value, path, 1, 64);
  }

  std::string text_of(const boost::json::value* value, const std::string& path, std::size_t least,
                      std::size_t most) {
    if (!value) return {};
    const boost::json::string* text = value->if_string();
    if (!text || text->size() < least || text->size() > most) {
      complain(path + " needs " + std::to_string(least) + " to " + std::to_string(most) + " characters.");
      return {};
    }
    return std::string(*text);
  }

  const boost::json::object& section(const boost::json::object& root, const char* name) {
    static const boost::json::object none;
    const boost::json::value* found = root.if_contains(name);
    if (!found || !found->is_object()) {
      complain(std::string("section \"") + name + "\" is missing.");
      return none;
    }
    return found->get_object();
  }

 private:
  std::vector<std::pair<std::string, std::string>>& guesses_;
  std::string file_;
  std::string complaint_;
};

}  // namespace greengate::adapters::bgb
