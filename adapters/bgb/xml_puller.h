#pragma once

#include "core/result.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace greengate::adapters::bgb {

/// Pulls one event after the other out of the very small XML that messages are.
///
/// Promise   Hostile text is refused: no DTD, comment, CDATA, processing instruction beyond a leading declaration, no entity but
/// the
///           five. It never allocates but for the value it is asked to fill.
/// Limits    depth_max, members_max (elements and attributes together), value_bytes_max.
/// Errors    error() after Event::wrong: bgb.xml_malformed, bgb.xml_forbidden, bgb.xml_limit (reject).
/// Source    bgb-protocol 8.2
class XmlPuller {
 public:
  enum class Event { start, attribute, text, end, done, wrong };
  static constexpr std::size_t depth_max = 8;
  static constexpr std::size_t members_max = 64;
  static constexpr std::size_t value_bytes_max = 256 * 1024;

  explicit XmlPuller(std::string_view text) : rest_(text) {}

  std::string_view name() const { return name_; }      ///< Of start and attribute.
  const std::string& value() const { return value_; }  ///< Of attribute and text.
  std::size_t depth() const { return depth_; }         ///< 1 inside the root.
  const Error& error() const { return error_; }

  Event next();

 private:
  Event wrong(const char* code, const char* sentence);
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

  std::string_view rest_;
  std::string_view name_;
  std::string value_;
  std::string_view open_[depth_max];
  std::size_t depth_ = 0;
  std::size_t members_ = 0;
  bool started_ = false;
  bool in_tag_ = false;
  Error error_;
};

}  // namespace greengate::adapters::bgb
