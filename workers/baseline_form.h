#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greengate::workers {

/// A state no larger than this is kept as a baseline.
constexpr std::size_t baseline_plain_bytes_max = 64u << 20;

/// How a site's state of one device is kept: which report it came with, under which identity it was sent, and the serialized state, compressed.
///
/// Form      One byte 1 (the form's version) · incarnation, sequence, length of the plain state (8 bytes each, little-endian) · length of the
///           identity (1 byte) and the identity · zlib stream.
/// Source    docs/adr/0013-inventory-as-a-state.md
struct BaselineForm {
  std::uint64_t incarnation = 0, sequence = 0;  ///< Of the agent's report that carried the state; a later one of the same incarnation is newer.
  std::string client;  ///< The site's name of the device then; a device that got another one is new to the site.
  std::string plain;
};

/// `form.plain` may be empty when the state lies elsewhere: `plain` is what is kept.
std::string write_baseline(const BaselineForm& form, std::string_view plain);
/// Fails baseline.unreadable (reject): another version, damaged, or larger than we ever wrote.
Result<BaselineForm> read_baseline(std::string_view bytes);

}  // namespace greengate::workers
