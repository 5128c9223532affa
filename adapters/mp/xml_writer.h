#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// Appends XML as UTF-16LE, in one pass and without a tree: the caller writes the tags, this escapes what lies between.
///
/// Promise   What text() and attribute() were given cannot become markup, and what was written is well-formed as far as the
///           caller's own markup is: invalid UTF-8 becomes U+FFFD, characters XML forbids are dropped.
/// Limits    `bytes_max`: once past it nothing more is written. size() then says so, and assemble() refuses the message.
/// Threads   One.
class XmlWriter {
 public:
  explicit XmlWriter(std::size_t expected_bytes = 4096, std::size_t bytes_max = SIZE_MAX)
      : bytes_max_(bytes_max) {
    bytes_.resize(expected_bytes);
  }

  /// Our own ASCII, as it is: tags, names we have checked, numbers. Never anything from outside.
  void markup(std::string_view ascii);
  /// From outside, between tags.
  void text(std::string_view utf8) { escape(utf8, false); }
  /// From outside, between double quotes.
  void attribute(std::string_view utf8) { escape(utf8, true); }
  /// From outside, as one or more CDATA sections; "]]>" inside is split over two.
  void cdata(std::string_view utf8);
  void number(std::int64_t value);
  void unsigned_number(std::uint64_t value);
  /// <name>value</name>. `name` is ours or checked.
  void element(std::string_view name, std::string_view value);

  /// Bytes already in UTF-16LE, made by another writer.
  void wide(std::string_view utf16);
  /// Bytes as they are, such as a BOM or the NUL at a stream's end.
  void raw(std::string_view bytes) { wide(bytes); }

  std::size_t size() const { return size_; }
  std::string_view view() const { return {bytes_.data(), size_}; }
  std::string take();

 private:
  void escape(std::string_view utf8, bool quoted);
  void code_point(char32_t c);
  /// At least `more` bytes of room behind size_.
  void ensure(std::size_t more) {
    if (bytes_.size() - size_ < more) grow(more);
  }
  void grow(std::size_t more);

  const std::size_t bytes_max_;
  std::string bytes_;  // longer than size_, so that appending need not ask the string each time
  std::size_t size_ = 0;
};

/// The same, once: for pieces that are written many times.
std::string wide_markup(std::string_view ascii);

/// Fit to be the name of a WMI class or property, and therefore of an XML element: a letter or _,
/// then letters, digits, _; 255 at most.
bool is_wmi_name(std::string_view name);

}  // namespace greengate::adapters
