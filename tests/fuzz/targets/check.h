#pragma once

// What the fuzzers share: how a broken promise ends a run, and how one input becomes several.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace greengate::fuzz {

/// Ends the run, and says which promise was broken.
inline void must(bool kept, const char* promise) {
  if (kept) return;
  std::fprintf(stderr, "Broken promise: %s\n", promise);
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }

/// Cuts the front of `rest` off, up to the next `mark`, which goes too.
inline std::string_view piece(std::string_view& rest, char mark) {
  const auto end = rest.find(mark);
  const std::string_view front = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  return front;
}

/// Valid UTF-8 without control characters, as everything that people or sites see must be.
inline bool is_clean(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::size_t more = byte < 0x80 ? 0 : byte >= 0xC2 && byte < 0xE0 ? 1 : byte >= 0xE0 && byte < 0xF0 ? 2 : byte >= 0xF0 && byte < 0xF5 ? 3 : 9;
    if (more == 9 || at + more >= text.size() || byte < 0x20 || byte == 0x7F) return false;
    for (std::size_t i = 1; i <= more; ++i)
      if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return false;
    at += more + 1;
  }
  return true;
}

}  // namespace greengate::fuzz
