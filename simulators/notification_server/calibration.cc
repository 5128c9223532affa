#include "simulators/notification_server/calibration.h"

#include "simulators/common/text.h"
#include "simulators/notification_server/calibration_parts.h"

#include <algorithm>
#include <map>
#include <set>

namespace greengate::sim::notify {
namespace {

constexpr std::size_t frames_max = 16;  // a client that pings often may have said more than two things
constexpr std::size_t frames_kept = 2;
constexpr std::size_t values_shown = 8;
enum Field : std::size_t { payload_size, major_version, minor_version, header_size, channel };

struct Row {
  const char* name;
  std::array<std::uint8_t, 5> widths;
};
constexpr std::array<Row, 5> rows{{{"A", {4, 1, 1, 2, 4}},
                                   {"B", {4, 4, 4, 4, 4}},
                                   {"C", {4, 2, 2, 4, 4}},
                                   {"A8", {4, 1, 1, 2, 1}},
                                   {"A16", {4, 1, 1, 2, 2}}}};

std::uint32_t take(std::string_view stream, std::size_t at, std::uint8_t width, bool big) {
  std::uint32_t value = 0;
  for (std::uint8_t i = 0; i < width; ++i)
    value = value << 8 | byte_at(stream, at + static_cast<std::size_t>(big ? i : width - 1 - i));
  return value;
}

std::array<std::uint32_t, 5> fields_of(std::string_view stream, std::size_t at, const Explanation& form) {
  std::array<std::uint32_t, 5> values{};
  for (const std::uint8_t field : form.order) {
    values[field] = take(stream, at, form.widths[field], form.big_endian);
    at += form.widths[field];
  }
  return values;
}

/// Whether the form explains every piece; fills in what the bytes say.
bool explains(std::string_view stream, const Reading& reading, Explanation& form) {
  std::vector<std::array<std::uint32_t, 5>> seen;
  std::size_t fixed = 0;
  for (const auto width : form.widths) fixed += width;
  for (const Piece& piece : reading.pieces) {
    if (piece.payload - piece.xml_header - piece.begin != fixed) return false;
    const auto values = fields_of(stream, piece.begin, form);
    const std::size_t payload = piece.end - piece.payload;
    const std::size_t counted = form.payload_size_is_frame ? piece.end - piece.begin : payload;
    if (values[payload_size] != counted) return false;
    if (form.widths[header_size] > 0 && values[header_size] != (form.header_size_is_xml ? piece.xml_header : fixed)) return false;
    if (values[major_version] > 255 || values[minor_version] > 255) return false;
    seen.push_back(values);
  }
  const auto& first = seen.front();
  for (const auto& other : seen)
    if (other[major_version] != first[major_version] || other[minor_version] != first[minor_version]) return false;
  form.major = first[major_version];
  form.minor = first[minor_version];
  form.sign_in_channel = first[channel];
  form.xml_header_bytes = reading.pieces.front().xml_header;
  if (seen.size() > 1) {
    form.keep_alive_channel = seen[1][channel];
    form.channel_is_constant = first[channel] == seen[1][channel];
    // The type changes by a small step (8.3): two declarations apart, whatever the first one's number.
    if (!form.channel_is_constant && (seen[1][channel] < first[channel] || seen[1][channel] - first[channel] > 15)) return false;
  } else {
    form.channel_is_constant = first[channel] > 1;  // no counting begins there
  }
  return true;
}

/// Lower is better: a row, the documented order, all five fields, none out of its natural place.
int demerits(const Explanation& form) {
  int sum = form.row.empty() ? 100 : 0;
  std::size_t at = 0;
  for (std::size_t place = 0; place < form.order.size(); ++place) {
    const std::uint8_t field = form.order[place], width = form.widths[field];
    if (field != place) sum += 1000;
    if (width == 0) sum += 20;
    if (width > 0 && at % width != 0) sum += 5;
    at += width;
  }
  if (form.widths[payload_size] != 4) sum += 3;
  return sum;
}

std::string widths_text(const Explanation& form) {
  std::string text;
  for (const std::uint8_t field : form.order)
    text += (text.empty() ? "" : " ") + std::string(field_names[field]) + ":" + std::to_string(form.widths[field]);
  return text;
}

std::map<std::string, std::string> values_of(const Explanation& form) {
  return {{"frame.widths", widths_text(form)},
          {"frame.byte_order", form.big_endian ? "big" : "little"},
          {"frame.header_size_means", form.header_size_is_xml ? "xml_header" : "fixed_part"},
          {"frame.payload_size_means", form.payload_size_is_frame ? "frame" : "payload"},
          {"frame.channel_means", form.channel_is_constant ? "constant" : "message_type"},
          {"frame.versions", std::to_string(form.major) + "." + std::to_string(form.minor)},
          {"text.bom", form.bom ? "true" : "false"},
          {"text.nul", form.nul ? "true" : "false"}};
}

/// The keys on which explanations differ, each with the values they give.
std::vector<std::string> differences(const std::vector<Explanation>& some) {
  std::map<std::string, std::set<std::string>> values;
  for (const Explanation& one : some)
    for (const auto& [key, value] : values_of(one)) values[key].insert(value);
  std::vector<std::string> lines;
  for (const auto& [key, given] : values) {
    if (given.size() < 2) continue;
    std::string line = key + " could be ";
    std::size_t shown = 0;
    for (const std::string& value : given) {
      if (shown == values_shown) break;
      line += (shown++ == 0 ? "" : " | ") + value;
    }
    if (given.size() > shown) line += " | and " + std::to_string(given.size() - shown) + " more";
    lines.push_back(std::move(line));
  }
  return lines;
}

void try_forms(std::string_view stream, const Reading& reading, const std::array<std::uint8_t, 5>& order, std::vector<Explanation>& found) {
  static constexpr std::array<std::uint8_t, 4> widths{0, 1, 2, 4};
  const Piece& first = reading.pieces.front();
  const std::size_t fixed = first.payload - first.xml_header - first.begin;
  for (unsigned code = 0; code < 1024; ++code) {
    Explanation form;
    form.order = order;
    std::size_t sum = 0;
    for (unsigned i = 0; i < 5; ++i) sum += form.widths[i] = widths[code >> (2 * i) & 3];
    if (sum != fixed || form.widths[payload_size] == 0) continue;
    form.bom = reading.bom;
    form.nul = reading.nul;
    const bool one_byte_each = *std::ranges::max_element(form.widths) == 1;
    for (const Row& row : rows)
      if (row.widths == form.widths && std::ranges::is_sorted(order)) form.row = row.name;
    for (unsigned choice = 0; choice < 8; ++choice) {
      form.big_endian = (choice & 1) != 0;
      form.header_size_is_xml = (choice & 2) != 0;
      form.payload_size_is_frame = (choice & 4) != 0;
      if (form.big_endian && one_byte_each) continue;
      if (form.header_size_is_xml && form.widths[header_size] == 0) continue;
      if (!form.header_size_is_xml && first.xml_header > 0) continue;
      Explanation one = form;
      if (explains(stream, reading, one)) found.push_back(std::move(one));
    }
  }
}

}  // namespace

Result<std::string> read_capture(std::string_view file) {
  const bool text = !file.empty() && std::ranges::all_of(file, [](unsigned char c) {
    return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\r' || c == '\t';
  });
  if (!text) return std::string(file);
  std::string digits;
  while (!file.empty()) {
    const std::size_t end = std::min(file.find('\n'), file.size());
    std::string_view line = file.substr(0, end);
    file.remove_prefix(std::min(end + 1, file.size()));
    line = line.substr(0, line.find('#'));
    for (const char c : line)
      if (c != ' ' && c != '\t' && c != '\r') digits += c;
  }
  auto bytes = from_hex(digits);
  if (!bytes) return fail(Remedy::reject, "calibrate.capture", "The capture is neither hexadecimal text nor the bytes of frames.");
  return std::move(*bytes);
}

Result<Calibration> calibrate(std::string_view stream, std::string_view name) {
  if (stream.size() > stream_bytes_max)
    return fail(Remedy::reject, "calibrate.no_text", "The capture is larger than 1 MiB; a SignIn and a KeepAlive are not.");
  std::vector<std::pair<std::optional<Found>, Found>> frames;
  std::size_t at = 0;
  while (frames.size() < frames_max && at < stream.size()) {
    auto found = find_text(stream, at);
    std::optional<Found> header;
    if (found && is_xml_header(*found)) {
      header = found;
      found = find_text(stream, header->end);
    }
    if (!found) break;
    at = found->end;
    frames.emplace_back(std::move(header), std::move(*found));
  }
  if (frames.empty())
    return fail(Remedy::reject, "calibrate.no_text", "No message is to be seen in the first 4 KiB, neither plain nor compressed.");
  if (!frames.front().second.xml.starts_with("<BgbSignInMessage"))
    return fail(Remedy::reject, "calibrate.no_text", "The first message is no SignIn.");
  if (frames.size() > 1 && !frames[1].second.xml.starts_with("<BgbKeepAliveMessage"))
    return fail(Remedy::reject, "calibrate.no_text", "The second message is no KeepAlive.");

  std::vector<Explanation> all;
  const auto readings = readings_of(stream, frames);
  std::array<std::uint8_t, 5> order{0, 1, 2, 3, 4};
  for (const Reading& reading : readings) try_forms(stream, reading, order, all);
  // The documented order explains what is known; another one is looked for only when it does not.
  while (all.empty() && std::ranges::next_permutation(order).found)
    for (const Reading& reading : readings) try_forms(stream, reading, order, all);
  if (all.empty())
    return fail(Remedy::reject, "calibrate.no_layout",
                "A " + std::to_string(frames.size()) + "-frame capture that no layout of the profile language explains. The first bytes are " +
                    to_hex_upper(stream.substr(0, std::min<std::size_t>(frames.front().second.begin, 64))) + ".");
  for (Explanation& one : all) {
    one.utf16 = frames.front().second.utf16;
    one.zlib = frames.front().second.zlib;
  }
  std::ranges::stable_sort(all, {}, demerits);
  if (all.size() > 1 && demerits(all[0]) == demerits(all[1])) {
    std::string both;
    for (const auto& [key, value] : values_of(all[0]))
      if (const std::string other = values_of(all[1])[key]; other != value) both += " " + key + ": " + value + " or " + other + ";";
    return fail(Remedy::reject, "calibrate.ambiguous", "Two layouts explain the bytes equally well:" + both + " capture a KeepAlive as well.");
  }

  Calibration solved;
  solved.best = all.front();
  solved.also.assign(all.begin() + 1, all.end());
  for (std::size_t i = 0; i < std::min(frames.size(), frames_kept); ++i) solved.xml.push_back(frames[i].second.xml);
  // Every field is documented, so an explanation that leaves one out is only counted; one whose widths are nobody's hypothesis is
  // told, and believed only when no row explains the bytes.
  const auto whole = [](const Explanation& one) { return std::ranges::find(one.widths, 0) == one.widths.end(); };
  std::vector<Explanation> rivals, others;
  for (const Explanation& one : all) {
    const bool rival = &one == &all.front() || (solved.best.row.empty() ? whole(one) : !one.row.empty());
    if (rival) rivals.push_back(one);
    if (rival || whole(one)) others.push_back(one);
  }
  solved.open = differences(rivals);
  if (frames.size() == 1) solved.open.emplace_back("frame.channel_means could be constant | message_type");
  if (others.size() > rivals.size()) solved.unlikely = differences(others);
  solved.profile_json = profile_of(solved, name);
  solved.golden_json = golden_of(solved, name);
  return solved;
}

}  // namespace greengate::sim::notify
