// Goal: location requests are the published ones byte for byte, and what comes back, friendly or not, is read within bounds.
#include "adapters/mp/location.h"
#include "adapters/mp/bootstrap.h"
#include "adapters/mp/signing_key.h"
#include "adapters/mp/utf16.h"
#include "tests/adapters/mp/fixture.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

std::string wide(const std::string& text) { return "\xFF\xFE" + utf16_from_utf8(text); }

LocationQuestion question(LocationKind kind) {
  LocationQuestion asked;
  asked.kind = kind;
  asked.package_id = "P0100012";
  asked.package_version = 1;
  asked.address = "192.0.2.10";
  asked.subnet = "192.0.2.0";
  return asked;
}

TEST(LocationRequest, IsTheSampleByteForByteAndNotSigned) {
  auto settings = sample_settings();
  settings.update_source_id = "{0C0C0C0C-0000-4000-8000-000000000038}";
  settings.update_source_version = 38;
  for (const auto& [kind, file] : {std::pair(LocationKind::content, "content-location-request.xml"),
                                   std::pair(LocationKind::update_server, "wsus-location-request.xml"),
                                   std::pair(LocationKind::site, "site-information-request.xml")}) {
    const auto request = location_request(settings, sample_identity(), sample_facts(), question(kind));
    ASSERT_TRUE(request) << request.error().message;
    EXPECT_EQ(request->endpoint, "MP_LocationManager");
    EXPECT_TRUE(request->expects_reply);
    const Opened opened = open(*request);
    EXPECT_EQ(body_text(opened), sample(file));
    EXPECT_EQ(inside(opened.header, "ReplyMode"), "Sync");
    EXPECT_EQ(opened.header.find("clientauth"), std::string::npos);
    EXPECT_EQ(opened.header.find("SourceID"), std::string::npos);
  }
}

TEST(LocationRequest, EscapesWhatAnAgentAsksFor) {
  auto asked = question(LocationKind::content);
  asked.package_id = "\"/><Evil a=\"";
  const auto request = location_request(sample_settings(), sample_identity(), sample_facts(), asked);
  ASSERT_TRUE(request);
  EXPECT_EQ(body_text(open(*request)).find("<Evil"), std::string::npos);
}

TEST(LocationReply, ReadsTheSamples) {
  const auto content = parse_location_reply(sample_settings(), LocationKind::content, sample("content-location-reply.xml"));
  ASSERT_TRUE(content) << content.error().message;
  ASSERT_EQ(content->size(), 1u);
  EXPECT_EQ(content->at(0).url, "http://dp01.example.test/SMS_DP_SMSPKG$/P0100012");
  EXPECT_EQ(content->at(0).server, "dp01.example.test");
  EXPECT_EQ(content->at(0).site_code, "P01");
  EXPECT_EQ(content->at(0).detail, "SERVER");
  EXPECT_FALSE(content->at(0).https);
  const auto update = parse_location_reply(sample_settings(), LocationKind::update_server, sample("wsus-location-reply.xml"));
  ASSERT_TRUE(update);
  ASSERT_EQ(update->size(), 1u);
  EXPECT_EQ(update->at(0).url, "http://sup01.example.test:8530");
  EXPECT_EQ(update->at(0).server, "sup01.example.test");
  EXPECT_EQ(update->at(0).version, "38");
  const auto site = parse_location_reply(
      sample_settings(), LocationKind::site,
      R"(<SiteInfoReply SchemaVersion="1.00"><Site><SiteCode>P01</SiteCode><Version>5.00.9128.1000</Version><BuildNumber>9128</BuildNumber></Site></SiteInfoReply>)");
  ASSERT_TRUE(site);
  EXPECT_EQ(site->at(0).version, "5.00.9128.1000");
  EXPECT_EQ(site->at(0).detail, "build 9128");
}

