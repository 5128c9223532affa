#include "simulators/notification_server/evidence.h"
#include "simulators/notification_server/faults.h"
#include "simulators/notification_server/frame.h"
#include "simulators/notification_server/message.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <random>

namespace greengate::sim::notify {
namespace {

std::string read_file(const std::string& name) {
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/bgb/" + name,
                     std::ios::binary);
  std::stringstream all;
  all << file.rdbuf();
  EXPECT_FALSE(all.str().empty()) << name;
  return all.str();
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

FrameRules rules_of(const char* layout) {
  FrameRules rules;
  rules.layout = find_layout(layout);
  return rules;
}

std::string first_code(const Findings& findings) {
  return findings.empty() ? "" : findings.front().code;
}

/// Every combination of switches worth having, over all layouts.
std::vector<FrameRules> all_rules() {
  std::vector<FrameRules> all;
  for (const char* layout : {"A", "B", "C", "A8", "A16"})
    for (int bits = 0; bits < 512; ++bits) {
      FrameRules rules = rules_of(layout);
      rules.big_endian = bits & 1;
      rules.payload_size_is_frame = bits & 2;
      rules.header_size_is_xml = bits & 4;
      rules.channel_is_constant = bits & 8;
      rules.type_numbers_from = bits & 16 ? 1 : 0;
      rules.utf16 = !(bits & 32);
      rules.bom = bits & 64;
      rules.nul = bits & 128;
      rules.zlib = bits & 256;
      all.push_back(rules);
    }
  return all;
}

// Goal: the layouts are those of the specification. Method: its own vectors, both ways.
TEST(NotifyFrame, WritesAndReadsTheSpecificationsVectors) {
  const std::string xml = read_file("06-response-success.xml");
  const std::string vectors = read_file("frames.xml");
  const std::map<std::string, Kind> kinds{{"response", Kind::response},
                                          {"disconnect", Kind::disconnect},
                                          {"negotiation-needed", Kind::negotiation_needed}};
  int seen = 0;
  std::size_t at = 0;
  const auto between = [&](std::string_view before, std::string_view after) {
    const std::size_t begin = vectors.find(before, at) + before.size();
    at = vectors.find(after, begin);
    return vectors.substr(begin, at - begin);
  };
  for (; vectors.find("<frame ", at) != std::string::npos; ++seen) {
    const std::string layout = between("profile=\"", "\"");
    const std::string message = between("message=\"", "\"");
    const FrameRules rules = rules_of(layout.c_str());
    const Kind kind = kinds.at(message);
    std::string wire;
    between("sha256=\"", "\"");
    const std::string hex = between(">", "<");
    for (std::size_t i = 0; i < hex.size(); i += 2)
      wire += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));

    const std::string payload = kind == Kind::response ? write_text(rules, xml) : "";
    EXPECT_EQ(write_frame(rules, kind, payload), wire) << layout << " " << message;
    const Cut cut = cut_frame(rules, bytes_of(wire));
    ASSERT_EQ(cut.status, Cut::Status::whole);
    EXPECT_EQ(cut.frame_bytes, wire.size());
    EXPECT_EQ(kind_of_channel(rules, cut.header.channel), kind);
    if (kind != Kind::response) continue;
    const Text text = read_text(rules, bytes_of(wire).subspan(cut.payload_at, cut.payload_bytes));
    EXPECT_EQ(text.utf8, xml);
  }
  EXPECT_EQ(seen, 9);
}

TEST(NotifyFrame, ReadsBackWhatItWritesUnderEveryCombinationOfSwitches) {
  const std::string xml = "<A>\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80</A>";
  for (const FrameRules& rules : all_rules()) {
    const std::string wire = write_frame(rules, Kind::response, write_text(rules, xml));
    const Cut cut = cut_frame(rules, bytes_of(wire));
    ASSERT_EQ(cut.status, Cut::Status::whole);
    ASSERT_EQ(cut.frame_bytes, wire.size());
    const Text text = read_text(rules, bytes_of(wire).subspan(cut.payload_at, cut.payload_bytes));
    ASSERT_EQ(text.utf8, xml) << first_code(text.findings);
    ASSERT_EQ(kind_of_channel(rules, cut.header.channel),
              rules.channel_is_constant ? Kind::unknown : Kind::response);
  }
}

