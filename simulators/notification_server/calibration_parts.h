// The parts of calibrating: calibration_texts.cc finds the messages in a stream, calibration.cc the layouts that explain
// what stands between them, calibration_files.cc writes what was found.
#pragma once

#include "simulators/notification_server/calibration.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greengate::sim::notify {

inline constexpr std::size_t stream_bytes_max = 1 << 20;
inline constexpr std::array<const char*, 5> field_names{"payload_size", "major_version", "minor_version", "header_size", "channel"};

inline std::uint32_t byte_at(std::string_view stream, std::size_t at) {
  return static_cast<unsigned char>(stream[at]);
}

/// A text found in the stream: from its '<' (or zlib head) to the end of its root element (or of the zlib stream).
struct Found {
  std::size_t begin = 0, end = 0;
  bool utf16 = false, zlib = false;
  bool bom_inside = false, nul_inside = false;  // of a zlib stream
  std::string xml;
};

/// The next text that begins in the 4 KiB from there.
std::optional<Found> find_text(std::string_view stream, std::size_t from);

bool is_xml_header(const Found& found);

/// One frame under one reading of where its payload begins and ends.
struct Piece {
  std::size_t begin = 0, payload = 0, end = 0;
  std::size_t xml_header = 0;  // bytes
};

struct Reading {
  bool bom = false, nul = false;
  std::vector<Piece> pieces;
};

/// Every way to cut the stream at its texts: with and without the marks that may belong to a header or a next frame as well.
std::vector<Reading> readings_of(std::string_view stream, const std::vector<std::pair<std::optional<Found>, Found>>& frames);

std::string profile_of(const Calibration& solved, std::string_view name);
std::string golden_of(const Calibration& solved, std::string_view name);

}  // namespace greengate::sim::notify
