#include "agent/trees/encoding.h"

namespace greengate::agent {

Encoder& Encoder::number(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
  return *this;
}

Encoder& Encoder::signed_number(std::int64_t value) {
  const auto raw = static_cast<std::uint64_t>(value);
  return number(value < 0 ? ~raw << 1 | 1 : raw << 1);
}

Encoder& Encoder::text(std::string_view value) {
  number(value.size());
  bytes_ += value;
  return *this;
}

std::uint64_t Decoder::number() {
  std::uint64_t value = 0;
  for (int shift = 0; good_ && shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  good_ = false;
  return 0;
}

std::int64_t Decoder::signed_number() {
  const std::uint64_t raw = number();
  return static_cast<std::int64_t>(raw & 1 ? ~(raw >> 1) : raw >> 1);
}

std::string_view Decoder::text(std::size_t bytes_max) {
  const std::uint64_t size = number();
  if (!good_ || size > bytes_max || size > rest_.size()) {
    good_ = false;
    return {};
  }
  const std::string_view value = rest_.substr(0, static_cast<std::size_t>(size));
  rest_.remove_prefix(value.size());
  return value;
}

std::size_t Decoder::count(std::size_t max) {
  const std::uint64_t value = number();
  if (value > max || value > rest_.size()) good_ = false;
  return good_ ? static_cast<std::size_t>(value) : 0;
}

std::string to_hex(std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<std::uint8_t>(c);
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string from_hex(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string bytes;
  if (text.size() % 2 != 0) return bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return {};
    bytes += static_cast<char>(high << 4 | low);
  }
  return bytes;
}

}  // namespace greengate::agent
