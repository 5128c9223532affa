#include "adapters/bgb/message_schema.h"

#include "adapters/bgb/xml_puller.h"
#include "adapters/bgb/xml_text.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace greengate::adapters::bgb {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_without_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

// Names are equal when only the case of a trailing Id or Guid differs: SDK properties and the
// published XML disagree there.
bool same_name(std::string_view a, std::string_view b) {
  if (a == b) return true;
  if (!same_without_case(a, b)) return false;
  for (const std::size_t tail : {std::size_t{4}, std::size_t{2}}) {
    if (a.size() < tail || !same_without_case(a.substr(a.size() - tail), tail == 4 ? "guid" : "id"))
      continue;
    return a.substr(0, a.size() - tail) == b.substr(0, b.size() - tail);
  }
  return false;
}

template <class Number>
bool take_number(std::string_view text, Number& number) {
  while (!text.empty() && is_xml_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_xml_space(text.back())) text.remove_suffix(1);
  Number value{};
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (wrong != std::errc() || end != text.data() + text.size() || text.empty()) return false;
  number = value;
  return true;
}

// Sets the member and marks it present; a number that is none leaves it absent, which the session
// judges.
void set_member(Message& message, Member member, std::string value) {
  bool good = true;
  switch (member) {
    case Member::client_id:
      message.client_id = std::move(value);
      break;
    case Member::client_type:
      message.client_type = std::move(value);
      break;
    case Member::client_version:
      message.client_version = std::move(value);
      break;
    case Member::message_version:
      message.message_version = std::move(value);
      break;
    case Member::task_guid:
      message.task_guid = std::move(value);
      break;
    case Member::task_param:
      message.task_param = std::move(value);
      break;
    case Member::push_id:
      good = take_number(value, message.push_id);
      break;
    case Member::task_id:
      good = take_number(value, message.task_id);
      break;
    case Member::task_type:
      good = take_number(value, message.task_type);
      break;
    case Member::return_code:
      good = take_number(value, message.return_code);
      break;
  }
  if (good) message.present.add(member);
}

std::string member_text(const Message& message, Member member) {
  switch (member) {
    case Member::client_id:
      return message.client_id;
    case Member::client_type:
      return message.client_type;
    case Member::client_version:
      return message.client_version;
    case Member::message_version:
      return message.message_version;
    case Member::task_guid:
      return message.task_guid;
    case Member::task_param:
      return message.task_param;
    case Member::push_id:
      return std::to_string(message.push_id);
    case Member::task_id:
      return std::to_string(message.task_id);
    case Member::task_type:
      return std::to_string(message.task_type);
    case Member::return_code:
      return std::to_string(message.return_code);
  }
  return {};
}

bool can_be_sent(std::string_view value) {
  return std::all_of(value.begin(), value.end(), [](unsigned char c) { return c >= 0x20 || c == '\t' || c == '\n'; });
}

}  // namespace

MessageSchema::MessageSchema(Profile profile) : profile_(std::move(profile)) {}

