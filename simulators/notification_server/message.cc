#include "simulators/notification_server/message.h"

#include "simulators/common/text.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <span>

namespace greengate::sim::notify {
namespace {

constexpr std::size_t depth_max = 8;
constexpr std::size_t members_max = 64;
constexpr std::size_t value_bytes_max = 256 * 1024;

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
bool is_name_start(char c) {
  return is_letter(c) || c == '_' || static_cast<signed char>(c) < 0;
}
bool is_name_char(char c) {
  return is_name_start(c) || is_digit(c) || c == '-' || c == '.';
}
bool is_xml_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 && !is_space(c);
}

/// Walks the text once, without recursion, and stops at the first thing that is wrong.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Document read() {
    run();
    if (stopped_) document_.elements.clear();
    return std::move(document_);
  }

 private:
  void run() {
    if (text_.empty() || text_[0] != '<') return stop("xml.malformed", "does not begin with <");
    while (at_ < text_.size() && !stopped_) {
      if (text_[at_] == '<') {
        markup();
      } else {
        characters();
      }
    }
    if (stopped_) return;
    if (!open_.empty() || document_.elements.empty())
      stop("xml.malformed", "ends inside an element");
  }

  void markup() {
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with("<!DOCTYPE") || rest.starts_with("<!ENTITY") ||
        rest.starts_with("<!ELEMENT"))
      return stop("xml.dtd", "a document type declaration");
    if (rest.starts_with("<?xml")) return stop("xml.declaration", "an XML declaration");
    if (rest.starts_with("<?") || rest.starts_with("<!"))
      return stop("xml.markup", "a comment, CDATA section or processing instruction");
    if (rest.starts_with("</")) return end_tag();
    if (done_) return stop("xml.trailing", "something after the root element");
    start_tag();
  }

  void start_tag() {
    ++at_;
    Element element;
    if (!name(element.name)) return;
    if (open_.size() >= depth_max) return stop("xml.depth", "deeper than 8");
    if (!count_member()) return;
    bool space = skip_space();
    while (at_ < text_.size() && text_[at_] != '>' && text_[at_] != '/') {
      if (!space) return stop("xml.malformed", "no space before an attribute");
      if (!attribute(element)) return;
      space = skip_space();
    }
    const bool empty = at_ < text_.size() && text_[at_] == '/';
    if (empty) ++at_;
    if (at_ >= text_.size() || text_[at_] != '>')
      return stop("xml.malformed", "a tag that does not end");
    ++at_;
    element.parent = open_.empty() ? 0 : open_.back();
    element.depth = open_.size() + 1;
    open_.push_back(document_.elements.size());
    document_.elements.push_back(std::move(element));
    if (empty) close();
  }

  void end_tag() {
    at_ += 2;
    std::string ended;
    if (!name(ended)) return;
    skip_space();
    if (at_ >= text_.size() || text_[at_] != '>')
      return stop("xml.malformed", "an end tag that does not end");
    ++at_;
    if (open_.empty() || document_.elements[open_.back()].name != ended)
      return stop("xml.malformed", "</" + ended + "> ends nothing open");
    close();
  }

  void close() {
    open_.pop_back();
    if (open_.empty()) done_ = true;
  }

  bool attribute(Element& element) {
    std::pair<std::string, std::string> attribute;
    if (!name(attribute.first)) return false;
    if (attribute.first == "xmlns") {
      stop("xml.namespace", "a namespace declaration");
      return false;
    }
    if (!count_member()) return false;
    skip_space();
    if (at_ >= text_.size() || text_[at_] != '=') return bad("an attribute without a value");
    ++at_;
    skip_space();
    if (at_ >= text_.size() || (text_[at_] != '"' && text_[at_] != '\''))
      return bad("an attribute value without quotes");
    const char quote = text_[at_++];
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '<') return bad("< inside an attribute value");
      if (!character(attribute.second)) return false;
    }
    if (at_ >= text_.size()) return bad("an attribute value that does not end");
    ++at_;
    for (const auto& [known, value] : element.attributes)
      if (known == attribute.first) return bad("attribute " + known + " twice");
    element.attributes.push_back(std::move(attribute));
    return true;
  }

  void characters() {
    if (open_.empty()) return stop("xml.trailing", "text outside the root element");
    Element& element = document_.elements[open_.back()];
    while (at_ < text_.size() && text_[at_] != '<')
      if (!character(element.text)) return;
  }

  /// One character or reference onto `value`.
  bool character(std::string& value) {
    if (value.size() >= value_bytes_max) {
      stop("xml.value_size", "a value of more than 256 KiB");
      return false;
    }
    const char c = text_[at_];
    if (c == '&') return reference(value);
    if (is_xml_control(c)) return bad("a control character");
    value += c;
    ++at_;
    return true;
  }

  bool reference(std::string& value) {
    static constexpr std::array<std::pair<std::string_view, char>, 5> five{
        {{"&lt;", '<'}, {"&gt;", '>'}, {"&amp;", '&'}, {"&quot;", '"'}, {"&apos;", '\''}}};
    const std::string_view rest = text_.substr(at_);
    for (const auto& [written, meant] : five)
      if (rest.starts_with(written)) {
        value += meant;
        at_ += written.size();
        return true;
      }
    stop("xml.entity", "a reference that is none of the five");
    return false;
  }

  bool name(std::string& into) {
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           (at_ == begin ? is_name_start(text_[at_]) : is_name_char(text_[at_])))
      ++at_;
    if (at_ == begin) return bad("a name was expected");
    if (at_ < text_.size() && text_[at_] == ':') {
      stop("xml.namespace", "a prefixed name");
      return false;
    }
    into = text_.substr(begin, at_ - begin);
    return true;
  }

  bool count_member() {
    if (++members_ <= members_max) return true;
    stop("xml.members", "more than 64 members");
    return false;
  }

  bool skip_space() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ != begin;
  }

  bool bad(std::string detail) {
    stop("xml.malformed", std::move(detail));
    return false;
  }

  void stop(const char* code, std::string detail) {
    if (stopped_) return;
    stopped_ = true;
    document_.findings.push_back({code, code == std::string_view("xml.declaration") ? "2.2" : "8.2",
                                  Severity::fatal,
                                  detail + " (character " + std::to_string(at_) + ")"});
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t members_ = 0;
  std::vector<std::size_t> open_;
  bool done_ = false;
  bool stopped_ = false;
  Document document_;
};

