#include "adapters/bgb/script_task.h"

#include "adapters/bgb/utf8.h"
#include "adapters/bgb/xml_puller.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

namespace greengate::adapters::bgb {
namespace {

using Limits = ScriptTaskLimits;
using Attributes = std::vector<std::pair<std::string, std::string>>;

constexpr std::size_t hash_digits = 64;
constexpr std::size_t version_bytes_max = 64;

tl::unexpected<Error> refuse(const char* code, std::string message) {
  return fail(Remedy::reject, code, std::move(message));
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
bool is_hex(char c) { return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f'); }

template <class Change>
std::string each(std::string text, Change change) {
  std::transform(text.begin(), text.end(), text.begin(), change);
  return text;
}

bool same_without_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view without_space(std::string_view text) {
  while (!text.empty() && is_xml_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_xml_space(text.back())) text.remove_suffix(1);
  return text;
}

// Standard alphabet, padded, nothing else in between; nothing when it is not that.
std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const auto digit = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    const bool last = at + 4 == text.size();
    const std::size_t padding = last && text[at + 3] == '=' ? (text[at + 2] == '=' ? 2 : 1) : 0;
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const int value = i >= 4 - padding ? 0 : digit(text[at + i]);
      if (value < 0) return std::nullopt;
      group = group << 6 | static_cast<std::uint32_t>(value);
    }
    if (padding > 0 && (group & (padding == 1 ? 0xFFu : 0xFFFFu)) != 0) return std::nullopt;
    for (std::size_t i = 0; i < 3 - padding; ++i) bytes.push_back(static_cast<char>(group >> (16 - 8 * i)));
  }
  return bytes;
}

// Of text known to be UTF-8.
std::string utf16le(std::string_view utf8) {
  std::string bytes;
  bytes.reserve(utf8.size() * 2);
  const auto put = [&](std::uint32_t unit) {
    bytes.push_back(static_cast<char>(unit));
    bytes.push_back(static_cast<char>(unit >> 8));
  };
  std::uint32_t point = 0;
  for (std::size_t at = 0; at < utf8.size() && take_utf8(utf8, at, point);) {
    if (point < 0x10000) {
      put(point);
    } else {
      put(0xD800 + ((point - 0x10000) >> 10));
      put(0xDC00 + ((point - 0x10000) & 0x3FF));
    }
  }
  return bytes;
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1) return {};
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text.push_back(digits[byte >> 4]);
    text.push_back(digits[byte & 15]);
  }
  return text;
}

// The markup as it came, but each value between double quotes. The puller has found it well-formed.
std::string double_quoted(std::string_view markup) {
  std::string out;
  out.reserve(markup.size());
  bool in_tag = false;
  char quote = 0;
  for (const char c : markup) {
    if (quote != 0) {
      if (c == quote) {
        out.push_back('"');
        quote = 0;
      } else if (c == '"') {
        out += "&quot;";
      } else {
        out.push_back(c);
      }
    } else if (in_tag && (c == '"' || c == '\'')) {
      quote = c;
      out.push_back('"');
    } else {
      if (c == '<') in_tag = true;
      if (c == '>') in_tag = false;
      out.push_back(c);
    }
  }
  return out;
}

// The elements written anew, as a reader that keeps no markup would.
std::string written_anew(const std::vector<Attributes>& parameters, std::string_view end) {
  std::string out = "<ScriptParameters>";
  for (const Attributes& attributes : parameters) {
    out += "<ScriptParameter";
    for (const auto& [name, value] : attributes) {
      out.append(" ").append(name).append("=\"");
      for (const char c : value) {
        if (c == '&') out += "&amp;";
        else if (c == '<') out += "&lt;";
        else if (c == '>') out += "&gt;";
        else if (c == '"') out += "&quot;";
        else out.push_back(c);
      }
      out += "\"";
    }
    out += end;
  }
  return out + "</ScriptParameters>";
}

// What the XML says, not yet judged.
struct Content {
  std::optional<std::string> guid, version, type, hash, hash_algorithm, group_hash, group_algorithm;
  std::optional<std::string_view> parameters_markup;
  std::vector<Attributes> parameters;
};

Error translated(Error error) {
  if (std::strcmp(error.code, "bgb.xml_forbidden") == 0) error.code = "bgb.script_forbidden";
  else if (std::strcmp(error.code, "bgb.xml_limit") == 0) error.code = "bgb.script_limit";
  else error.code = "bgb.script_malformed";
  return error;
}

// One pass over the document.
class Reader {
 public:
  explicit Reader(std::string_view xml) : xml_(xml), puller_(xml, {Limits::depth_max, Limits::members_max, Limits::value_bytes_max}) {}

