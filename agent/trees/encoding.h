#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace greengate::agent {

/// Numbers and texts one after the other, for the agent's own small files and pipes; never sent.
class Encoder {
 public:
  Encoder& number(std::uint64_t value);
  Encoder& signed_number(std::int64_t value);
  Encoder& text(std::string_view value);
  const std::string& bytes() const { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads what an Encoder wrote.
///
/// Promise   Never reads past the end or makes room for more than is there: after the first
///           mistake, good() is false and everything further is 0 or empty.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : rest_(bytes) {}
  std::uint64_t number();
  std::int64_t signed_number();
  std::string_view text(std::size_t bytes_max);
  /// A number of things that follow, each of at least one byte.
  std::size_t count(std::size_t max);
  bool good() const { return good_; }
  bool at_end() const { return good_ && rest_.empty(); }
  void spoil() { good_ = false; }

 private:
  std::string_view rest_;
  bool good_ = true;
};

std::string to_hex(std::string_view bytes);
/// Empty when it is no hex.
std::string from_hex(std::string_view text);

}  // namespace greengate::agent