TEST(LocationReply, RefusesAnotherAnswerAndTooManyPlaces) {
  const auto code = [](LocationKind kind, const std::string& xml) {
    const auto got = parse_location_reply(sample_settings(), kind, xml);
    return std::string(got ? "read" : got.error().code);
  };
  EXPECT_EQ(code(LocationKind::content, sample("wsus-location-reply.xml")), "mp.location_reply");
  EXPECT_EQ(code(LocationKind::site, "<Other/>"), "mp.location_reply");
  EXPECT_EQ(code(LocationKind::site, "no xml"), "mp.reply_xml");
  std::string many = "<WSUSLocationReply>";
  for (int i = 0; i < 600; ++i) many += "<LocationRecord/>";
  EXPECT_EQ(code(LocationKind::update_server, many + "</WSUSLocationReply>"), "mp.location_reply");
  const auto cut = parse_location_reply(sample_settings(), LocationKind::update_server,
                                        "<WSUSLocationReply><LocationRecord WSUSURL=\"" + std::string(5'000, 'x') + "\"/></WSUSLocationReply>");
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->at(0).url, "");
}

TEST(MpList, IsReadInEitherEncoding) {
  for (const std::string& document : {sample("mplist.xml"), wide(sample("mplist.xml"))}) {
    const auto points = parse_mp_list(sample_settings(), document);
    ASSERT_TRUE(points) << points.error().message;
    ASSERT_EQ(points->size(), 1u);
    EXPECT_EQ(points->at(0).host, "mp01.example.test");
    EXPECT_FALSE(points->at(0).https);
    EXPECT_EQ(points->at(0).version, "9128");
  }
  const auto secure = parse_mp_list(
      sample_settings(),
      R"(<MPList><MP Name="A" FQDN="a.example.test" SiteCode="P01"><Capabilities><Property Name="SSLState" Value="63"/></Capabilities></MP></MPList>)");
  ASSERT_TRUE(secure);
  EXPECT_TRUE(secure->at(0).https);
  EXPECT_EQ(secure->at(0).site_code, "P01");
}

TEST(MpList, NamesNobodyWhoCannotBeAManagementPoint) {
  std::string list = "<MPList>";
  for (const char* host : {"127.0.0.1", "[::1]", "169.254.169.254", "0x7f.1", "2130706433", "localhost", "a.localhost", "metadata.google.internal",
                           "x.local", "evil/path.test", "user@host.test", "a b.test", "mp01", "-a.test", "a-.test", "a..test", ".test", "a.test.",
                           "mp.example.test:8080", ""})
    list += "<MP FQDN=\"" + std::string(host) + "\"/>";
  std::size_t unfit = 0;
  const auto points = parse_mp_list(sample_settings(), list + "<MP FQDN=\"good.example.test\"/></MPList>", &unfit);
  ASSERT_TRUE(points);
  ASSERT_EQ(points->size(), 1u);
  EXPECT_EQ(points->at(0).host, "good.example.test");
  EXPECT_EQ(unfit, 20u);
}

TEST(LocationReply, NamesManagementPointsAsTheSiteDoesForACallerWhoAsksWhetherItMay) {
  std::string reply = "<EnumerateMPLocationReply>";
  for (const char* host : {"MP02.example.test", "127.0.0.1", "::1", "localhost", "evil/path.test", "user@host.test", "a b.test", "x\ty.test", ""})
    reply += "<MP FQDN=\"" + std::string(host) + "\"/>";
  reply += "<MP FQDN=\"" + std::string(254, 'a') + "\"/></EnumerateMPLocationReply>";
  const auto places = parse_location_reply(sample_settings(), LocationKind::management_points, reply);
  ASSERT_TRUE(places) << places.error().message;
  std::vector<std::string> hosts;
  for (const auto& place : *places) hosts.push_back(place.server);
  EXPECT_EQ(hosts, (std::vector<std::string>{"mp02.example.test", "127.0.0.1", "::1", "localhost"}));
}

TEST(MpList, IsBoundedAndRefusesEverythingElse) {
  const auto code = [](const std::string& document) {
    const auto got = parse_mp_list(sample_settings(), document);
    return std::string(got ? "read" : got.error().code);
  };
  std::string many = "<MPList>";
  for (int i = 0; i < 300; ++i) many += "<MP FQDN=\"h" + std::to_string(i) + ".example.test\"/>";
  EXPECT_EQ(code(many + "</MPList>"), "mp.list");
  EXPECT_EQ(code("<html/>"), "mp.list");
  EXPECT_EQ(code("<!DOCTYPE a><MPList/>"), "mp.reply_xml");
  EXPECT_EQ(code(std::string(2u << 20, ' ')), "mp.reply_xml");
}

TEST(Certificate, IsReadAtTheRootOrBelowAndMustBeOne) {
  const std::string hex = upper_hex(sample_identity().certificate_der);
  for (const std::string& document : {"<X509Certificate>" + hex + "</X509Certificate>",
                                      wide("<SiteSigningCert><X509Certificate>" + hex + "</X509Certificate></SiteSigningCert>"),
                                      "<MPCertificate>\r\n" + hex.substr(0, 80) + "\r\n" + hex.substr(80) + "</MPCertificate>"}) {
    const auto der = parse_certificate(sample_settings(), document);
    ASSERT_TRUE(der) << der.error().message;
    EXPECT_EQ(*der, sample_identity().certificate_der);
  }
  for (const std::string& bad : {std::string("<X509Certificate/>"), "<X509Certificate>" + hex.substr(0, hex.size() - 2) + "</X509Certificate>",
                                 "<X509Certificate>" + hex + "00</X509Certificate>", "<X509Certificate>" + std::string(100, 'A') + "</X509Certificate>"}) {
    const auto der = parse_certificate(sample_settings(), bad);
    ASSERT_FALSE(der);
    EXPECT_STREQ(der.error().code, "mp.certificate");
  }
  EXPECT_EQ(fingerprint_of("").size(), 64u);
}

TEST(KeyInformation, NamesHostAndSite) {
  const auto information = parse_key_information(
      sample_settings(), wide("<MPKEYINFORMATION><FQDN>mp01.example.test</FQDN><SITECODE>P01</SITECODE></MPKEYINFORMATION>"));
  ASSERT_TRUE(information);
  EXPECT_EQ(information->fqdn, "mp01.example.test");
  EXPECT_EQ(information->site_code, "P01");
  EXPECT_FALSE(parse_key_information(sample_settings(), "<a/>"));
}

TEST(Bootstrap, AsksAtTheDocumentedPaths) {
  EXPECT_EQ(bootstrap_target(sample_settings(), Bootstrap::mp_list), "/SMS_MP/.sms_aut?MPLIST");
  EXPECT_EQ(bootstrap_target(sample_settings(), Bootstrap::mp_list_of_site), "/SMS_MP/.sms_aut?MPLIST1&P01");
  EXPECT_EQ(bootstrap_target(sample_settings(), Bootstrap::site_signing_certificate), "/SMS_MP/.sms_aut?SITESIGNCERT");
}

}  // namespace
}  // namespace greengate::test
