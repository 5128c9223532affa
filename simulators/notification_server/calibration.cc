#include "simulators/notification_server/calibration.h"

#include "simulators/common/text.h"
#include "simulators/notification_server/frame.h"
#include "simulators/notification_server/message.h"

#include <boost/json.hpp>
#include <zlib.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <utility>

namespace greengate::sim::notify {
namespace {

namespace json = boost::json;

constexpr std::size_t search_bytes = 4096;
constexpr std::size_t stream_bytes_max = 1 << 20;
constexpr std::size_t frames_max = 16;  // a client that pings often may have said more than two things
constexpr std::size_t frames_kept = 2;
constexpr std::size_t values_shown = 8;
constexpr std::array<const char*, 5> field_names{"payload_size", "major_version", "minor_version", "header_size", "channel"};
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

/// A text found in the stream: from its '<' (or zlib head) to the end of its root element (or of the zlib stream).
struct Found {
  std::size_t begin = 0, end = 0;
  bool utf16 = false, zlib = false;
  bool bom_inside = false, nul_inside = false;  // of a zlib stream
  std::string xml;
};

std::uint32_t byte_at(std::string_view stream, std::size_t at) {
  return static_cast<unsigned char>(stream[at]);
}

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

// ---- what is written ----------------------------------------------------------------------------

json::object said(json::value value, const char* basis) {
  return {{"value", std::move(value)}, {"basis", basis}};
}

std::string member_of(const std::string& element) {
  static const std::map<std::string, std::string> known{{"clientid", "client_id"}, {"clienttype", "client_type"},
                                                        {"clientversion", "client_version"}};
  const auto found = known.find(to_lower(element));
  return found == known.end() ? "" : found->second;
}

json::value shape_of(const Document& document, json::array& strangers) {
  json::array members;
  for (std::size_t i = 1; i < document.elements.size(); ++i) {
    const Element& element = document.elements[i];
    const std::string member = element.depth == 2 ? member_of(element.name) : "";
    if (member.empty())
      strangers.emplace_back(document.elements.front().name + "/" + element.name);
    else
      members.push_back(json::array{json::string(member), json::string(element.name)});
  }
  return {{"root", document.elements.front().name}, {"members", std::move(members)}, {"basis", "captured"}};
}

json::value guessed_shape(const char* root, std::initializer_list<std::pair<const char*, const char*>> members, const char* basis) {
  json::array list;
  for (const auto& [member, element] : members) list.push_back(json::array{json::string(member), json::string(element)});
  return {{"root", root}, {"members", std::move(list)}, {"basis", basis}};
}

std::string indented(const json::object& file) {
  // A section a line group, a value a line: as a person would write it.
  std::string out = "{\n";
  std::size_t left = file.size();
  for (const auto& [key, value] : file) {
    --left;
    const json::object* section = value.if_object();
    if (section == nullptr) {
      out += "  " + json::serialize(json::string(key)) + ": " + json::serialize(value);
    } else {
      out += "  " + json::serialize(json::string(key)) + ": {\n";
      std::size_t inner = section->size();
      for (const auto& [name, entry] : *section)
        out += "    " + json::serialize(json::string(name)) + ": " + json::serialize(entry) + (--inner > 0 ? ",\n" : "\n");
      out += "  }";
    }
    out += left > 0 ? ",\n" : "\n";
  }
  return out + "}\n";
}

std::string profile_of(const Calibration& solved, std::string_view name) {
  const Explanation& form = solved.best;
  const bool both = form.keep_alive_channel.has_value();
  const auto basis = [&](const char* key) {
    for (const std::string& open : solved.open)
      if (open.starts_with(std::string(key) + " ")) return "guessed";
    return "captured";
  };
  json::array order;
  json::object widths;
  for (const std::uint8_t field : form.order) order.emplace_back(field_names[field]);
  for (std::size_t field = 0; field < 5; ++field) widths[field_names[field]] = form.widths[field];
  static constexpr std::array<const char*, 7> kinds{"sign_in", "sign_in_confirm", "keep_alive",        "request",
                                                    "response", "disconnect",     "negotiation_needed"};
  // Only two numbers are ever seen of a client; the others are counted on from them.
  json::object numbers;
  const std::uint32_t base = form.channel_is_constant ? 0 : form.sign_in_channel;
  for (std::uint32_t i = 0; i < kinds.size(); ++i) numbers[kinds[i]] = base + i;
  if (both && !form.channel_is_constant) numbers["keep_alive"] = *form.keep_alive_channel;
  numbers["none"] = base > 0 ? base - 1 : 7;
  json::object type_numbers = said(std::move(numbers), "guessed");
  type_numbers["seen"] = both ? json::array{"sign_in", "keep_alive"} : json::array{"sign_in"};

  json::object frame{{"order", said(std::move(order), basis("frame.widths"))},
                     {"widths", said(std::move(widths), basis("frame.widths"))},
                     {"byte_order", said(form.big_endian ? "big" : "little", basis("frame.byte_order"))},
                     {"header_size_means", said(form.header_size_is_xml ? "xml_header" : "fixed_part", basis("frame.header_size_means"))},
                     {"payload_size_means", said(form.payload_size_is_frame ? "frame" : "payload", basis("frame.payload_size_means"))},
                     {"channel_means", said(form.channel_is_constant ? "constant" : "message_type", basis("frame.channel_means"))},
                     {"type_numbers", std::move(type_numbers)},
                     {"versions", said(json::array{json::array{form.major, form.minor}}, basis("frame.versions"))}};
  if (form.channel_is_constant) frame["channel_constant"] = said(form.sign_in_channel, basis("frame.channel_means"));

  json::array strangers;
  std::string client_type = "SCCM", timestamp = "TimeStamp";
  bool type_seen = false, time_seen = false;
  json::object messages;
  for (const std::string& xml : solved.xml) {
    const Document document = parse_xml(xml);
    if (!document.findings.empty()) continue;
    const bool sign_in = xml.starts_with("<BgbSignInMessage");
    messages[sign_in ? "sign_in" : "keep_alive"] = shape_of(document, strangers);
    for (const Element& element : document.elements)
      if (member_of(element.name) == "client_type" && !element.text.empty()) {
        client_type = element.text;
        type_seen = true;
      }
    if (!document.elements.front().attributes.empty()) {
      timestamp = document.elements.front().attributes.front().first;
      time_seen = true;
    }
  }
  if (!messages.contains("sign_in"))
    messages["sign_in"] = guessed_shape(
        "BgbSignInMessage", {{"client_type", "ClientType"}, {"client_version", "ClientVersion"}, {"client_id", "ClientID"}}, "guessed");
  if (!messages.contains("keep_alive"))
    messages["keep_alive"] =
        guessed_shape("BgbKeepAliveMessage", {{"client_type", "ClientType"}, {"client_id", "ClientID"}}, "guessed");
  messages["sign_in_confirm"] = guessed_shape("BgbSignInConfirmMessage", {{"message_version", "MessageVersion"}}, "guessed");
  messages["request"] = guessed_shape("BgbRequestMessage",
                                      {{"push_id", "PushID"},
                                       {"task_id", "TaskID"},
                                       {"task_guid", "TaskGUID"},
                                       {"task_type", "TaskType"},
                                       {"task_param", "TaskParam"}},
                                      "guessed");
  messages["response"] = guessed_shape(
      "BgbResponseMessage", {{"push_id", "PushID"}, {"task_id", "TaskID"}, {"return_code", "ReturnCode"}}, "documented");

  std::string note = "Solved from a captured SignIn";
  note += both ? " and KeepAlive." : " alone: capture a KeepAlive too.";
  if (!solved.open.empty()) note += " What the bytes leave open is guessed.";
  json::object file{{"format", 1},
                    {"name", name},
                    {"note", note},
                    {"frame", std::move(frame)},
                    {"limits", json::object{{"header_bytes_max", 4096}, {"payload_bytes_max", 1048576}}},
                    {"text", json::object{{"encoding", said(form.utf16 ? "utf-16le" : "utf-8", "captured")},
                                          {"bom", said(form.bom, basis("text.bom"))},
                                          {"nul", said(form.nul, basis("text.nul"))},
                                          {"compression", said(form.zlib ? "zlib" : "none", "captured")},
                                          {"timestamp_name", said(json::string(timestamp), time_seen ? "captured" : "documented")},
                                          {"client_type", said(json::string(client_type), type_seen ? "captured" : "documented")}}},
                    {"messages", std::move(messages)},
                    {"codes", json::object{{"success", said(1, "documented")}, {"failure", said(0, "guessed")}}}};
  if (!strangers.empty()) file["unknown_members"] = json::array(std::move(strangers));
  return indented(file);
}

std::string with_golden_sms_id(std::string xml) {
  for (std::size_t at = 0; (at = xml.find("GUID:", at)) != std::string::npos; at += 5)
    if (at + golden_sms_id.size() <= xml.size() && is_guid(std::string_view(xml).substr(at + 5, 36), false))
      xml.replace(at, golden_sms_id.size(), golden_sms_id);
  return xml;
}

std::string golden_of(const Calibration& solved, std::string_view name) {
  json::object frames;
  for (const std::string& xml : solved.xml) {
    const bool sign_in = xml.starts_with("<BgbSignInMessage");
    const Explanation& form = solved.best;
    const std::uint32_t number = sign_in ? form.sign_in_channel : form.keep_alive_channel.value_or(form.sign_in_channel);
    frames[sign_in ? "sign_in" : "keep_alive"] = to_hex_upper(frame_like(form, number, with_golden_sms_id(xml)));
  }
  return indented({{"profile", name}, {"sms_id", golden_sms_id}, {"frames", std::move(frames)}});
}

}  // namespace

std::string frame_like(const Explanation& form, std::uint32_t number, std::string_view xml) {
  FrameRules text;
  text.utf16 = form.utf16;
  text.bom = form.bom;
  text.nul = form.nul;
  text.zlib = form.zlib;
  const std::string payload = xml.empty() ? "" : write_text(text, xml);
  std::size_t fixed = 0;
  for (const auto width : form.widths) fixed += width;
  const std::array<std::uint32_t, 5> values{static_cast<std::uint32_t>(payload.size() + (form.payload_size_is_frame ? fixed : 0)), form.major,
                                            form.minor, form.header_size_is_xml ? 0 : static_cast<std::uint32_t>(fixed),
                                            form.channel_is_constant ? form.sign_in_channel : number};
  std::string frame;
  for (const std::uint8_t field : form.order)
    for (std::uint8_t i = 0; i < form.widths[field]; ++i) {
      const unsigned shift = 8U * (form.big_endian ? form.widths[field] - 1U - i : i);
      frame += static_cast<char>(values[field] >> shift & 0xff);
    }
  return frame + payload;
}

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