TEST(NotifyFrame, AsksForMoreAtEveryPlaceAFrameCanBeSplit) {
  for (const char* layout : {"A", "B", "C", "A8", "A16"}) {
    const FrameRules rules = rules_of(layout);
    const std::string wire =
        write_frame(rules, Kind::sign_in, write_text(rules, read_file("01-signin.xml")));
    for (std::size_t n = 0; n < wire.size(); ++n)
      ASSERT_EQ(cut_frame(rules, bytes_of(wire).first(n)).status, Cut::Status::need_more)
          << layout << " at " << n;
    const std::string two = wire + wire;
    EXPECT_EQ(cut_frame(rules, bytes_of(two)).frame_bytes, wire.size());
  }
}

// Goal: no header is accepted that is not as specified. Method: one field wrong at a time.
TEST(NotifyFrame, RefusesEachWrongHeaderFieldWithItsCode) {
  for (const char* layout : {"A", "B", "C", "A8", "A16"}) {
    const FrameRules rules = rules_of(layout);
    const std::string good = write_frame(rules, Kind::response, std::string(20, 'x'));
    const auto cut_with = [&](Slot slot, std::uint32_t value) {
      std::string wire = good;
      for (std::uint8_t i = 0; i < slot.bytes; ++i)
        wire[slot.offset + i] = static_cast<char>((value >> (8 * i)) & 0xff);
      return cut_frame(rules, bytes_of(wire));
    };
    const Layout& l = *rules.layout;
    EXPECT_EQ(first_code(cut_with(l.payload_size, (1U << 20) + 1).findings), "frame.oversize");
    EXPECT_EQ(cut_with(l.payload_size, 1U << 20).status, Cut::Status::need_more);
    EXPECT_EQ(first_code(cut_with(l.payload_size, 0xffffffff).findings), "frame.oversize");
    EXPECT_EQ(first_code(cut_with(l.header_size, l.bytes + 1U).findings), "frame.header_size");
    EXPECT_EQ(first_code(cut_with(l.header_size, 0).findings), "frame.header_size");
    if (l.major.bytes > 1) {
      EXPECT_EQ(first_code(cut_with(l.major, 300).findings), "frame.version_range");
    }
    const Cut newer = cut_with(l.minor, 7);
    EXPECT_EQ(newer.status, Cut::Status::whole);
    EXPECT_FALSE(newer.version_supported);
  }
  FrameRules whole = rules_of("A");
  whole.payload_size_is_frame = true;
  std::string wire = write_frame(whole, Kind::response, "");
  wire[0] = 5;
  EXPECT_EQ(first_code(cut_frame(whole, bytes_of(wire)).findings), "frame.payload_size");
}

TEST(NotifyFrame, LetsANewerVersionGrowItsHeader) {
  const FrameRules rules = rules_of("A");
  std::string wire = write_frame(rules, Kind::response, "");
  wire[4] = 2;   // MajorVersion
  wire[6] = 20;  // HeaderSize
  EXPECT_EQ(cut_frame(rules, bytes_of(wire)).status, Cut::Status::need_more);
  wire.append(8, '\0');
  const Cut cut = cut_frame(rules, bytes_of(wire));
  EXPECT_EQ(cut.status, Cut::Status::whole);
  EXPECT_EQ(cut.frame_bytes, 20U);
}

TEST(NotifyText, TakesTheProfilesEncodingAndNoOther) {
  const auto code = [](bool utf16, bool bom, bool nul, std::string_view given) {
    FrameRules rules = rules_of("A");
    rules.utf16 = utf16, rules.bom = bom, rules.nul = nul;
    return first_code(read_text(rules, std::as_bytes(std::span(given))).findings);
  };
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(code(true, false, false, "<\0a\0"sv), "");
  EXPECT_EQ(code(true, false, false, "<a/>"sv), "text.encoding");
  EXPECT_EQ(code(true, false, false, "\xef\xbb\xbf<a/>"sv), "text.encoding");
  EXPECT_EQ(code(true, false, false, "\0<\0a"sv), "text.encoding");
  EXPECT_EQ(code(true, false, false, "\xfe\xff\0<"sv), "text.encoding");
  EXPECT_EQ(code(true, false, false, "\xff\xfe<\0"sv), "text.bom");
  EXPECT_EQ(code(true, true, false, "<\0a\0"sv), "text.bom");
  EXPECT_EQ(code(true, false, false, "<\0\0\0"sv), "text.nul");
  EXPECT_EQ(code(true, false, true, "<\0a\0"sv), "text.nul");
  EXPECT_EQ(code(true, false, false, "<\0a"sv), "text.invalid");
  EXPECT_EQ(code(true, false, false, "<\0\x00\xd8"sv), "text.invalid");
  EXPECT_EQ(code(true, false, false, "<\0\x00\xdc\x00\xd8"sv), "text.invalid");
  EXPECT_EQ(code(true, false, false, "\x78\x9c\x01\x02"sv), "text.compression");
  EXPECT_EQ(code(false, false, false, "<a/>"sv), "");
  EXPECT_EQ(code(false, false, false, "<\0a\0"sv), "text.encoding");
  EXPECT_EQ(code(false, false, false, "<a>\xc0\xaf</a>"sv), "text.invalid");
  EXPECT_EQ(code(false, false, false, "<a>\xed\xa0\x80</a>"sv), "text.invalid");
  EXPECT_EQ(code(false, false, false, "<a>\xf8</a>"sv), "text.invalid");
}