constexpr std::array<std::pair<std::string_view, Kind>, 5> roots{{
    {"BgbSignInMessage", Kind::sign_in},
    {"BgbSignInConfirmMessage", Kind::sign_in_confirm},
    {"BgbKeepAliveMessage", Kind::keep_alive},
    {"BgbRequestMessage", Kind::request},
    {"BgbResponseMessage", Kind::response},
}};

// The samples' order (reading 1 of client notification).
constexpr std::array<std::string_view, 3> sign_in_members{"ClientType", "ClientVersion",
                                                          "ClientID"};
constexpr std::array<std::string_view, 2> keep_alive_members{"ClientType", "ClientID"};
constexpr std::array<std::string_view, 3> response_members{"PushID", "TaskID", "ReturnCode"};

std::span<const std::string_view> members_of(Kind kind) {
  if (kind == Kind::sign_in) return sign_in_members;
  if (kind == Kind::keep_alive) return keep_alive_members;
  if (kind == Kind::response) return response_members;
  return {};
}

bool same_but_for_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

/// "2026-01-15T09:30:00Z" and nothing else, a day that exists.
std::optional<std::int64_t> read_timestamp(std::string_view text) {
  static constexpr std::string_view form = "0000-00-00T00:00:00Z";
  if (text.size() != form.size()) return std::nullopt;
  for (std::size_t i = 0; i < form.size(); ++i)
    if (form[i] == '0' ? !is_digit(text[i]) : text[i] != form[i]) return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    for (std::size_t i = at; i < at + digits; ++i) value = value * 10 + (text[i] - '0');
    return value;
  };
  const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  const int hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  if (!day.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const auto days = std::chrono::sys_days(day).time_since_epoch().count();
  return std::int64_t{days} * 86'400 + hour * 3'600 + minute * 60 + second;
}

/// Digits only, no leading zero, within 63 bits.
std::optional<std::uint64_t> read_number(std::string_view text) {
  if (text.empty() || text.size() > 18 || !std::ranges::all_of(text, is_digit)) return std::nullopt;
  if (text.size() > 1 && text[0] == '0') return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) value = value * 10 + static_cast<std::uint64_t>(c - '0');
  return value;
}