Result<Parsed> MessageSchema::parse(const Frame& frame) const {
  Parsed parsed;
  Message& message = parsed.message;
  if (frame.xml_utf8.empty()) {
    message.kind = frame.kind_hint;
    return parsed;
  }

  using Event = XmlPuller::Event;
  XmlPuller xml(frame.xml_utf8, {depth_max, members_max, value_bytes_max});
  const MessageShape* shape = nullptr;
  std::string child;       // the element open below the root
  std::string child_text;  // its text, in as many pieces as the XML has
  while (true) {
    const Event event = xml.next();
    if (event == Event::wrong) return tl::unexpected(xml.error());
    if (event == Event::done) break;
    if (event == Event::start && xml.depth() == 1) {
      for (std::size_t i = 0; i + 1 < kind_count; ++i) {
        if (!profile_.shapes[i].root.empty() && xml.name() == profile_.shapes[i].root) {
          message.kind = static_cast<Kind>(i);
          shape = &profile_.shapes[i];
        }
      }
    } else if (event == Event::start && xml.depth() == 2) {
      child = std::string(xml.name());
      child_text.clear();
    } else if (event == Event::attribute) {
      if (xml.depth() == 1 && same_without_case(xml.name(), profile_.timestamp_name))
        message.unix_seconds = parse_timestamp(xml.value());
      else if (xml.depth() == 2)
        message.extra.emplace_back(child + "." + std::string(xml.name()), xml.value());
    } else if (event == Event::text && xml.depth() == 2) {
      if (child_text.size() + xml.value().size() > value_bytes_max)
        return fail(Remedy::reject, "bgb.xml_limit", "A value is larger than 256 KiB.");
      child_text += xml.value();
    } else if (event == Event::end && xml.depth() == 1) {
      const std::pair<Member, std::string>* known = nullptr;
      if (shape)
        for (const auto& member : shape->members)
          if (same_name(child, member.second)) known = &member;
      if (!known) {
        message.extra.emplace_back(std::move(child), std::move(child_text));
      } else if (message.present.has(known->first)) {
        return fail(Remedy::reject, "bgb.xml_malformed", "A member appears twice.");
      } else {
        set_member(message, known->first, std::move(child_text));
      }
      child.clear();
      child_text.clear();
    }
  }
  parsed.kind_mismatch = frame.kind_hint != Kind::unknown && frame.kind_hint != message.kind;
  return parsed;
}

Result<void> MessageSchema::write(const Message& message, std::string& xml_utf8) const {
  const MessageShape& shape = profile_.shapes[static_cast<std::size_t>(message.kind)];
  if (shape.members.empty()) return {};
  xml_utf8 += "<" + shape.root + " " + profile_.timestamp_name + "=\"" +
              timestamp_text(message.unix_seconds) + "\">";
  for (const auto& [member, name] : shape.members) {
    xml_utf8 += "<" + name + ">";
    const std::string text = member_text(message, member);
    if (!can_be_sent(text))
      return fail(Remedy::reject, "bgb.xml_malformed",
                  name + " has a control character in it and cannot be sent.");
    append_escaped(xml_utf8, text, XmlPlace::element);
    xml_utf8 += "</" + name + ">";
  }
  xml_utf8 += "</" + shape.root + ">";
  return {};
}

std::string timestamp_text(std::int64_t unix_seconds) {
  using namespace std::chrono;
  const sys_seconds when{seconds(unix_seconds)};
  const auto day = floor<days>(when);
  const year_month_day date(day);
  const hh_mm_ss time(when - day);
  char text[40];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  return text;
}

std::int64_t parse_timestamp(std::string_view text) {
  using namespace std::chrono;
  const auto number = [&](std::size_t at, std::size_t length) {
    int value = -1;
    for (const char c : text.substr(std::min(at, text.size()), length))
      if (c < '0' || c > '9') return -1;
    if (at + length > text.size() || !take_number(text.substr(at, length), value)) return -1;
    return value;
  };
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' ||
      text[16] != ':')
    return 0;
  const year_month_day date{year(number(0, 4)), month(static_cast<unsigned>(number(5, 2))),
                            day(static_cast<unsigned>(number(8, 2)))};
  const int h = number(11, 2), m = number(14, 2), s = number(17, 2);
  if (number(0, 4) < 1 || !date.ok() || h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 60)
    return 0;
  const sys_seconds when = sys_days(date) + hours(h) + minutes(m) + seconds(s);

  text.remove_prefix(19);
  if (!text.empty() && text.front() == '.') {
    text.remove_prefix(1);
    while (!text.empty() && text.front() >= '0' && text.front() <= '9') text.remove_prefix(1);
  }
  if (text.empty() || text == "Z") return when.time_since_epoch().count();
  if (text.size() != 6 || text[3] != ':' || (text[0] != '+' && text[0] != '-')) return 0;
  const int offset_h = number(1, 2), offset_m = number(4, 2);
  if (offset_h < 0 || offset_m < 0) return 0;
  const seconds offset = hours(offset_h) + minutes(offset_m);
  return (text[0] == '+' ? when - offset : when + offset).time_since_epoch().count();
}

}  // namespace greengate::adapters::bgb