TEST(NotifyText, RefusesACompressionBomb) {
  FrameRules rules = rules_of("A");
  rules.zlib = true;
  rules.utf16 = false;
  const std::string packed = write_text(rules, "<a>" + std::string(8 << 20, 'x') + "</a>");
  ASSERT_LT(packed.size(), 100'000U);
  EXPECT_EQ(first_code(read_text(rules, bytes_of(packed)).findings), "text.compression");
}

TEST(NotifyXml, RefusesWhatTheChannelNeverCarriesWithItsCode) {
  const auto code = [](const std::string& xml) { return first_code(parse_xml(xml).findings); };
  EXPECT_EQ(code("<a b='c'>&lt;&amp;</a>"), "");
  EXPECT_EQ(code("<?xml version=\"1.0\"?><a/>"), "xml.declaration");
  EXPECT_EQ(code("<!DOCTYPE a><a/>"), "xml.dtd");
  EXPECT_EQ(code("<a><!-- c --></a>"), "xml.markup");
  EXPECT_EQ(code("<a><![CDATA[c]]></a>"), "xml.markup");
  EXPECT_EQ(code("<a><?p?></a>"), "xml.markup");
  EXPECT_EQ(code("<a>&outside;</a>"), "xml.entity");
  EXPECT_EQ(code("<a>&#65;</a>"), "xml.entity");
  EXPECT_EQ(code("<a xmlns=\"u\"/>"), "xml.namespace");
  EXPECT_EQ(code("<p:a/>"), "xml.namespace");
  EXPECT_EQ(code("<a/><b/>"), "xml.trailing");
  EXPECT_EQ(code("<a/> "), "xml.trailing");
  for (const char* broken :
       {"", "x", "<", "<a", "<a>", "</a>", "<a></b>", "<a b></a>", "<a b=c/>", "<a b=\"<\"/>",
        "<a b=\"1\" b=\"2\"/>", "<a b=\"1\"c=\"2\"/>", "<a>\x01</a>", "<1/>", "<a b=\"1"})
    EXPECT_EQ(code(broken), "xml.malformed") << broken;
  std::string deep, wide = "<a>";
  for (int i = 0; i < 9; ++i) deep += "<a>";
  for (int i = 0; i < 64; ++i) wide += "<b/>";
  EXPECT_EQ(code(deep), "xml.depth");
  EXPECT_EQ(code(wide), "xml.members");
  EXPECT_EQ(code("<a>" + std::string(300'000, 'x') + "</a>"), "xml.value_size");
}

constexpr std::int64_t sample_time = 1'768'469'400;  // 2026-01-15T09:30:00Z

std::vector<std::string> codes_of(const std::string& xml, bool allow_unknown = false) {
  const Document document = parse_xml(xml);
  EXPECT_TRUE(document.findings.empty()) << xml;
  Findings findings;
  check_message(document,
                {.client_type = "SCCM",
                 .allow_unknown_members = allow_unknown,
                 .check_smsid_form = true,
                 .now_unix_seconds = sample_time,
                 .skew_warn_seconds = 7200},
                findings);
  std::vector<std::string> codes;
  for (const Finding& finding : findings) codes.emplace_back(finding.code);
  return codes;
}

TEST(NotifySchema, TakesTheSamplesAsTheyAre) {
  EXPECT_EQ(timestamp(sample_time), "2026-01-15T09:30:00Z");
  for (const char* name :
       {"01-signin.xml", "03-keepalive.xml", "06-response-success.xml", "07-response-failure.xml"})
    EXPECT_TRUE(codes_of(read_file(name)).empty()) << name;
}

TEST(NotifySchema, TakesTheExtendedKeepAliveOnlyWhenUnknownMembersAreAllowed) {
  const std::string xml = read_file("13-keepalive-extended.xml");
  EXPECT_EQ(codes_of(xml),
            (std::vector<std::string>{"schema.unknown_member", "schema.unknown_member"}));
  EXPECT_TRUE(codes_of(xml, true).empty());
}

TEST(NotifySchema, RefusesEachDepartureWithItsCode) {
  const std::string good = read_file("01-signin.xml");
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string xml = good;
    const std::size_t at = xml.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return codes_of(xml.replace(at, from.size(), to));
  };
  using Codes = std::vector<std::string>;
  EXPECT_EQ(codes_of("<Nonsense/>"), Codes{"schema.root"});
  EXPECT_EQ(with("<ClientType>SCCM</ClientType>", ""), Codes{"schema.missing"});
  EXPECT_EQ(with("<ClientType>SCCM</ClientType>",
                 "<ClientType>SCCM</ClientType><ClientType>SCCM</ClientType>"),
            Codes{"schema.repeated"});
  EXPECT_EQ(with("<ClientType>SCCM</ClientType><ClientVersion>5.00.9141.1000</ClientVersion>",
                 "<ClientVersion>5.00.9141.1000</ClientVersion><ClientType>SCCM</ClientType>"),
            Codes{"schema.order"});
  EXPECT_EQ(with("SCCM</ClientType>", "SCCM</ClientType><Extra></Extra>"),
            Codes{"schema.unknown_member"});
  EXPECT_EQ(with("<ClientType>", "<ClientType a=\"b\">"), Codes{"schema.unknown_attribute"});
  EXPECT_EQ(with(" TimeStamp", " a=\"b\" TimeStamp"), Codes{"schema.unknown_attribute"});
  EXPECT_EQ(with("TimeStamp=", "Timestamp="), Codes{"schema.case"});
  std::string cased = good;
  for (std::size_t at = 0; (at = cased.find("ClientID", at)) != std::string::npos;)
    cased[at + 7] = 'd';
  EXPECT_EQ(codes_of(cased), Codes{"schema.case"});
}

TEST(NotifySchema, RefusesEachValueWithItsCode) {
  const std::string good = read_file("01-signin.xml");
  const auto with = [&](std::string what, const std::string& from, const std::string& to) {
    const std::size_t at = what.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return codes_of(what.replace(at, from.size(), to));
  };
  using Codes = std::vector<std::string>;
  for (const char* time :
       {"2026-01-15T09:30:00", "2026-01-15T09:30:00.5Z", "2026-02-30T09:30:00Z",
        "2026-01-15T09:30:00+00:00", "2026-01-15 09:30:00Z", "", "2026-01-15T24:30:00Z"})
    EXPECT_EQ(with(good, "2026-01-15T09:30:00Z", time), Codes{"schema.timestamp"}) << time;
  EXPECT_EQ(with(good, "2026-01-15T09:30:00Z", "2026-01-14T09:30:00Z"), Codes{"schema.skew"});
  EXPECT_EQ(with(good, " TimeStamp=\"2026-01-15T09:30:00Z\"", ""), Codes{"schema.no_timestamp"});
  EXPECT_EQ(with(good, "SCCM", "LINUX"), Codes{"schema.client_type"});
  for (const char* version :
       {"5.0.9141.1000", "5.00.9141", "5.00.9141.1000.1", "x", "", "5.00.9141.10000"})
    EXPECT_EQ(with(good, "5.00.9141.1000", version), Codes{"schema.client_version"}) << version;
  EXPECT_EQ(with(good, "GUID:5B", "GUID:5b"), Codes{"signin.smsid_form"});
  EXPECT_EQ(with(good, "GUID:5B", "5B"), Codes{"signin.smsid_form"});
  EXPECT_EQ(with(good, "SCCM</ClientType>", "SCCM</ClientType> "), Codes{"schema.white_space"});
  EXPECT_EQ(with(good, "SCCM</ClientType>", "SCCM</ClientType>x"), Codes{"schema.text"});
  EXPECT_EQ(with(good, "SCCM", "SCCM<Deep></Deep>").front(), "schema.text");
  const std::string response = read_file("06-response-success.xml");
  for (const char* number : {"", "-1", "01", "1x", "99999999999999999999", "0x1"})
    EXPECT_EQ(with(response, "<PushID>13", "<PushID>" + std::string(number)),
              Codes{"schema.number"})
        << number;
  EXPECT_EQ(with(response, "<ReturnCode>1", "<ReturnCode>-0"), Codes{"schema.number"});
  EXPECT_TRUE(with(response, "<ReturnCode>1", "<ReturnCode>-5").empty());
}

TEST(NotifySchema, WritesTheServersSamplesByteForByte) {
  EXPECT_EQ(confirm_xml(sample_time, "1.0"), read_file("02-signin-confirm.xml"));
  RequestFields fields{.push_id = 13,
                       .task_id = 13,
                       .task_guid = "0C2E4A68-1B3D-4F57-8A9C-BDDFE1F30527",
                       .task_type = 1,
                       .task_param = "",
                       .leave_out = {},
                       .extra = {}};
  EXPECT_EQ(request_xml(sample_time + 1800, fields), read_file("04-request-machine-policy.xml"));
  RequestFields unknown{.push_id = 16,
                        .task_id = 17,
                        .task_guid = "11111111-2222-4333-8444-555555555555",
                        .task_type = 999,
                        .task_param = "",
                        .leave_out = {},
                        .extra = "<Future a=\"1\">x</Future>"};
  EXPECT_EQ(request_xml(sample_time + 2160, unknown), read_file("14-request-unknown-type.xml"));
}

// Goal: no bytes from outside do more than be refused. Method: noise, and good frames with flaws,
// through everything that reads; the sanitizers watch.
TEST(NotifyFrame, OutlivesRandomBytesAndDamagedFrames) {
  const std::uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 dice(seed);
  const auto rules = all_rules();
  const std::array<std::string, 3> samples{read_file("01-signin.xml"),
                                           read_file("03-keepalive.xml"),
                                           read_file("06-response-success.xml")};
  int whole = 0, parsed = 0;
  for (int round = 0; round < 20'000; ++round) {
    const FrameRules& r = rules[dice() % rules.size()];
    std::string wire;
    if (round % 2 == 0) {
      wire.resize(dice() % 400);
      for (char& c : wire) c = static_cast<char>(dice());
    } else {
      std::string xml = samples[dice() % samples.size()];
      for (auto flaws = dice() % 3; flaws > 0; --flaws)
        xml[dice() % xml.size()] = "<>/&\"= aZ0\x01\x7f"[dice() % 12];
      wire = write_frame(r, Kind::sign_in, write_text(r, xml));
      if (dice() % 2 == 0) wire[dice() % wire.size()] ^= static_cast<char>(1U << (dice() % 8));
    }
    const Cut cut = cut_frame(r, bytes_of(wire));
    ASSERT_EQ(cut.findings.empty(), cut.status != Cut::Status::bad);
    if (cut.status != Cut::Status::whole) continue;
    ++whole;
    ASSERT_LE(cut.frame_bytes, wire.size());
    const Text text = read_text(r, bytes_of(wire).subspan(cut.payload_at, cut.payload_bytes));
    if (!text.findings.empty()) continue;
    const Document document = parse_xml(text.utf8);
    ASSERT_EQ(document.elements.empty(), !document.findings.empty());
    if (document.elements.empty()) continue;
    ++parsed;
    Findings findings;
    check_message(document, {}, findings);
  }
  EXPECT_GT(whole, 2'000);
  EXPECT_GT(parsed, 1'000);
}

TEST(NotifyEvidence, CountsALineThatTheDiskDidNotTake) {
  EvidenceFile file;
  ASSERT_TRUE(file.open("/dev/full", 1 << 20));
  file.write("{}");
  file.flush();
  EXPECT_EQ(file.lost(), 1U);
}

TEST(NotifyEvidence, SaysThatAFileCannotBeOpened) {
  EvidenceFile file;
  const auto opened = file.open("/nowhere/at/all.jsonl", 1 << 20);
  ASSERT_FALSE(opened);
  EXPECT_STREQ(opened.error().code, "notify.evidence");
}

TEST(NotifyFaults, MatchPatternsAsPeopleExpect) {
  EXPECT_TRUE(fits("*", ""));
  EXPECT_TRUE(fits("GUID:*", "GUID:1"));
  EXPECT_TRUE(fits("*7?", "GUID:71"));
  EXPECT_TRUE(fits("a*b*c", "aXbYbZc"));
  EXPECT_FALSE(fits("a*b", "abc"));
  EXPECT_FALSE(fits("", "x"));
  EXPECT_FALSE(fits("GUID:1", "*"));
}

}  // namespace
}  // namespace greengate::sim::notify