/// Four numbers with the product's widths, as in "5.00.9141.1000".
bool is_version(std::string_view text) {
  std::array<std::size_t, 4> digits{};
  std::size_t part = 0;
  for (const char c : text) {
    if (is_digit(c)) {
      ++digits[part];
    } else if (c != '.' || ++part == digits.size()) {
      return false;
    }
  }
  return part == 3 && digits[0] >= 1 && digits[0] <= 2 && digits[1] == 2 && digits[2] == 4 &&
         digits[3] == 4;
}

void check_shape(const Document& document, Kind kind, const SchemaRules& rules,
                 Findings& findings) {
  const auto wrong = [&](const char* code, std::string detail) {
    findings.push_back({code, "2.2", Severity::refused, std::move(detail)});
  };
  const Element& root = document.elements.front();
  bool stamped = false;
  for (const auto& [name, value] : root.attributes) {
    if (name == "TimeStamp") {
      stamped = true;
    } else if (same_but_for_case(name, "TimeStamp")) {
      stamped = true;
      wrong("schema.case", "attribute " + name + " is written TimeStamp");
    } else if (!rules.allow_unknown_members) {
      wrong("schema.unknown_attribute", "attribute " + name);
    }
  }
  if (!stamped) wrong("schema.no_timestamp", "the root has no TimeStamp attribute");

  const auto expected = members_of(kind);
  std::vector<int> seen(expected.size(), 0);
  std::size_t last = 0;
  bool ordered = true;
  for (std::size_t i = 0; i < document.elements.size(); ++i) {
    const Element& element = document.elements[i];
    const bool is_leaf = std::ranges::none_of(document.elements, [&](const Element& other) {
      return &other != &root && other.parent == i;
    });
    if (!is_leaf && std::ranges::any_of(element.text, [](char c) { return !is_space(c); }))
      wrong("schema.text", "text between the members of " + element.name);
    else if (!is_leaf && !element.text.empty())
      wrong("schema.white_space", "white space between the members of " + element.name);
    if (i == 0) continue;
    if (element.depth > 2) {
      if (!rules.allow_unknown_members) wrong("schema.nested", element.name + " inside a member");
      continue;
    }
    const auto exact = std::ranges::find(expected, element.name);
    const auto alike = exact != expected.end()
                           ? exact
                           : std::ranges::find_if(expected, [&](std::string_view name) {
                               return same_but_for_case(name, element.name);
                             });
    if (alike == expected.end()) {
      if (!rules.allow_unknown_members) wrong("schema.unknown_member", "member " + element.name);
      continue;
    }
    if (exact == expected.end())
      wrong("schema.case", "member " + element.name + " is written " + std::string(*alike));
    if (!rules.allow_unknown_members)
      for (const auto& [name, value] : element.attributes)
        wrong("schema.unknown_attribute", "attribute " + name + " of " + element.name);
    const auto index = static_cast<std::size_t>(alike - expected.begin());
    if (++seen[index] == 2) wrong("schema.repeated", "member " + element.name + " twice");
    if (index < last) ordered = false;
    last = std::max(last, index);
  }
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (seen[i] == 0) wrong("schema.missing", "no member " + std::string(expected[i]));
  if (!ordered) wrong("schema.order", "the members are not in the samples' order");
}

}  // namespace

Document parse_xml(std::string_view utf8) {
  return Reader(utf8).read();
}

Kind kind_of_root(std::string_view root) {
  for (const auto& [name, kind] : roots)
    if (name == root) return kind;
  return Kind::unknown;
}

bool is_sms_id(std::string_view text) {
  static constexpr std::string_view form = "GUID:00000000-0000-0000-0000-000000000000";
  if (text.size() != form.size()) return false;
  for (std::size_t i = 0; i < form.size(); ++i) {
    const bool fits = form[i] == '0' ? is_digit(text[i]) || (text[i] >= 'A' && text[i] <= 'F')
                                     : text[i] == form[i];
    if (!fits) return false;
  }
  return true;
}