  Result<Content> read() {
    using Event = XmlPuller::Event;
    for (;;) {
      Result<void> good;
      switch (puller_.next()) {
        case Event::wrong: return tl::unexpected<Error>(translated(puller_.error()));
        case Event::done: return std::move(content_);
        case Event::start: good = start(); break;
        case Event::attribute: good = attribute(); break;
        case Event::text: good = text(); break;
        case Event::end: good = end(); break;
      }
      if (!good) return pass(good);
    }
  }

 private:
  Result<void> start() {
    const std::string_view name = puller_.name();
    if (puller_.depth() == 1) {
      if (name != "ScriptContent") return refuse("bgb.script_malformed", "The root of a script task is ScriptContent.");
    } else if (puller_.depth() == 2) {
      member_ = name;
      text_.clear();
      if (name == "ScriptParameters") parameters_begin_ = puller_.began();
    } else if (puller_.depth() == 3 && in_parameters()) {
      if (name != "ScriptParameter") return refuse("bgb.script_parameter", "ScriptParameters holds something that is no ScriptParameter.");
      if (content_.parameters.size() == Limits::parameters_max)
        return refuse("bgb.script_limit", "The script task has more than " + std::to_string(Limits::parameters_max) + " parameters.");
      content_.parameters.emplace_back();
    } else if (in_parameters()) {
      return refuse("bgb.script_parameter", "A ScriptParameter is an empty element.");
    }
    return {};
  }

  Result<void> attribute() {
    std::string name(puller_.name());
    if (puller_.depth() == 1 && name == "ScriptGuid") return once(content_.guid, puller_.value(), name);
    if (puller_.depth() == 2 && member_ == "ScriptHash" && name == "ScriptHashAlg") return once(content_.hash_algorithm, puller_.value(), name);
    if (puller_.depth() == 2 && member_ == "ParameterGroupHash" && name == "ParameterHashAlg")
      return once(content_.group_algorithm, puller_.value(), name);
    if (puller_.depth() != 3 || !in_parameters()) return {};
    Attributes& attributes = content_.parameters.back();
    if (std::any_of(attributes.begin(), attributes.end(), [&](const auto& other) { return other.first == name; }))
      return refuse("bgb.script_malformed", "A script parameter has an attribute twice.");
    attributes.emplace_back(std::move(name), puller_.value());
    return {};
  }

  Result<void> text() {
    if (puller_.depth() == 2 && !in_parameters()) {
      if (text_.size() + puller_.value().size() > Limits::value_bytes_max) return refuse("bgb.script_limit", "A member's text is too long.");
      text_ += puller_.value();
      return {};
    }
    const bool known = puller_.depth() == 1 || in_parameters();
    if (known && !without_space(puller_.value()).empty())
      return refuse("bgb.script_malformed", "There is text between the elements of the script task.");
    return {};
  }

  Result<void> end() {
    if (puller_.depth() != 1) return {};
    const std::string_view member = std::exchange(member_, std::string_view());
    if (member == "ScriptVersion") return once(content_.version, text_, member);
    if (member == "ScriptType") return once(content_.type, text_, member);
    if (member == "ScriptHash") return once(content_.hash, text_, member);
    if (member == "ParameterGroupHash") return once(content_.group_hash, text_, member);
    if (member == "ScriptParameters") {
      if (content_.parameters_markup) return refuse("bgb.script_member", "ScriptParameters is there twice.");
      content_.parameters_markup = xml_.substr(parameters_begin_, puller_.ended() - parameters_begin_);
    }
    return {};
  }

  bool in_parameters() const { return member_ == "ScriptParameters"; }

  static Result<void> once(std::optional<std::string>& into, const std::string& value, std::string_view name) {
    if (into) return refuse("bgb.script_member", std::string(name) + " is there twice.");
    into = std::string(without_space(value));
    return {};
  }

  const std::string_view xml_;
  XmlPuller puller_;
  Content content_;
  std::string_view member_;  // the element open below the root
  std::string text_;
  std::size_t parameters_begin_ = 0;
};

bool is_hash(std::string_view text) {
  return text.size() == hash_digits && std::all_of(text.begin(), text.end(), is_hex);
}

bool is_sha256(const std::optional<std::string>& algorithm) { return algorithm && same_without_case(*algorithm, "SHA256"); }

// Whether the group's hash is that of the parameters in one of the forms a site's reader may have hashed.
bool group_hash_right(const Content& content) {
  if (content.parameters.empty() && content.group_hash->empty()) return true;
  if (!is_hash(*content.group_hash)) return false;
  const std::string wanted = each(*content.group_hash, lower);
  const auto is_of = [&](const std::string& text) { return sha256_hex(utf16le(text)) == wanted; };
  return is_of(double_quoted(*content.parameters_markup)) || is_of(written_anew(content.parameters, "/>")) ||
         is_of(written_anew(content.parameters, " />"));
}

