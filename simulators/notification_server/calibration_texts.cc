#include "simulators/common/text.h"
#include "simulators/notification_server/calibration_parts.h"

#include <zlib.h>

#include <algorithm>

namespace greengate::sim::notify {
namespace {

constexpr std::size_t search_bytes = 4096;

/// Where the root element that begins at `begin` ends; npos when it does not.
std::size_t end_of_root(std::string_view stream, std::size_t begin, bool utf16, std::string& xml) {
  const std::size_t unit = utf16 ? 2 : 1;
  std::string text;
  std::string name;
  for (std::size_t at = begin; at + unit <= stream.size(); at += unit) {
    text += stream[at];
    if (text.back() != '>') continue;
    if (name.empty()) {
      std::size_t stop = 1;
      while (stop < text.size() && text[stop] != ' ' && text[stop] != '>' && text[stop] != '/') ++stop;
      name = text.substr(1, stop - 1);
      if (!text.ends_with("/>")) continue;
    } else if (!text.ends_with("</" + name + ">")) {
      continue;
    }
    const std::size_t end = at + unit;
    if (utf16) {
      auto whole = utf8_from_utf16le(stream.substr(begin, end - begin));
      if (!whole) return std::string_view::npos;
      xml = std::move(*whole);
    } else {
      xml = std::move(text);
    }
    return end;
  }
  return std::string_view::npos;
}

std::optional<std::pair<std::string, std::size_t>> inflate_at(std::string_view stream) {
  z_stream z{};
  if (inflateInit(&z) != Z_OK) return std::nullopt;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stream.data()));
  z.avail_in = static_cast<uInt>(stream.size());
  std::string out;
  std::array<char, 4096> part;
  int state = Z_OK;
  while (state == Z_OK && out.size() <= stream_bytes_max) {
    z.next_out = reinterpret_cast<Bytef*>(part.data());
    z.avail_out = part.size();
    state = inflate(&z, Z_NO_FLUSH);
    out.append(part.data(), part.size() - z.avail_out);
  }
  const std::size_t used = stream.size() - z.avail_in;
  inflateEnd(&z);
  if (state != Z_STREAM_END) return std::nullopt;
  return std::pair{std::move(out), used};
}

}  // namespace

std::optional<Found> find_text(std::string_view stream, std::size_t from) {
  const std::string_view window = stream.substr(from, search_bytes);
  const std::size_t narrow = window.find("<Bgb");
  const std::size_t wide = window.find(std::string_view("<\0B\0g\0b\0", 8));
  if (narrow != std::string_view::npos || wide != std::string_view::npos) {
    Found found;
    found.utf16 = wide < narrow;
    found.begin = from + std::min(narrow, wide);
    found.end = end_of_root(stream, found.begin, found.utf16, found.xml);
    if (found.end == std::string_view::npos) return std::nullopt;
    return found;
  }
  for (std::size_t at = 0; at + 1 < window.size(); ++at) {
    const std::uint32_t second = byte_at(window, at + 1);
    if (window[at] != '\x78' || (second != 0x01 && second != 0x5e && second != 0x9c && second != 0xda)) continue;
    const auto inflated = inflate_at(stream.substr(from + at));
    if (!inflated) continue;
    std::string_view text = inflated->first;
    Found found;
    found.zlib = true;
    found.begin = from + at;
    found.end = found.begin + inflated->second;
    if (text.starts_with("\xff\xfe") || text.starts_with("\xef\xbb\xbf")) {
      found.bom_inside = true;
      text.remove_prefix(text.starts_with("\xff\xfe") ? 2 : 3);
    }
    found.utf16 = text.starts_with(std::string_view("<\0", 2));
    const std::size_t end = end_of_root(text, 0, found.utf16, found.xml);
    if (end == std::string_view::npos || !found.xml.starts_with("<Bgb")) continue;
    found.nul_inside = text.size() == end + (found.utf16 ? 2 : 1) && text.substr(end).find_first_not_of('\0') == std::string_view::npos;
    if (text.size() != end && !found.nul_inside) continue;
    return found;
  }
  return std::nullopt;
}

bool is_xml_header(const Found& found) {
  return found.xml.starts_with("<BgbMessageHeader");
}

std::vector<Reading> readings_of(std::string_view stream, const std::vector<std::pair<std::optional<Found>, Found>>& frames) {
  std::vector<Reading> all;
  const Found& first = frames.front().second;
  const std::size_t unit = first.utf16 ? 2 : 1;
  const std::string_view mark = first.utf16 ? std::string_view("\xff\xfe", 2) : "\xef\xbb\xbf";
  for (const bool bom : {false, true}) {
    for (const bool nul : {false, true}) {
      Reading reading{.bom = bom, .nul = nul, .pieces = {}};
      if (first.zlib && (bom != first.bom_inside || nul != first.nul_inside)) continue;
      const std::size_t before = first.zlib || !bom ? 0 : mark.size(), after = first.zlib || !nul ? 0 : unit;
      std::size_t at = 0;
      bool fits = true;
      for (const auto& [header, body] : frames) {
        Piece piece{.begin = at, .payload = body.begin - before, .end = body.end + after, .xml_header = 0};
        if (body.begin < at + before || piece.end > stream.size() || body.utf16 != first.utf16 || body.zlib != first.zlib) fits = false;
        if (fits && before > 0 && stream.substr(piece.payload, before) != mark) fits = false;
        if (fits && after > 0 && stream.substr(body.end, after).find_first_not_of('\0') != std::string_view::npos) fits = false;
        if (!fits) break;
        if (header) {
          const std::size_t header_mark = bom ? mark.size() : 0;  // the header is text of the same kind, never compressed
          if (header->begin < at + header_mark) fits = false;
          piece.xml_header = piece.payload - (header->begin - header_mark);
        }
        reading.pieces.push_back(piece);
        at = piece.end;
      }
      if (fits && at == stream.size()) all.push_back(std::move(reading));
    }
  }
  return all;
}

}  // namespace greengate::sim::notify
