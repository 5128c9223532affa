#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/message_schema.h"
#include "adapters/bgb/profile.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace greengate::test {
namespace {

using namespace adapters::bgb;
using Status = Decoded::Status;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string sample(const std::string& name) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/bgb/" + name,
                     std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string attribute(const std::string& element, const std::string& name) {
  const auto at = element.find(" " + name + "=\"");
  EXPECT_NE(at, std::string::npos) << name;
  const auto begin = at + name.size() + 3;
  return element.substr(begin, element.find('"', begin) - begin);
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

Profile profile(const char* name) {
  auto made = built_in_profile(name);
  EXPECT_TRUE(made) << name;
  return *made;
}

Frame frame_of(const std::string& xml) {
  Frame frame;
  frame.xml_utf8 = xml;
  return frame;
}

struct Vector {
  std::string profile, message, bytes;
};

std::vector<Vector> vectors() {
  const std::string file = sample("frames.xml");
  std::vector<Vector> found;
  for (std::size_t at = file.find("<frame "); at != std::string::npos;
       at = file.find("<frame ", at + 1)) {
    const auto open_end = file.find('>', at);
    const std::string tag = file.substr(at, open_end - at);
    found.push_back(
        {attribute(tag, "profile"), attribute(tag, "message"),
         from_hex(file.substr(open_end + 1, file.find("</frame>", open_end) - open_end - 1))});
  }
  return found;
}

TEST(BgbFrameCodec, ReadsAndWritesEveryPublishedVectorByteForByte) {
  ASSERT_EQ(vectors().size(), 9u);
  for (const auto& vector : vectors()) {
    SCOPED_TRACE(vector.profile + " " + vector.message);
    const FrameCodec codec(profile(vector.profile.c_str()));
    const Kind kind = vector.message == "response"     ? Kind::response
                      : vector.message == "disconnect" ? Kind::disconnect
                                                       : Kind::negotiation_needed;
    const std::string xml = kind == Kind::response ? sample("06-response-success.xml") : "";

    std::string scratch;
    const auto decoded = codec.decode(bytes_of(vector.bytes), scratch);
    ASSERT_EQ(decoded.status, Status::ok) << decoded.why;
    EXPECT_EQ(decoded.bytes, vector.bytes.size());
    EXPECT_EQ(decoded.frame.kind_hint, kind);
    EXPECT_EQ(decoded.frame.version, (VersionPair{1, 0}));
    EXPECT_EQ(decoded.frame.xml_utf8, xml);

    std::string written;
    ASSERT_TRUE(codec.encode(kind, {1, 0}, xml, written));
    EXPECT_EQ(written, vector.bytes);
  }
}

TEST(BgbFrameCodec, WritesTheNarrowChannelLayouts) {
  for (const auto& [name, head] : {std::pair{"A8",
                                             "00000000010009000"
                                             "5"},
                                   std::pair{"A16", "0000000001000a000500"}}) {
    const FrameCodec codec(profile(name));
    std::string written, scratch;
    ASSERT_TRUE(codec.encode(Kind::disconnect, {1, 0}, "", written));
    EXPECT_EQ(written, from_hex(head)) << name;
    EXPECT_EQ(codec.decode(bytes_of(written), scratch).frame.kind_hint, Kind::disconnect);
  }
}

// Every switch a profile has, in every layout: what the codec writes it reads back.
std::vector<Profile> all_profiles() {
  std::vector<Profile> all;
  for (const char* name : {"A", "B", "C", "A8", "A16"}) {
    for (unsigned bits = 0; bits < 256; ++bits) {
      Profile p = profile(name);
      p.name += " " + std::to_string(bits);
      p.little_endian = (bits & 1) == 0;
      p.header_size_means =
          bits & 2 ? Profile::HeaderSizeMeans::xml_header : Profile::HeaderSizeMeans::fixed_part;
      p.payload_size_means =
          bits & 4 ? Profile::PayloadSizeMeans::frame : Profile::PayloadSizeMeans::payload;
      p.channel_means =
          bits & 8 ? Profile::ChannelMeans::constant : Profile::ChannelMeans::message_type;
      p.encoding = bits & 16 ? Profile::Encoding::utf8 : Profile::Encoding::utf16le;
      p.write_bom = (bits & 32) != 0;
      p.write_nul = (bits & 64) != 0;
      p.compress_zlib = (bits & 128) != 0;
      if (bits & 1) p.type_numbers = {1, 2, 3, 4, 5, 6, 7, 0};
      if (bits & 2) std::reverse(p.order.begin(), p.order.end());
      all.push_back(p);
    }
  }
  return all;
}

std::string random_text(std::mt19937_64& random, std::size_t length) {
  static const std::vector<std::string> pieces{"a",
                                               "Z",
                                               "0",
                                               " ",
                                               "<",
                                               ">",
                                               "&",
                                               "\"",
                                               "'",
                                               "\xC3\xA9",
                                               "\xE2\x82\xAC",
                                               "\xF0\x9F\x98\x80",
                                               "\t",
                                               "]]>"};
  std::string text;
  while (text.size() < length) text += pieces[random() % pieces.size()];
  return text;
}

Message random_message(std::mt19937_64& random) {
  Message m;
  constexpr Kind kinds[] = {Kind::sign_in, Kind::sign_in_confirm, Kind::keep_alive, Kind::request,
                            Kind::response};
  m.kind = kinds[random() % 5];
  m.unix_seconds = static_cast<std::int64_t>(random() % 4'000'000'000u) + 1;
  m.client_id = random_text(random, random() % 60);
  m.client_type = random_text(random, random() % 10);
  m.client_version = random_text(random, random() % 20);
  m.message_version = random_text(random, random() % 10);
  m.push_id = random();
  m.task_id = random() % 1'000;
  m.task_type = static_cast<std::uint32_t>(random());
  m.return_code = static_cast<std::int64_t>(random() % 200) - 100;
  m.task_guid = random_text(random, random() % 40);
  m.task_param = random_text(random, random() % 3'000);
  return m;
}

TEST(BgbCodec, ReadsBackWhateverItWritesUnderEveryProfile) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (const auto& p : all_profiles()) {
    SCOPED_TRACE(p.name);
    const FrameCodec codec(p);
    const MessageSchema schema(p);
    const Message m = random_message(random);
    std::string xml, wire, scratch;
    ASSERT_TRUE(schema.write(m, xml));
    ASSERT_TRUE(codec.encode(m.kind, {1, 0}, xml, wire));
    const auto decoded = codec.decode(bytes_of(wire), scratch);
    ASSERT_EQ(decoded.status, Status::ok) << decoded.why;
    EXPECT_EQ(decoded.bytes, wire.size());
    EXPECT_EQ(decoded.frame.xml_utf8, xml);
    const auto parsed = schema.parse(decoded.frame);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_FALSE(parsed->kind_mismatch);
    const Message& r = parsed->message;
    EXPECT_EQ(r.kind, m.kind);
    EXPECT_EQ(r.unix_seconds, m.unix_seconds);
    const auto& members = p.shapes[static_cast<std::size_t>(m.kind)].members;
    for (const auto& [member, name] : members) {
      EXPECT_TRUE(r.present.has(member)) << name;
      switch (member) {
        case Member::client_id:
          EXPECT_EQ(r.client_id, m.client_id);
          break;
        case Member::client_type:
          EXPECT_EQ(r.client_type, m.client_type);
          break;
        case Member::client_version:
          EXPECT_EQ(r.client_version, m.client_version);
          break;
        case Member::message_version:
          EXPECT_EQ(r.message_version, m.message_version);
          break;
        case Member::push_id:
          EXPECT_EQ(r.push_id, m.push_id);
          break;
        case Member::task_id:
          EXPECT_EQ(r.task_id, m.task_id);
          break;
        case Member::task_guid:
          EXPECT_EQ(r.task_guid, m.task_guid);
          break;
        case Member::task_type:
          EXPECT_EQ(r.task_type, m.task_type);
          break;
        case Member::task_param:
          EXPECT_EQ(r.task_param, m.task_param);
          break;
        case Member::return_code:
          EXPECT_EQ(r.return_code, m.return_code);
          break;
      }
    }
  }
}

TEST(BgbFrameCodec, AsksForMoreAtEverySplitAndThenReadsTheSame) {
  for (const char* name : {"A", "B", "C", "A8", "A16"}) {
    const FrameCodec codec(profile(name));
    std::string wire, scratch;
    ASSERT_TRUE(codec.encode(Kind::request, {1, 0}, sample("04-request-machine-policy.xml"), wire));
    for (std::size_t cut = 0; cut < wire.size(); ++cut) {
      const auto part = codec.decode(bytes_of(wire).first(cut), scratch);
      ASSERT_EQ(part.status, Status::need_more) << name << " at " << cut;
      ASSERT_GT(part.bytes, cut);
      ASSERT_LE(part.bytes, wire.size());
      ASSERT_EQ(scratch.capacity(), std::string().capacity()) << "need_more must not allocate";
    }
    const auto whole = codec.decode(bytes_of(wire + "next"), scratch);
    EXPECT_EQ(whole.status, Status::ok);
    EXPECT_EQ(whole.bytes, wire.size());
  }
}

TEST(BgbFrameCodec, RefusesBadHeadersWithTheirCodesBeforeThePayloadIsThere) {
  const FrameCodec codec(profile("A"));
  std::string scratch;
  const auto code = [&](const char* hex) {
    const auto decoded = codec.decode(bytes_of(from_hex(hex)), scratch);
    return decoded.status == Status::bad ? std::string(decoded.code) : "not bad";
  };
  EXPECT_EQ(code("0100100001000c0003000000"), "bgb.frame_oversize");  // payload 1 MiB + 1
  EXPECT_EQ(code("ffffffff01000c0003000000"), "bgb.frame_oversize");
  EXPECT_EQ(code("00000000010001100300"
                 "0000"),
            "bgb.frame_oversize");                                  // header 4097
  EXPECT_EQ(code("0000000001000b0003000000"), "bgb.frame_header");  // header smaller than itself
  EXPECT_EQ(codec.decode(bytes_of(from_hex("0000100001000c0003000000")), scratch).status,
            Status::need_more);

  Profile wide = profile("B");
  const FrameCodec b(wide);
  const auto garbage = b.decode(bytes_of(from_hex("00000000000100000000000014000000"
                                                  "05000000")),
                                scratch);
  EXPECT_EQ(garbage.status, Status::bad);
  EXPECT_STREQ(garbage.code, "bgb.frame_header");  // major version 256

  Profile whole = profile("A");
  whole.payload_size_means = Profile::PayloadSizeMeans::frame;
  EXPECT_STREQ(
      FrameCodec(whole).decode(bytes_of(from_hex("0b00000001000c0003000000")), scratch).code,
      "bgb.frame_header");
}

TEST(BgbFrameCodec, SkipsTheRestOfALongerHeader) {
  const FrameCodec codec(profile("A"));
  std::string scratch;
  const auto decoded = codec.decode(bytes_of(from_hex("00000000010010000500"
                                                      "0000deadbeef")),
                                    scratch);
  ASSERT_EQ(decoded.status, Status::ok);
  EXPECT_EQ(decoded.bytes, 16u);
  EXPECT_EQ(decoded.frame.kind_hint, Kind::disconnect);
}

std::string raw_frame(const std::string& payload) {
  std::string wire = from_hex("0000000001000c0003000000");
  wire[0] = static_cast<char>(payload.size() & 0xFF);
  wire[1] = static_cast<char>(payload.size() >> 8);
  return wire + payload;
}

TEST(BgbFrameCodec, ReadsTextInEveryEncodingAPeerMayTake) {
  const FrameCodec codec(profile("A"));
  const std::string u8 = "<B>\xE2\x82\xAC</B>";
  const std::string le("<\0B\0>\0\xAC\x20<\0/\0B\0>\0", 16),
      be("\0<\0B\0>\x20\xAC\0<\0/\0B\0>", 16);
  const std::string forms[] = {u8, "\xEF\xBB\xBF" + u8, u8 + std::string(1, '\0'),
                               le, "\xFF\xFE" + le,     le + std::string(2, '\0'),
                               be, "\xFE\xFF" + be};
  std::string scratch;
  for (const auto& form : forms) {
    const std::string wire = raw_frame(form);
    const auto decoded = codec.decode(bytes_of(wire), scratch);
    ASSERT_EQ(decoded.status, Status::ok) << decoded.why;
    EXPECT_EQ(decoded.frame.xml_utf8, u8);
  }
}

TEST(BgbFrameCodec, RefusesTextThatIsNone) {
  const FrameCodec codec(profile("A"));
  const std::string bad_forms[] = {
      std::string("<\0B\0>", 5),         // half a character
      std::string("<\0\x00\xD8<\0", 6),  // a high surrogate alone
      std::string("<\0\x00\xDC<\0", 6),  // a low one
      "<B\xC0\x80>",
      "<B\xFF>",
      "<B\xED\xA0\x80>",
      "<B\xF4\x90\x80\x80>",
      "<B\xE2\x82",
      std::string("<B\0>", 4),  // a NUL inside
  };
  std::string scratch;
  for (const auto& form : bad_forms) {
    const std::string wire = raw_frame(form);
    const auto decoded = codec.decode(bytes_of(wire), scratch);
    EXPECT_EQ(decoded.status, Status::bad);
    EXPECT_STREQ(decoded.code, "bgb.frame_text");
  }
}

TEST(BgbFrameCodec, InflatesWithinItsBoundOnly) {
  Profile packed = profile("A");
  packed.compress_zlib = true;
  packed.payload_bytes_max = 1024;
  Profile roomy = packed;
  roomy.payload_bytes_max = 1024 * 1024;
  std::string wire, scratch;
  ASSERT_TRUE(FrameCodec(roomy).encode(Kind::request, {1, 0},
                                       "<B>" + std::string(20'000, 'x') + "</B>", wire));
  ASSERT_LT(wire.size(), 1024u);
  const auto bomb = FrameCodec(packed).decode(bytes_of(wire), scratch);
  EXPECT_EQ(bomb.status, Status::bad);
  EXPECT_STREQ(bomb.code, "bgb.frame_oversize");
  EXPECT_EQ(FrameCodec(roomy).decode(bytes_of(wire), scratch).status, Status::ok);

  wire[wire.size() - 3] = static_cast<char>(wire[wire.size() - 3] ^ 0x55);  // the checksum
  const auto damaged = FrameCodec(roomy).decode(bytes_of(wire), scratch);
  EXPECT_EQ(damaged.status, Status::bad);
  EXPECT_STREQ(damaged.code, "bgb.frame_compression");
}

TEST(BgbFrameCodec, SurvivesAnyBytesAtAll) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const FrameCodec codec(profile("A"));
  const MessageSchema schema(profile("A"));
  std::string wire, scratch;
  ASSERT_TRUE(codec.encode(Kind::request, {1, 0}, sample("05-request-run-script.xml"), wire));
  std::size_t refused = 0;
  for (int i = 0; i < 5'000; ++i) {
    std::string mutant = wire;
    for (int flips = 1 + static_cast<int>(random() % 4); flips > 0; --flips)
      mutant[random() % mutant.size()] = static_cast<char>(random());
    const auto decoded = codec.decode(bytes_of(mutant), scratch);
    if (decoded.status != Status::ok) {
      ++refused;
      continue;
    }
    EXPECT_LE(decoded.bytes, mutant.size());
    if (!schema.parse(decoded.frame)) ++refused;
  }
  EXPECT_GT(refused, 0u);
}

TEST(BgbFrameCodec, SaysWhyAMessageCannotBeSent) {
  Profile narrow = profile("A8");
  narrow.type_numbers[static_cast<std::size_t>(Kind::response)] = 300;
  std::string out;
  auto wide = FrameCodec(narrow).encode(Kind::response, {1, 0}, "<B/>", out);
  ASSERT_FALSE(wide);
  EXPECT_STREQ(wide.error().code, "bgb.frame_header");
  auto big =
      FrameCodec(profile("A")).encode(Kind::response, {1, 0}, std::string(600'000, 'x'), out);
  ASSERT_FALSE(big);
  EXPECT_STREQ(big.error().code, "bgb.frame_oversize");
  auto broken = FrameCodec(profile("A")).encode(Kind::response, {1, 0}, "<\xFF>", out);
  ASSERT_FALSE(broken);
  EXPECT_STREQ(broken.error().code, "bgb.frame_text");
  EXPECT_TRUE(out.empty());
}

// --- messages ---------------------------------------------------------------------------------

TEST(BgbMessageSchema, WritesTheSamplesByteForByte) {
  const MessageSchema schema(profile("A"));
  Message m;
  m.client_id = "GUID:5B1D0A2E-6C44-4F0B-9E37-1A2B3C4D5E6F";
  m.client_type = "SCCM";
  m.client_version = "5.00.9141.1000";
  const auto written = [&](Kind kind, const char* when) {
    m.kind = kind;
    m.unix_seconds = parse_timestamp(when);
    std::string xml;
    EXPECT_TRUE(schema.write(m, xml));
    return xml;
  };
  EXPECT_EQ(written(Kind::sign_in, "2026-01-15T09:30:00Z"), sample("01-signin.xml"));
  EXPECT_EQ(written(Kind::keep_alive, "2026-01-15T09:45:00Z"), sample("03-keepalive.xml"));
  m.push_id = m.task_id = 13;
  m.return_code = 1;
  EXPECT_EQ(written(Kind::response, "2026-01-15T10:00:01Z"), sample("06-response-success.xml"));
  m.push_id = 14;
  m.task_id = 15;
  m.return_code = 0;
  EXPECT_EQ(written(Kind::response, "2026-01-15T10:05:01Z"), sample("07-response-failure.xml"));
}

TEST(BgbMessageSchema, ReadsTheSamples) {
  const MessageSchema schema(profile("A"));
  const auto read = [&](const char* name) {
    const std::string xml = sample(name);
    auto parsed = schema.parse(frame_of(xml));
    EXPECT_TRUE(parsed) << name << ": " << (parsed ? "" : parsed.error().message);
    return parsed ? parsed->message : Message{};
  };
  const auto confirm = read("02-signin-confirm.xml");
  EXPECT_EQ(confirm.kind, Kind::sign_in_confirm);
  EXPECT_EQ(confirm.message_version, "1.0");
  const auto policy = read("04-request-machine-policy.xml");
  EXPECT_EQ(policy.kind, Kind::request);
  EXPECT_EQ(policy.push_id, 13u);
  EXPECT_EQ(policy.task_type, 1u);
  EXPECT_EQ(policy.task_guid, "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527");
  EXPECT_TRUE(policy.present.has(Member::task_param));
  const auto script = read("05-request-run-script.xml");
  EXPECT_EQ(script.task_type, 15u);
  EXPECT_EQ(script.task_param.size() % 4, 0u);
  EXPECT_TRUE(script.task_param.starts_with("PFNjcmlwdENvbnRlbnQg"));
  const auto extended = read("13-keepalive-extended.xml");
  EXPECT_EQ(extended.kind, Kind::keep_alive);
  EXPECT_EQ(extended.extra.size(), 6u);  // ClientVersion, four attributes, the element itself
  const auto unknown = read("14-request-unknown-type.xml");
  EXPECT_EQ(unknown.task_type, 999u);
  ASSERT_EQ(unknown.extra.size(), 2u);
  EXPECT_EQ(unknown.extra[1], (std::pair<std::string, std::string>("Future", "x")));
}

TEST(BgbMessageSchema, IsLiberalAboutOrderCaseAndTime) {
  const MessageSchema schema(profile("A"));
  const std::string xml =
      "<?xml version=\"1.0\" encoding=\"utf-16\"?>\r\n<BgbRequestMessage xmlns:xsi='urn:x' "
      "Timestamp='2026-01-15T12:00:00.123+02:00'>\n"
      " <TaskParam>a&amp;b&lt;&gt;&quot;&apos;</TaskParam><TaskType> 1 "
      "</TaskType><TaskGuid>G</TaskGuid>"
      "<TaskId>7</TaskId>\n<PushId>8</PushId><Deep><er>x</er></Deep><Empty "
      "a='1'/></BgbRequestMessage>\n";
  const auto parsed = schema.parse(frame_of(xml));
  ASSERT_TRUE(parsed) << parsed.error().message;
  const Message& m = parsed->message;
  EXPECT_EQ(m.unix_seconds, parse_timestamp("2026-01-15T10:00:00Z"));
  EXPECT_EQ(m.push_id, 8u);
  EXPECT_EQ(m.task_id, 7u);
  EXPECT_EQ(m.task_guid, "G");
  EXPECT_EQ(m.task_type, 1u);
  EXPECT_EQ(m.task_param, "a&b<>\"'");
}

TEST(BgbMessageSchema, TrustsTheRootAboveTheHeaderAndSaysSo) {
  const MessageSchema schema(profile("A"));
  const std::string xml = sample("04-request-machine-policy.xml");
  Frame frame = frame_of(xml);
  frame.kind_hint = Kind::disconnect;
  auto parsed = schema.parse(frame);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->message.kind, Kind::request);
  EXPECT_TRUE(parsed->kind_mismatch);

  frame.xml_utf8 = {};
  parsed = schema.parse(frame);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->message.kind, Kind::disconnect) << "without a payload the header decides";
}

TEST(BgbMessageSchema, RefusesHostileXmlWithItsCode) {
  const MessageSchema schema(profile("A"));
  const auto code = [&](const std::string& xml) {
    const auto parsed = schema.parse(frame_of(xml));
    return parsed ? std::string("read") : std::string(parsed.error().code);
  };
  const std::string forbidden[] = {
      "<!DOCTYPE x [<!ENTITY a \"b\">]><BgbRequestMessage/>",
      "<?xml version='1.0'?><!DOCTYPE x SYSTEM 'file:///etc/passwd'><x>&a;</x>",
      "<BgbRequestMessage><PushID>&a;</PushID></BgbRequestMessage>",
      "<BgbRequestMessage><PushID>&#49;</PushID></BgbRequestMessage>",
      "<BgbRequestMessage><PushID>&#x31;</PushID></BgbRequestMessage>",
      "<BgbRequestMessage a='&lol;'/>",
      "<BgbRequestMessage><![CDATA[x]]></BgbRequestMessage>",
      "<BgbRequestMessage><!-- x --></BgbRequestMessage>",
      "<BgbRequestMessage><?php x?></BgbRequestMessage>",
      "<?xml-stylesheet x?><BgbRequestMessage/>",
  };
  for (const auto& xml : forbidden) EXPECT_EQ(code(xml), "bgb.xml_forbidden") << xml;

  const std::string malformed[] = {
      " ",
      "x",
      "<",
      "<>",
      "<1/>",
      "<a",
      "<a ",
      "<a b",
      "<a b=",
      "<a b=c/>",
      "<a b='c",
      "<a b='<'/>",
      "<a b='1'c='2'/>",
      "<a/ >",
      "<a></b>",
      "<a></a",
      "<a>",
      "<a>x",
      "<a></a>x",
      "<a/><b/>",
      "<a><b></a></b>",
      "</a>",
      "<?xml version='1.0'",
      "<a>\x01</a>",
      "<BgbRequestMessage><PushID>1</PushID><PushID>2</PushID></BgbRequestMessage>",
  };
  for (const auto& xml : malformed) EXPECT_EQ(code(xml), "bgb.xml_malformed") << xml;

  const auto nested = [](int depth) {
    std::string open, close;
    for (int i = 0; i < depth; ++i) {
      open += "<a>";
      close += "</a>";
    }
    return open + close;
  };
  EXPECT_EQ(code(nested(8)), "read");
  EXPECT_EQ(code(nested(9)), "bgb.xml_limit");
  EXPECT_EQ(code(nested(100'000)), "bgb.xml_limit");
  const auto children = [](int n) {
    std::string xml = "<r>";
    for (int i = 0; i < n; ++i) xml += "<c/>";
    return xml + "</r>";
  };
  EXPECT_EQ(code(children(64)), "read");
  EXPECT_EQ(code(children(65)), "bgb.xml_limit");
  const auto value = [](std::size_t n) { return "<r><c>" + std::string(n, 'x') + "</c></r>"; };
  EXPECT_EQ(code(value(256 * 1024)), "read");
  EXPECT_EQ(code(value(256 * 1024 + 1)), "bgb.xml_limit");
  EXPECT_EQ(
      code("<r><c>" + std::string(200'000, 'x') + "<d/>" + std::string(200'000, 'x') + "</c></r>"),
      "bgb.xml_limit");
}

TEST(BgbMessageSchema, LeavesNumbersThatAreNoneAbsent) {
  const MessageSchema schema(profile("A"));
  const std::string xml =
      "<BgbRequestMessage><PushID>-1</PushID><TaskID>18446744073709551616</TaskID><TaskType>1x</"
      "TaskType></BgbRequestMessage>";
  const auto parsed = schema.parse(frame_of(xml));
  ASSERT_TRUE(parsed);
  for (const Member member : {Member::push_id, Member::task_id, Member::task_type})
    EXPECT_FALSE(parsed->message.present.has(member));
}

TEST(BgbMessageSchema, RefusesToWriteAControlCharacter) {
  Message m;
  m.kind = Kind::sign_in;
  m.client_id = "GUID:\x01";
  std::string xml;
  const auto written = MessageSchema(profile("A")).write(m, xml);
  ASSERT_FALSE(written);
  EXPECT_STREQ(written.error().code, "bgb.xml_malformed");
}

TEST(BgbTimestamp, IsZeroWhenItIsNoTime) {
  EXPECT_EQ(parse_timestamp("1970-01-02T00:00:01Z"), 86'401);
  EXPECT_EQ(parse_timestamp("1970-01-02T00:00:01"), 86'401);
  EXPECT_EQ(parse_timestamp("1970-01-02T00:00:01-01:00"), 86'401 + 3'600);
  for (const char* no : {"", "now", "1970-01-02 00:00:01Z", "1970-13-02T00:00:01Z",
                         "1970-02-30T00:00:01Z", "1970-01-02T24:00:01Z", "1970-01-02T00:00:01X",
                         "-970-01-02T00:00:01Z", "1970-01-02T00:00:01+1:00"})
    EXPECT_EQ(parse_timestamp(no), 0) << no;
}

// --- profiles ---------------------------------------------------------------------------------

TEST(BgbProfile, FilesInDeploySayWhatTheBuiltInRowsDo) {
  for (const char* name : {"A", "B", "C", "A8", "A16"}) {
    SCOPED_TRACE(name);
    const auto file =
        load_profile(std::string(GREENGATE_SOURCE_DIR) + "/deploy/bgb-profiles/" + name + ".json");
    ASSERT_TRUE(file) << file.error().message;
    const Profile row = profile(name);
    EXPECT_EQ(file->name, row.name);
    EXPECT_EQ(file->order, row.order);
    EXPECT_EQ(file->widths, row.widths);
    EXPECT_EQ(file->type_numbers, row.type_numbers);
    EXPECT_EQ(file->versions, row.versions);
    EXPECT_EQ(file->little_endian, row.little_endian);
    EXPECT_EQ(file->encoding, row.encoding);
    EXPECT_EQ(file->client_type, row.client_type);
    EXPECT_EQ(file->timestamp_name, row.timestamp_name);
    EXPECT_EQ(file->header_bytes_max, row.header_bytes_max);
    EXPECT_EQ(file->payload_bytes_max, row.payload_bytes_max);
    for (std::size_t i = 0; i < kind_count; ++i) {
      EXPECT_EQ(file->shapes[i].root, row.shapes[i].root);
      EXPECT_EQ(file->shapes[i].members, row.shapes[i].members);
    }
    std::set<std::string> in_file, in_row;
    for (const auto& [key, value] : file->guesses) in_file.insert(key);
    for (const auto& [key, value] : row.guesses) in_row.insert(key);
    EXPECT_EQ(in_file, in_row) << "every guess is listed in both";
  }
}

TEST(BgbProfile, SaysInASentenceWhatIsWrong) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/deploy/bgb-profiles/A.json");
  const std::string good{std::istreambuf_iterator<char>(file), {}};
  ASSERT_TRUE(parse_profile(good, "good"));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    return text;
  };
  const std::pair<std::string, std::string> cases[] = {
      {"{", "is not a JSON object"},
      {with("\"little\"", "\"middle\""), "frame.byte_order can be"},
      {with("\"payload_size\": 4", "\"payload_size\": 3"), "frame.widths can be"},
      {with("\"payload_size\": 4", "\"payload_size\": 0"), "width 0"},
      {with("\"payload_size\": 4, ", ""), "frame.widths needs"},
      {with("\"channel\"], \"basis\"", "\"minor_version\"], \"basis\""), "frame.order needs"},
      {with("[[1, 0]]", "[]"), "frame.versions needs"},
      {with("[[1, 0]]", "[[1, 256]]"), "frame.versions is 256"},
      {with("\"none\": 7", "\"nothing\": 7"), "frame.type_numbers needs"},
      {with("{\"value\": \"little\", \"basis\": \"guessed\"}", "\"little\""),
       "frame.byte_order needs"},
      {with("\"basis\": \"documented\"", "\"basis\": \"sure\""), "needs a basis"},
      {with("\"payload_bytes_max\": 1048576", "\"payload_bytes_max\": 99999999"),
       "limits.payload_bytes_max is"},
      {with("\"push_id\", \"PushID\"", "\"push\", \"PushID\""), "\"push\" is no member"},
      {with("\"value\": 1, \"basis\": \"documented\"", "\"value\": 0, \"basis\": \"documented\""),
       "codes.failure must differ"},
      {with("\"format\": 1", "\"format\": 2"), "format is 2"},
  };
  for (const auto& [text, part] : cases) {
    const auto made = parse_profile(text, "p.json");
    ASSERT_FALSE(made) << part;
    EXPECT_STREQ(made.error().code, "bgb.profile");
    EXPECT_NE(made.error().message.find(part), std::string::npos) << made.error().message;
  }
  EXPECT_STREQ(load_profile("Z").error().code, "bgb.profile");
}

}  // namespace
}  // namespace greengate::test
