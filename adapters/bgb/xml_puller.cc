#include "adapters/bgb/xml_puller.h"

#include <algorithm>
#include <utility>

namespace greengate::adapters::bgb {
namespace {

bool is_name_start(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || (static_cast<unsigned char>(c) & 0x80) != 0;
}
bool is_name_part(char c) {
  return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':';
}

}  // namespace

using Event = XmlPuller::Event;

Event XmlPuller::next() {
  began_ = ended();
  if (in_tag_) return inside_tag();
  if (!started_) return document_start();
  if (depth_ == 0) return document_end();
  if (rest_.empty()) return wrong("bgb.xml_malformed", "The message ends inside an element.");
  if (rest_.front() != '<') return text();
  if (rest_.starts_with("</")) return end_tag();
  if (rest_.starts_with("<!") || rest_.starts_with("<?"))
    return wrong("bgb.xml_forbidden", "The message has a DTD, comment, CDATA section or processing instruction.");
  return start_tag();
}

Event XmlPuller::wrong(const char* code, std::string sentence) {
  error_ = Error{Remedy::reject, code, std::move(sentence), {}};
  return Event::wrong;
}

void XmlPuller::skip_space() {
  while (!rest_.empty() && is_xml_space(rest_.front())) rest_.remove_prefix(1);
}

bool XmlPuller::take_name() {
  if (rest_.empty() || !is_name_start(rest_.front())) return false;
  std::size_t length = 1;
  while (length < rest_.size() && is_name_part(rest_[length])) ++length;
  name_ = rest_.substr(0, length);
  rest_.remove_prefix(length);
  return true;
}

Event XmlPuller::document_start() {
  started_ = true;
  if (rest_.starts_with("<?xml") && rest_.size() > 5 && is_xml_space(rest_[5])) {
    const auto close = rest_.find("?>");
    if (close == std::string_view::npos) return wrong("bgb.xml_malformed", "The XML declaration does not end.");
    rest_.remove_prefix(close + 2);
  }
  skip_space();
  began_ = ended();
  if (rest_.starts_with("<!") || rest_.starts_with("<?"))
    return wrong("bgb.xml_forbidden", "The message has a DTD, comment or processing instruction.");
  if (rest_.empty() || rest_.front() != '<') return wrong("bgb.xml_malformed", "The message does not start with an element.");
  return start_tag();
}

Event XmlPuller::document_end() {
  skip_space();
  if (rest_.empty()) return Event::done;
  return wrong("bgb.xml_malformed", "Something follows the message's root element.");
}

Event XmlPuller::count_one() {
  if (++members_ > bounds_.members_max + 1)  // the root is no member
    return wrong("bgb.xml_limit", "The message has more than " + std::to_string(bounds_.members_max) + " members.");
  return Event::start;
}

Event XmlPuller::start_tag() {
  rest_.remove_prefix(1);
  if (!take_name()) return wrong("bgb.xml_malformed", "An element has no name.");
  if (depth_ >= std::min(bounds_.depth_max, depth_most))
    return wrong("bgb.xml_limit", "The message nests deeper than " + std::to_string(depth_) + " elements.");
  if (count_one() == Event::wrong) return Event::wrong;
  open_[depth_++] = name_;
  in_tag_ = true;
  return Event::start;
}

Event XmlPuller::inside_tag() {
  const bool apart = !rest_.empty() && is_xml_space(rest_.front());
  skip_space();
  if (rest_.starts_with("/>")) {
    rest_.remove_prefix(2);
    in_tag_ = false;
    return close();
  }
  if (!rest_.empty() && rest_.front() == '>') {
    rest_.remove_prefix(1);
    in_tag_ = false;
    return next();  // a start tag's end is no event of its own
  }
  if (!apart || !take_name()) return wrong("bgb.xml_malformed", "An element's tag is not closed properly.");
  if (count_one() == Event::wrong) return Event::wrong;
  skip_space();
  if (rest_.empty() || rest_.front() != '=') return wrong("bgb.xml_malformed", "An attribute has no value.");
  rest_.remove_prefix(1);
  skip_space();
  if (rest_.empty() || (rest_.front() != '"' && rest_.front() != '\''))
    return wrong("bgb.xml_malformed", "An attribute's value is not quoted.");
  const char quote = rest_.front();
  rest_.remove_prefix(1);
  const auto end = rest_.find(quote);
  if (end == std::string_view::npos) return wrong("bgb.xml_malformed", "An attribute's value does not end.");
  const auto raw = rest_.substr(0, end);
  rest_.remove_prefix(end + 1);
  if (raw.find('<') != std::string_view::npos) return wrong("bgb.xml_malformed", "An attribute's value has a '<' in it.");
  return unescape(raw) ? Event::attribute : Event::wrong;
}

Event XmlPuller::text() {
  const auto end = std::min(rest_.find('<'), rest_.size());
  const auto raw = rest_.substr(0, end);
  rest_.remove_prefix(end);
  return unescape(raw) ? Event::text : Event::wrong;
}

Event XmlPuller::end_tag() {
  rest_.remove_prefix(2);
  if (!take_name() || name_ != open_[depth_ - 1]) return wrong("bgb.xml_malformed", "An end tag does not match its start.");
  skip_space();
  if (rest_.empty() || rest_.front() != '>') return wrong("bgb.xml_malformed", "An end tag is not closed.");
  rest_.remove_prefix(1);
  return close();
}

Event XmlPuller::close() {
  --depth_;
  return Event::end;
}

bool XmlPuller::unescape(std::string_view raw) {
  value_.clear();
  if (raw.size() > bounds_.value_bytes_max) {
    wrong("bgb.xml_limit", "A value is larger than " + std::to_string(bounds_.value_bytes_max) + " bytes.");
    return false;
  }
  value_.reserve(raw.size());
  for (std::size_t i = 0; i < raw.size(); ++i) {
    const char c = raw[i];
    if (static_cast<unsigned char>(c) < 0x20 && !is_xml_space(c)) {
      wrong("bgb.xml_malformed", "A value has a control character in it.");
      return false;
    }
    if (c != '&') {
      value_.push_back(c);
      continue;
    }
    static constexpr std::pair<std::string_view, char> entities[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    const auto known = std::find_if(std::begin(entities), std::end(entities),
                                    [&](const auto& entity) { return raw.substr(i).starts_with(entity.first); });
    if (known == std::end(entities)) {
      wrong("bgb.xml_forbidden", "A value uses an entity other than the five of XML.");
      return false;
    }
    value_.push_back(known->second);
    i += known->first.size() - 1;
  }
  return true;
}

}  // namespace greengate::adapters::bgb