Result<std::vector<ScriptTask::Parameter>> parameters_of(const Content& content) {
  std::vector<ScriptTask::Parameter> parameters;
  for (const Attributes& attributes : content.parameters) {
    const auto find = [&](std::string_view name) {
      return std::find_if(attributes.begin(), attributes.end(), [&](const auto& one) { return one.first == name; });
    };
    const auto name = find("ParameterName"), value = find("ParameterValue");
    if (name == attributes.end() || value == attributes.end() || name->second.empty() || name->second.size() > Limits::name_bytes_max)
      return refuse("bgb.script_parameter", "A script parameter needs a ParameterName of 1 to 128 bytes and a ParameterValue.");
    if (std::any_of(parameters.begin(), parameters.end(),
                    [&](const auto& other) { return same_without_case(other.name, name->second); }))
      return refuse("bgb.script_parameter", "Two script parameters have one name.");
    parameters.push_back({name->second, value->second});
  }
  return parameters;
}

Result<void> decode_query(ScriptTask& task) {
  for (ScriptTask::Parameter& parameter : task.parameters) {
    const std::string_view value = parameter.value;
    auto text = value.starts_with("E:") ? from_base64(value.substr(2)) : std::nullopt;
    if (!text || !is_utf8(*text) || text->find('\0') != std::string::npos)
      return refuse("bgb.script_query", "A parameter of a CMPivot query is not \"E:\" and base64 of a text.");
    parameter.value = std::move(*text);
  }
  return {};
}

Result<ScriptTask> judged(Content content, ParametersHash check) {
  ScriptTask task;
  if (!content.guid || !content.version || !content.type || !content.hash || !content.parameters_markup || !content.group_hash)
    return refuse("bgb.script_member",
                  "A script task needs ScriptGuid, ScriptVersion, ScriptType, ScriptHash, ScriptParameters and ParameterGroupHash.");
  if (!is_guid(*content.guid)) return refuse("bgb.script_guid", "The ScriptGuid is no GUID.");
  task.guid = each(*content.guid, upper);
  if (content.version->empty() || content.version->size() > version_bytes_max)
    return refuse("bgb.script_member", "The ScriptVersion is empty or too long.");
  task.version = *content.version;
  const char* const end = content.type->data() + content.type->size();
  if (const auto [at, bad] = std::from_chars(content.type->data(), end, task.type); bad != std::errc() || at != end)
    return refuse("bgb.script_member", "The ScriptType is no number.");
  if (!is_sha256(content.hash_algorithm) || !is_hash(*content.hash))
    return refuse("bgb.script_hash", "The ScriptHash is no SHA256 of 64 hexadecimal digits.");
  task.hash = each(*content.hash, lower);
  if (!is_sha256(content.group_algorithm))
    return refuse("bgb.script_parameters_hash", "The ParameterGroupHash is not said to be a SHA256.");
  task.parameters_hash_right = group_hash_right(content);
  if (!task.parameters_hash_right && check == ParametersHash::strict)
    return refuse("bgb.script_parameters_hash", "The ParameterGroupHash is not that of the parameters.");
  auto parameters = parameters_of(content);
  if (!parameters) return pass(parameters);
  task.parameters = std::move(*parameters);
  task.cmpivot = task.guid == cmpivot_guid;
  if (task.cmpivot) {
    if (auto decoded = decode_query(task); !decoded) return pass(decoded);
  }
  return task;
}

}  // namespace

bool is_guid(std::string_view text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (hyphen ? text[i] != '-' : !is_hex(text[i])) return false;
  }
  return true;
}

Result<ScriptTask> parse_script_task(std::string_view task_param, ParametersHash check) {
  if (task_param.size() > Limits::base64_bytes_max)
    return refuse("bgb.script_too_large", "The TaskParam is larger than " + std::to_string(Limits::base64_bytes_max) + " bytes.");
  task_param = without_space(task_param);
  if (task_param.empty()) return refuse("bgb.script_empty", "A script task without TaskParam names no script.");
  const auto bytes = from_base64(task_param);
  if (!bytes) return refuse("bgb.script_base64", "The TaskParam is no padded base64.");
  std::string_view xml = *bytes;
  if (xml.starts_with("\xEF\xBB\xBF")) xml.remove_prefix(3);
  if (!is_utf8(xml)) return refuse("bgb.script_text", "The TaskParam holds no UTF-8 text.");
  if (without_space(xml).starts_with("<ScriptHash"))
    return refuse("bgb.script_older_form", "The TaskParam has the form of sites of version 1810 and before, which does not name its script.");
  auto content = Reader(xml).read();
  if (!content) return pass(content);
  return judged(std::move(*content), check);
}

}  // namespace greengate::adapters::bgb
