#include "simulators/common/crypto.h"
#include "simulators/common/evidence.h"
#include "simulators/common/text.h"
#include "simulators/common/xml.h"
#include "simulators/management_point/checks.h"
#include "simulators/management_point/envelope.h"
#include "simulators/management_point/faults.h"
#include "simulators/management_point/registration.h"
#include "simulators/management_point/report.h"

#include <gtest/gtest.h>
#include <boost/json.hpp>
#include <pugixml.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

// Goal: no bytes from outside can harm the simulator's parsers. Method: the limits one by one, then
// a lot of damage.

namespace greengate::sim {
namespace {

const char* code_of(const Result<void>& result) {
  return result ? "" : result.error().code;
}

Result<void> parse(std::string_view text) {
  pugi::xml_document document;
  return parse_xml(text, document);
}

bool found(const Findings& findings, std::string_view code) {
  for (const Violation& one : findings.violations())
    if (one.check->code == code) return true;
  return false;
}

TEST(Text, ConvertsUtf16BothWaysAndRefusesWhatIsNone) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
  const auto wide = utf16le_from_utf8(text);
  ASSERT_TRUE(wide);
  EXPECT_EQ(wide->size(), 10u);
  EXPECT_EQ(utf8_from_utf16le(*wide), text);
  EXPECT_FALSE(utf8_from_utf16le("abc"));
  EXPECT_FALSE(utf8_from_utf16le(std::string_view("\x00\xD8", 2)));  // high surrogate at the end
  EXPECT_FALSE(utf8_from_utf16le(std::string_view("\x00\xDC\x00\xD8", 4)));  // low before high
  EXPECT_FALSE(utf8_from_utf16le(std::string_view("\x00\xD8\x41\x00", 4)));  // high before a letter
  for (const std::string_view wrong :
       {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\xFF", "\x80"})
    EXPECT_FALSE(utf16le_from_utf8(wrong)) << to_hex_upper(wrong);
}

TEST(Text, ReadsTimesAndRefusesImpossibleOnes) {
  EXPECT_EQ(to_cim_utc(*parse_cim_utc("20260115102030.000000+000")), "20260115102030.000000+000");
  EXPECT_EQ(to_iso_utc(*parse_iso_utc("2026-01-15T10:20:30Z")), "2026-01-15T10:20:30Z");
  for (const char* wrong :
       {"", "20260230102030.000000+000", "20260115252030.000000+000", "20260115102030.000000+060",
        "20260115102030.000000-000", "99990115102030.000000+000", "2026011510203x.000000+000",
        "20260115102030.000000+0000"})
    EXPECT_FALSE(parse_cim_utc(wrong)) << wrong;
  for (const char* wrong : {"2026-01-15 10:20:30Z", "2026-13-15T10:20:30Z", "2026-01-15T10:20:30",
                            "2026-01-15T10:20:30z"})
    EXPECT_FALSE(parse_iso_utc(wrong)) << wrong;
}

TEST(Text, KnowsAnSmsIdFromAnythingElse) {
  EXPECT_TRUE(is_sms_id("GUID:5A1B7C3D-0000-4000-8000-00000000A001"));
  for (const char* wrong :
       {"", "GUID:", "5A1B7C3D-0000-4000-8000-00000000A001",
        "GUID:5a1b7c3d-0000-4000-8000-00000000a001", "GUID:{5A1B7C3D-0000-4000-8000-00000000A00}",
        "GUID:5A1B7C3D-0000-4000-8000-00000000A0010", "GUID:5A1B7C3D-0000-4000-8000-00000000A00G"})
    EXPECT_FALSE(is_sms_id(wrong)) << wrong;
  EXPECT_TRUE(is_guid(new_guid(), true));
  EXPECT_NE(new_guid(), new_guid());
}

TEST(Xml, RefusesEachHostileFormUnderItsOwnCode) {
  EXPECT_STREQ(code_of(parse("<a b='1'>text<!-- & <x> --><![CDATA[ & <y> ]]>&lt;&#65;&#x41;</a>")),
               "");
  EXPECT_STREQ(code_of(parse("<!DOCTYPE a><a/>")), "xml.dtd");
  EXPECT_STREQ(code_of(parse("<a><!ENTITY x 'y'></a>")), "xml.dtd");
  EXPECT_STREQ(code_of(parse("<a>&x;</a>")), "xml.entity");
  EXPECT_STREQ(code_of(parse("<a>& b</a>")), "xml.entity");
  EXPECT_STREQ(code_of(parse("<a>&#xD800;</a>")), "xml.entity");
  EXPECT_STREQ(code_of(parse("<a>&#99999999999999;</a>")), "xml.entity");
  EXPECT_STREQ(code_of(parse("<a b='&quot'/>")), "xml.entity");
  EXPECT_STREQ(code_of(parse(std::string_view("<a>\0</a>", 8))), "xml.character");
  EXPECT_STREQ(code_of(parse("<a>\x07</a>")), "xml.character");
  EXPECT_STREQ(code_of(parse("<a b='1' b='2'/>")), "xml.not_well_formed");
  for (const char* wrong : {"", "text", "<a>", "<a></b>", "<a/><b/>", "<a/>text",
                            "<a><![CDATA[</a>", "<a><!--</a>", "</a>"})
    EXPECT_STREQ(code_of(parse(wrong)), "xml.not_well_formed") << wrong;
}

TEST(Xml, BoundsDepthAndTags) {
  const auto nested = [](int depth) {
    std::string text;
    for (int i = 0; i < depth; ++i) text += "<a>";
    for (int i = 0; i < depth; ++i) text += "</a>";
    return text;
  };
  EXPECT_STREQ(code_of(parse(nested(xml_depth_max))), "");
  EXPECT_STREQ(code_of(parse(nested(xml_depth_max + 1))), "xml.too_big");
  std::string many = "<a>";
  for (std::size_t i = 0; i < xml_tags_max; ++i) many += "<b/>";
  EXPECT_STREQ(code_of(parse(many + "</a>")), "xml.too_big");
}

TEST(Checks, AreSwitchedByNameOrFamilyAndUnknownNamesAreRefused) {
  CheckLevels levels;
  EXPECT_STREQ(code_of(levels.set("zlib.too_large=off")), "");
  EXPECT_STREQ(code_of(levels.set("mime.*=warn")), "");
  EXPECT_STREQ(code_of(levels.set("no.such=off")), "check.unknown");
  EXPECT_STREQ(code_of(levels.set("nothing.*=off")), "check.unknown");
  for (const char* wrong :
       {"", "zlib.too_large", "zlib.too_large=", "zlib.too_large=maybe", "=off"})
    EXPECT_FALSE(levels.set(wrong)) << wrong;
  Findings findings(levels);
  EXPECT_FALSE(findings.add("zlib.too_large", "off"));
  EXPECT_FALSE(findings.add("mime.parts", "warned"));
  EXPECT_FALSE(findings.failed());
  EXPECT_EQ(findings.warnings().size(), 1u);
  EXPECT_TRUE(findings.add("body.xml", "fails"));
  EXPECT_TRUE(findings.failed());
}

TEST(Checks, KeepABoundedNumberOfFindings) {
  const CheckLevels levels;
  Findings findings(levels);
  for (int i = 0; i < 1000; ++i) findings.add("instance.element", "again");
  EXPECT_EQ(findings.violations().size(), Findings::findings_max);
  EXPECT_EQ(findings.left_out(), 1000 - Findings::findings_max);
}

TEST(Payload, InflatesOneStreamAndNoMore) {
  const CheckLevels levels;
  // "hello" in one stored block (RFC 1951, 3.2.4) with its checksum (RFC 1950).
  const std::string stored("\x78\x01\x01\x05\x00\xfa\xffhello\x06\x2c\x02\x15", 16);
  Findings good(levels);
  EXPECT_EQ(open_payload(stored, true, 100, good), "hello");
  EXPECT_FALSE(good.failed());
  Findings capped(levels);
  EXPECT_FALSE(open_payload(stored, true, 4, capped));
  EXPECT_TRUE(found(capped, "zlib.too_large"));
  Findings trailing(levels);
  EXPECT_TRUE(open_payload(stored + "x", true, 100, trailing));
  EXPECT_TRUE(found(trailing, "zlib.trailing_bytes"));
  for (std::size_t cut = 2; cut < stored.size(); ++cut) {
    Findings shortened(levels);
    EXPECT_FALSE(open_payload(std::string_view(stored).substr(0, cut), true, 100, shortened));
    EXPECT_TRUE(found(shortened, "zlib.truncated")) << cut;
  }
  Findings dictionary(levels);
  EXPECT_FALSE(
      open_payload(std::string_view("\x78\xbb\x00\x00\x00\x01xx", 8), true, 100, dictionary));
  EXPECT_TRUE(found(dictionary, "zlib.not_zlib"));
}

TEST(Body, RangesNeverReachOutside) {
  const CheckLevels levels;
  const std::string stream("a\0\0\0", 4);
  const std::uint64_t huge = ~std::uint64_t{0};
  for (const ByteRange range : {ByteRange{0, 5}, ByteRange{5, 0}, ByteRange{huge, 1},
                                ByteRange{1, huge}, ByteRange{huge, huge}}) {
    Envelope envelope;
    envelope.body = range;
    Findings findings(levels);
    EXPECT_FALSE(read_body(stream, envelope, findings));
    EXPECT_TRUE(found(findings, "body.range"));
  }
  Envelope envelope;
  envelope.body = ByteRange{0, 4};
  Findings findings(levels);
  EXPECT_EQ(read_body(stream, envelope, findings), "a");
  EXPECT_FALSE(findings.failed());
}

TEST(Faults, RefuseWhatTheyDoNotUnderstand) {
  Faults faults(1);
  for (const char* wrong :
       {"", "[]", "{", R"({"kind":1})", R"({"kind":"status","count":0})",
        R"({"kind":"status","status":"503"})", R"({"kind":"trickle","bytes":0})"}) {
    const auto added = faults.add(wrong);
    ASSERT_FALSE(added) << wrong;
    EXPECT_STREQ(added.error().code, "fault.syntax");
  }
  ASSERT_TRUE(faults.add(R"({"kind":"empty","count":1,"endpoint":"MP_DdrEndpoint"})"));
  EXPECT_TRUE(faults.draw("/p", "MP_HinvEndpoint", false).empty());
  EXPECT_EQ(faults.draw("/p", "mp_ddrendpoint", false).size(), 1u);
  EXPECT_TRUE(faults.draw("/p", "MP_DdrEndpoint", false).empty());
}

class Vectors : public testing::Test {
 protected:
  static boost::json::object load() {
    std::ifstream in(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/mp/sign-vectors.json");
    std::stringstream text;
    text << in.rdbuf();
    return boost::json::parse(text.str()).as_object();
  }
  static std::string bytes(const boost::json::value& hex) {
    return from_hex(std::string_view(hex.as_string())).value_or("");
  }
  const boost::json::object vectors = load();
};

TEST_F(Vectors, TellTheFourWaysOfWritingASignatureApart) {
  auto facts = read_certificate(bytes(vectors.at("certificate_der_hex")));
  ASSERT_TRUE(facts);
  EXPECT_EQ(to_hex_upper(public_key_blob(facts->key)),
            std::string_view(vectors.at("public_key_blob_hex").as_string()));
  EXPECT_TRUE(facts->self_signed && facts->digital_signature && facts->data_encipherment);
  EXPECT_EQ(facts->extended_key_usages.size(), 2u);
  for (const char* name : {"ClientIDSignature", "ClientToken", "PayloadSignature_zlib"}) {
    const auto& one = vectors.at("vectors").at(name).as_object();
    const std::string content = bytes(one.at("signed_bytes_hex"));
    const std::string oid = bytes(one.at("signature_reversed_hex")),
                      bare = bytes(one.at("signature_no_hash_oid_reversed_hex"));
    EXPECT_EQ(match_signature(facts->key, oid, content, "sha256"),
              SignatureForm::little_endian_oid);
    EXPECT_EQ(match_signature(facts->key, bare, content, "sha256"),
              SignatureForm::little_endian_bare);
    EXPECT_EQ(match_signature(facts->key, std::string(oid.rbegin(), oid.rend()), content, "sha256"),
              SignatureForm::big_endian_oid);
    EXPECT_EQ(
        match_signature(facts->key, std::string(bare.rbegin(), bare.rend()), content, "sha256"),
        SignatureForm::big_endian_bare);
    EXPECT_EQ(match_signature(facts->key, oid, content + "x", "sha256"), SignatureForm::none);
    EXPECT_EQ(match_signature(facts->key, oid, content, "sha1"), SignatureForm::none);
    EXPECT_EQ(match_signature(facts->key, "", content, "sha256"), SignatureForm::none);
  }
  const auto& sha1_vector = vectors.at("vectors").at("PayloadSignature_zlib_sha1").as_object();
  const std::string content =
      bytes(vectors.at("vectors").at("PayloadSignature_zlib").at("signed_bytes_hex"));
  EXPECT_EQ(
      match_signature(facts->key, bytes(sha1_vector.at("signature_reversed_hex")), content, "sha1"),
      SignatureForm::little_endian_oid);
}

TEST_F(Vectors, DamagedCertificatesAreRefusedAndNothingElseHappens) {
  const std::string good = bytes(vectors.at("certificate_der_hex"));
  EXPECT_FALSE(read_certificate(good + "x"));
  EXPECT_FALSE(read_certificate(""));
  const std::uint64_t seed = 20260115;
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  for (int i = 0; i < 2000; ++i) {
    std::string der = good;
    for (int k = 0; k < 3; ++k) der[random() % der.size()] = static_cast<char>(random());
    (void)read_certificate(der);
    (void)read_certificate(std::string_view(good).substr(0, random() % good.size()));
  }
}

TEST_F(Vectors, DamagedRegistrationsNeverPass) {
  const auto& vector = vectors.at("vectors").at("RegistrationData").as_object();
  const std::string data(vector.at("xml").as_string());
  const std::string good = "<ClientRegistrationRequest>" + data + "<Signature><SignatureValue>" +
                           std::string(vector.at("signature_reversed_hex").as_string()) +
                           "</SignatureValue></Signature></ClientRegistrationRequest>";
  const CheckLevels levels;
  const WallTime now = *parse_iso_utc("2026-06-01T00:00:00Z");
  const auto no_proxy = [](const std::string&) { return Key(); };
  Findings clean(levels);
  ASSERT_TRUE(read_registration(good, now, no_proxy, clean));
  ASSERT_FALSE(clean.failed()) << clean.violations().front().text;
  const std::uint64_t seed = 20260116;
  std::cout << "seed " << seed << '\n';
  std::mt19937_64 random(seed);
  const std::size_t first = good.find("<Data"), last = good.find("</Data>");
  for (int i = 0; i < 300; ++i) {
    std::string text = good;
    const std::size_t at = first + random() % (last - first);
    text[at] = text[at] == 'A' ? 'B' : 'A';  // inside what is signed
    Findings findings(levels);
    (void)read_registration(text, now, no_proxy, findings);
    EXPECT_TRUE(findings.failed()) << at;
  }
}

TEST(Evidence, NumbersGoOnAfterARestart) {
  char pattern[] = "/tmp/greengate-evidence-XXXXXX";
  ASSERT_NE(mkdtemp(pattern), nullptr);
  const std::filesystem::path dir = pattern;
  {
    Evidence evidence(dir, EvidenceLevel::full);
    ASSERT_TRUE(evidence.open());
    EXPECT_EQ(evidence.next_number(), 1u);
    evidence.append_line(R"({"number":1})");
    EXPECT_EQ(evidence.keep(evidence.next_number(), {{"request.http", "bytes"}}),
              "messages/000002");  // its line never came
  }
  Evidence evidence(dir, EvidenceLevel::full);
  ASSERT_TRUE(evidence.open());
  EXPECT_EQ(evidence.next_number(), 3u);
  Evidence impossible("/dev/null/x", EvidenceLevel::lines);
  EXPECT_STREQ(code_of(impossible.open()), "evidence.folder");
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace greengate::sim
