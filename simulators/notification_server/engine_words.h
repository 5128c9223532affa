// Small words that more than one file of the engine uses.
#pragma once

#include "simulators/notification_server/frame.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace greengate::sim::notify {

/// Lower case.
inline std::string hex(std::span<const std::byte> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    out += digits[std::to_integer<unsigned>(b) >> 4];
    out += digits[std::to_integer<unsigned>(b) & 15U];
  }
  return out;
}

/// `rules` with the text encoding of that name: "utf-8" or "utf-16le", with "+bom" or "+nul".
inline FrameRules with_encoding(FrameRules rules, std::string_view name) {
  rules.utf16 = name.starts_with("utf-16le");
  rules.bom = name.ends_with("+bom");
  rules.nul = name.ends_with("+nul");
  return rules;
}

}  // namespace greengate::sim::notify