ClientMessage check_message(const Document& document, const SchemaRules& rules,
                            Findings& findings) {
  const auto wrong = [&](const char* code, const char* section, Severity severity,
                         std::string detail) {
    findings.push_back({code, section, severity, std::move(detail)});
  };
  ClientMessage message;
  const Element& root = document.elements.front();
  message.kind = kind_of_root(root.name);
  if (message.kind == Kind::unknown) {
    wrong("schema.root", "2.2", Severity::refused, "root " + root.name.substr(0, 80));
    return message;
  }
  if (members_of(message.kind).empty())
    return message;  // a server's message: the session refuses it
  check_shape(document, message.kind, rules, findings);

  for (const auto& [name, value] : root.attributes) {
    if (!same_but_for_case(name, "TimeStamp")) continue;
    const auto time = read_timestamp(value);
    if (!time) {
      wrong("schema.timestamp", "2.2", Severity::refused,
            "TimeStamp \"" + value.substr(0, 80) + "\"");
      continue;
    }
    message.unix_seconds = *time;
    const std::int64_t skew = *time - rules.now_unix_seconds;
    if (rules.skew_warn_seconds > 0 &&
        (skew > rules.skew_warn_seconds || skew < -rules.skew_warn_seconds))
      wrong("schema.skew", "7.3", Severity::warning,
            "TimeStamp differs by " + std::to_string(skew) + " s");
  }

  for (const Element& element : document.elements) {
    if (element.depth != 2) continue;
    const std::string& value = element.text;
    const auto number = [&](std::uint64_t& into) {
      const auto read = read_number(value);
      if (!read)
        return wrong("schema.number", "2.2", Severity::refused,
                     element.name + " is \"" + value.substr(0, 40) + "\"");
      into = *read;
    };
    if (same_but_for_case(element.name, "ClientType")) {
      if (value != rules.client_type)
        wrong("schema.client_type", "2.1", Severity::refused, "ClientType " + value.substr(0, 40));
    } else if (same_but_for_case(element.name, "ClientVersion")) {
      message.client_version = value.substr(0, 40);
      if (!is_version(value))
        wrong("schema.client_version", "2.2", Severity::refused,
              "ClientVersion " + message.client_version);
    } else if (same_but_for_case(element.name, "ClientID")) {
      message.client_id = value.substr(0, 80);
      if (rules.check_smsid_form && !is_sms_id(value))
        wrong("signin.smsid_form", "4.1", Severity::refused, "ClientID " + message.client_id);
    } else if (same_but_for_case(element.name, "PushID")) {
      number(message.push_id);
    } else if (same_but_for_case(element.name, "TaskID")) {
      number(message.task_id);
    } else if (same_but_for_case(element.name, "ReturnCode")) {
      const bool minus = value.starts_with('-');
      const auto read = read_number(minus ? std::string_view(value).substr(1) : value);
      if (!read || (minus && *read == 0)) {
        wrong("schema.number", "2.2", Severity::refused,
              "ReturnCode \"" + value.substr(0, 40) + "\"");
        continue;
      }
      message.return_code = static_cast<std::int64_t>(*read) * (minus ? -1 : 1);
    }
  }
  return message;
}

std::string timestamp(std::int64_t unix_seconds) {
  const std::chrono::sys_seconds time{std::chrono::seconds(unix_seconds)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02dZ", int(date.year()),
                unsigned(date.month()), unsigned(date.day()), int(clock.hours().count()),
                int(clock.minutes().count()), int(clock.seconds().count()));
  return text.data();
}

std::string confirm_xml(std::int64_t unix_seconds, std::string_view message_version) {
  return "<BgbSignInConfirmMessage TimeStamp=\"" + timestamp(unix_seconds) + "\"><MessageVersion>" +
         xml_escaped(message_version) + "</MessageVersion></BgbSignInConfirmMessage>";
}

std::string request_xml(std::int64_t unix_seconds, const RequestFields& fields) {
  std::string xml = "<BgbRequestMessage TimeStamp=\"" + timestamp(unix_seconds) + "\">";
  const auto member = [&](std::string_view name, std::string_view value) {
    if (std::ranges::find(fields.leave_out, name) != fields.leave_out.end()) return;
    xml.append("<").append(name).append(">").append(xml_escaped(value));
    xml.append("</").append(name).append(">");
  };
  member("PushID", std::to_string(fields.push_id));
  member("TaskID", std::to_string(fields.task_id));
  member("TaskGUID", fields.task_guid);
  member("TaskType", std::to_string(fields.task_type));
  member("TaskParam", fields.task_param);
  return xml + fields.extra + "</BgbRequestMessage>";
}

}  // namespace greengate::sim::notify
