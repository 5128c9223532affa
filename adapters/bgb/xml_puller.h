#pragma once

#include "core/result.h"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace greengate::adapters::bgb {

constexpr bool is_xml_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

struct XmlBounds {
  std::size_t depth_max = 8;           ///< At most XmlPuller::depth_most.
  std::size_t members_max = 64;        ///< Elements below the root and attributes together.
  std::size_t value_bytes_max = 256 * 1024;
};

/// Pulls one event after the other out of a very small, hostile XML: no DTD, no processing instruction beyond a leading XML
/// declaration, no comment, no CDATA, no entity but the five, no recursion. Both kinds of quotes.
///
/// Promise   Never allocates but for the value it is asked to fill, and not before that value's size was looked at.
/// Limits    XmlBounds.
/// Threads   One.
/// Errors    bgb.xml_malformed, bgb.xml_forbidden, bgb.xml_limit (reject), after Event::wrong.
class XmlPuller {
 public:
  static constexpr std::size_t depth_most = 8;
  enum class Event { start, attribute, text, end, done, wrong };

  /// `text` outlives the puller.
  XmlPuller(std::string_view text, XmlBounds bounds) : whole_(text), rest_(text), bounds_(bounds) {}

  std::string_view name() const { return name_; }      ///< Of start and attribute.
  const std::string& value() const { return value_; }  ///< Of attribute and text.
  std::size_t depth() const { return depth_; }         ///< 1 inside the root.
  const Error& error() const { return error_; }
  /// Where the last event begins in the text, and where it is over.
  std::size_t began() const { return began_; }
  std::size_t ended() const { return whole_.size() - rest_.size(); }

  Event next();

 private:
  Event wrong(const char* code, std::string sentence);
  void skip_space();
  bool take_name();
  Event document_start();
  Event document_end();
  Event count_one();
  Event start_tag();
  Event inside_tag();
  Event text();
  Event end_tag();
  Event close();
  bool unescape(std::string_view raw);

  const std::string_view whole_;
  std::string_view rest_;
  const XmlBounds bounds_;
  std::string_view name_;
  std::string value_;
  std::array<std::string_view, depth_most> open_;
  std::size_t depth_ = 0;
  std::size_t members_ = 0;
  std::size_t began_ = 0;
  bool started_ = false;
  bool in_tag_ = false;
  Error error_;
};

}  // namespace greengate::adapters::bgb
