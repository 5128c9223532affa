// Goal: every report has the text the specification's samples have. Method: the samples' inputs in,
// the samples out.
#include "adapters/mp/discovery.h"
#include "adapters/mp/hardware_inventory.h"
#include "adapters/mp/policy.h"
#include "adapters/mp/state_messages.h"
#include "adapters/mp/utf16.h"
#include "greengate/v1/report.pb.h"
#include "tests/adapters/mp/fixture.h"
#include "tests/adapters/mp/sample_reports.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

TEST(Discovery, EqualsTheSample) {
  const auto message =
      discovery_message(sample_settings(), sample_identity(), sample_facts(), sample_discovery());
  ASSERT_TRUE(message) << message.error().message;
  const Opened opened = open(*message);
  EXPECT_EQ(body_text(opened), sample("ddr-full.xml"));
  EXPECT_EQ(inside(opened.header, "ReplyMode"), "ASync");
  EXPECT_EQ(inside(opened.header, "TargetEndpoint"), "MP_DdrEndpoint");
  EXPECT_FALSE(message->expects_reply);
}

TEST(Discovery, LeavesOutWhatIsNotKnown) {
  v1::Discovery little;
  little.set_host_name("x");
  MpSettings settings = sample_settings();
  settings.platform_id = "{kernel}";
  settings.ad_site.clear();
  const auto message = discovery_message(settings, sample_identity(), sample_facts(), little);
  ASSERT_TRUE(message);
  const std::string body = body_text(open(*message));
  for (const char* absent :
       {"CCM_ComputerSystem", "CCM_DiscoveryData", "CCM_ADSiteInfo", "ClientIdChangeDate"})
    EXPECT_EQ(body.find(absent), std::string::npos) << absent;
  EXPECT_NE(body.find("CCM_Client"), std::string::npos);
}

TEST(Discovery, NamesThePlatformAsTheSettingSays) {
  MpSettings settings = sample_settings();
  settings.platform_id = "{kernel} on {arch}";
  v1::Discovery discovery = sample_discovery();
  discovery.set_architecture("x86_64");
  const auto message = discovery_message(settings, sample_identity(), sample_facts(), discovery);
  EXPECT_EQ(inside(body_text(open(*message)), "PlatformID"), "Linux 6.8.0-45 on x86_64");
}

TEST(Discovery, GathersTheAddressesOfOneInterface) {
  v1::Discovery discovery = sample_discovery();
  auto* second = discovery.add_addresses();
  second->CopyFrom(discovery.addresses(0));
  second->set_address("2001:db8::10");
  const auto message =
      discovery_message(sample_settings(), sample_identity(), sample_facts(), discovery);
  const std::string body = body_text(open(*message));
  EXPECT_NE(
      body.find(
          "<IPAddress>192.0.2.10</IPAddress><IPAddress>2001:db8::10</IPAddress><Index>1</Index>"),
      std::string::npos);
  EXPECT_EQ(body.find("<IPSubnet>"), body.rfind("<IPSubnet>"));
}

TEST(Discovery, RefusesAFloodOfAddresses) {
  v1::Discovery discovery;
  for (int i = 0; i < 5000; ++i) discovery.add_addresses();
  const auto message =
      discovery_message(sample_settings(), sample_identity(), sample_facts(), discovery);
  ASSERT_FALSE(message);
  EXPECT_STREQ(message.error().code, "mp.discovery_addresses");
}

Result<OutgoingMessage> full(const v1::HardwareInventory& inventory,
                             const MpSettings& settings = sample_settings()) {
  return hardware_inventory_message(settings, sample_identity(), sample_facts(), inventory);
}

TEST(HardwareInventory, EqualsTheFullSample) {
  const auto message = full(sample_inventory());
  ASSERT_TRUE(message) << message.error().message;
  const Opened opened = open(*message);
  EXPECT_EQ(body_text(opened), sample("hinv-full.xml"));
  EXPECT_EQ(inside(opened.header, "TargetEndpoint"), "MP_HinvEndpoint");
}

TEST(HardwareInventory, EqualsTheDeltaSample) {
  const MpSettings settings = sample_settings();
  const auto message = sample_delta(settings);
  ASSERT_TRUE(message);
  EXPECT_EQ(body_text(open(*message)), sample("hinv-delta.xml"));
}

TEST(HardwareInventory, LeavesOutValuesItDoesNotKnow) {
  v1::HardwareInventory inventory;
  auto* made = add_class(inventory, "C", "", {"A", "B", "D", "E"}, {0});
  auto* row = made->add_instances();
  row->add_values()->set_text("a");
  row->add_values();                          // nothing set
  row->add_values()->set_time_ms(INT64_MAX);  // no calendar has it
  const auto message = full(inventory);
  EXPECT_EQ(inside(body_text(open(*message)), "C"), "<A>a</A>");
}

TEST(HardwareInventory, KeepsHostileTextInsideItsElement) {
  v1::HardwareInventory inventory;
  add_row(add_class(inventory, "C", "", {"A"}, {0}),
          "</A><Evil a=\"1\">&]]>\x01\xFF\xED\xA0\x80 \xF0\x9F\x98\x80");
  const auto message = full(inventory);
  EXPECT_EQ(inside(body_text(open(*message)), "A"),
            "&lt;/A&gt;&lt;Evil a=\"1\"&gt;&amp;]]&gt;\xEF\xBF\xBD\xEF\xBF\xBD \xF0\x9F\x98\x80");
}

TEST(HardwareInventory, RefusesNamesThatAreNone) {
  const auto code = [](const v1::HardwareInventory& inventory) {
    const auto message = full(inventory);
    return std::string(message ? "accepted" : message.error().code);
  };
  for (const char* name : {"", "1A", "A B", "A><B", "A\"", "\xC3\x84", "A\n"}) {
    v1::HardwareInventory inventory;
    add_row(add_class(inventory, name, "", {"A"}, {0}), "a");
    EXPECT_EQ(code(inventory), "mp.inventory_class") << name;
    v1::HardwareInventory other;
    add_row(add_class(other, "C", "", {name}, {0}), "a");
    EXPECT_EQ(code(other), "mp.inventory_property") << name;
  }
  for (const char* name_space : {"cimv2", "root\\", "root\\\\cimv2", "root\\a\"b", "root/cimv2"}) {
    v1::HardwareInventory inventory;
    add_row(add_class(inventory, "C", name_space, {"A"}, {0}), "a");
    EXPECT_EQ(code(inventory), "mp.inventory_namespace") << name_space;
  }
  v1::HardwareInventory twice;
  add_row(add_class(twice, "C", "", {"A", "A"}, {0}), "a", "b");
  EXPECT_EQ(code(twice), "mp.inventory_property");
}

TEST(HardwareInventory, RefusesShapesThatContradictThemselves) {
  v1::HardwareInventory too_many_values;
  add_row(add_class(too_many_values, "C", "", {"A"}, {0}), "a", "b");
  v1::HardwareInventory no_such_key;
  add_row(add_class(no_such_key, "C", "", {"A"}, {1}), "a");
  for (const auto* inventory : {&too_many_values, &no_such_key}) {
    const auto message = full(*inventory);
    ASSERT_FALSE(message);
    EXPECT_STREQ(message.error().code, "mp.inventory_shape");
  }
}

TEST(HardwareInventory, IsNeverSentEmptyWhichWouldDeleteWhatTheSiteHas) {
  v1::HardwareInventory inventory;
  add_class(inventory, "C", "", {"A"}, {0});
  const auto message = full(inventory);
  ASSERT_FALSE(message);
  EXPECT_STREQ(message.error().code, "mp.inventory_empty");
  EXPECT_EQ(message.error().remedy, Remedy::reject);
}

TEST(HardwareInventory, IsRefusedWhenLargerThanASiteTakes) {
  MpSettings settings = sample_settings();
  settings.message_bytes_max = 64 * 1024;
  v1::HardwareInventory inventory;
  add_row(add_class(inventory, "C", "", {"A"}, {0}), v1::Value());
  inventory.mutable_classes(0)->mutable_instances(0)->mutable_values(0)->set_text(
      std::string(16 << 20, '&'));
  const auto message = full(inventory, settings);
  ASSERT_FALSE(message);
  EXPECT_STREQ(message.error().code, "mp.message_too_large");
}

TEST(InventoryLayout, AttachPutsTheHeaderInTheBodyAndTheReportInItsAttachment) {
  MpSettings settings = sample_settings();
  settings.inventory_layout = InventoryLayout::attach;
  const auto message = full(sample_inventory(), settings);
  ASSERT_TRUE(message);
  const Opened opened = open(*message);
  const std::string body = body_text(opened);
  EXPECT_TRUE(body.ends_with("<ReportBody /></Report>"));
  EXPECT_EQ(attribute(opened.header, "Attachment", "Name"),
            "{00000000-0000-0000-0000-000000000001}");
  const auto offset = std::stoul(attribute(opened.header, "Attachment", "Offset"));
  const auto length = std::stoul(attribute(opened.header, "Attachment", "Length"));
  EXPECT_EQ(utf8_from_utf16(std::string_view(opened.stream).substr(offset, length)),
            sample("hinv-full.xml"));
}

TEST(InventoryLayout, CapturedHasTheRangesOfTheCapture) {
  MpSettings settings = sample_settings();
  settings.inventory_layout = InventoryLayout::captured;
  const auto message =
      discovery_message(settings, sample_identity(), sample_facts(), sample_discovery());
  ASSERT_TRUE(message);
  const Opened opened = open(*message);
  EXPECT_EQ(body_text(opened), sample("ddr-full.xml"));
  const auto r1 = std::stoul(attribute(opened.header, "Attachment", "Length"));
  const auto r2 = sample("ddr-full.xml").size() * 2;
  EXPECT_NE(opened.header.find("<Attachment Type=\"ByteRange\" Length=\"" + std::to_string(r1) +
                               "\" Name=\"403838f7-69bb-43d5-8362-28a5755b97b5\" Offset=\"0\" />"
                               "<Attachment Length=\"" +
                               std::to_string(r2) + "\" Offset=\"" + std::to_string(r1 + 4) +
                               "\" /><Body Type=\"ByteRange\" Length=\"" + std::to_string(r2 + 2) +
                               "\" Offset=\"" + std::to_string(r1 + 4) + "\" />"),
            std::string::npos);
}

TEST(StateMessages, EqualTheSampleInOneReport) {
  const auto states = sample_states();
  const std::vector<const v1::StateMessage*> both{&states[0], &states[1]};
  const auto message =
      state_message(sample_settings(), sample_identity(), sample_facts(), both, 41);
  ASSERT_TRUE(message) << message.error().message;
  const Opened opened = open(*message);
  EXPECT_EQ(body_text(opened), sample("state-messages.xml"));
  EXPECT_EQ(inside(opened.header, "FileType"), "SMX");
  EXPECT_EQ(inside(opened.header, "TargetEndpoint"), "MP_RelayEndpoint");
}

TEST(StateMessages, CarryTheFileTypeAsAHookPropertyWhereTheSiteWantsIt) {
  MpSettings settings = sample_settings();
  settings.relay_filetype_form = FileTypeForm::hookprop;
  const auto states = sample_states();
  const std::vector<const v1::StateMessage*> one{&states[0]};
  const Opened opened = open(*state_message(settings, sample_identity(), sample_facts(), one, 1));
  EXPECT_NE(opened.header.find("<Property Name=\"FileType\">SMX</Property></Hook2>"),
            std::string::npos);
  EXPECT_EQ(opened.header.find("<FileType>"), std::string::npos);
}

TEST(StateMessages, KeepDetailsWholeWhateverTheyContain) {
  auto states = sample_states();
  states[0].set_details("a]]>b<c>");
  states[0].set_details_type(1);
  states[0].set_topic_id("\"><Topic x=\"");
  const std::vector<const v1::StateMessage*> one{&states[0]};
  const std::string body =
      body_text(open(*state_message(sample_settings(), sample_identity(), sample_facts(), one, 1)));
  EXPECT_NE(body.find("<StateDetails Type=\"1\"><![CDATA[a]]]]><![CDATA[>b<c>]]></StateDetails>"),
            std::string::npos);
  EXPECT_NE(body.find("Topic ID=\"&quot;&gt;&lt;Topic x=&quot;\""), std::string::npos);
}

TEST(StateMessages, AreRefusedWhenNoneOrFarTooMany) {
  const auto code = [](std::span<const v1::StateMessage* const> given) {
    const auto message =
        state_message(sample_settings(), sample_identity(), sample_facts(), given, 1);
    return std::string(message ? "accepted" : message.error().code);
  };
  EXPECT_EQ(code({}), "mp.state_empty");
  v1::StateMessage one;
  EXPECT_EQ(code(std::vector<const v1::StateMessage*>(10'001, &one)), "mp.state_too_many");
  for (int i = 0; i < 1'001; ++i) one.add_parameters("");
  EXPECT_EQ(code(std::vector<const v1::StateMessage*>{&one}), "mp.state_too_many");
}

TEST(Policy, RequestEqualsTheSampleAndSoDoesItsSignedEnvelope) {
  MpIdentity identity = sample_identity();
  ASSERT_TRUE(prepare_identity(sample_settings(), identity));
  const auto message = policy_request(sample_settings(), identity, sample_facts(), "");
  ASSERT_TRUE(message);
  const Opened opened = open(*message);
  EXPECT_EQ(body_text(opened), sample("policy-request.xml"));
  EXPECT_TRUE(message->expects_reply);

  // The sample has placeholders where keys and signatures stand.
  std::string header = opened.header;
  const auto blank = [&](const std::string& name, const std::string& with) {
    const auto start = header.find("<Property Name=\"" + name + "\">") + name.size() + 18;
    const std::string value = header.substr(start, header.find('<', start) - start);
    header.replace(start, value.size(), with);
    return value;
  };
  EXPECT_EQ(blank("PublicKey", "PUBLICKEYBLOB-HEX"), vectors().at("public_key_blob_hex"));
  EXPECT_EQ(blank("ClientIDSignature", "HEX"),
            vectors().at("vectors.ClientIDSignature.signature_reversed_hex"));
  EXPECT_EQ(blank("PayloadSignature", "HEX"),
            *vector_key().sign(opened.payload, SignatureHash::sha256));
  EXPECT_EQ(header, sample("msg-header-signed.xml"));
}

TEST(Policy, SignsTheClientIdEvenWhenNobodyPreparedTheIdentity) {
  const auto message =
      policy_request(sample_settings(), sample_identity(), sample_facts(), "cookie & co");
  const Opened opened = open(*message);
  EXPECT_NE(opened.header.find(vectors().at("vectors.ClientIDSignature.signature_reversed_hex")),
            std::string::npos);
  EXPECT_EQ(inside(body_text(opened), "ServerCookie"), "cookie &amp; co");
}

TEST(Message, GoesToAnotherManagementPointWithoutBeingSignedAgain) {
  const auto message = policy_request(sample_settings(), sample_identity(), sample_facts(), "");
  OutgoingMessage elsewhere = *message;
  elsewhere.http_body = message->body_for("mp02");
  const Opened before = open(*message), after = open(elsewhere);
  EXPECT_EQ(inside(after.header, "TargetHost"), "mp02");
  EXPECT_EQ(after.payload, before.payload);
  EXPECT_EQ(message->body_for("mp01.example.test"), message->http_body);
}

TEST(Message, SignsTheBodyWithItsNulWhenTheSiteWantsNoCompression) {
  MpSettings settings = sample_settings();
  settings.compress = false;
  const auto message = policy_request(settings, sample_identity(), sample_facts(), "");
  ASSERT_TRUE(message);
  EXPECT_EQ(message->http_body.find("zlib-compress"), std::string::npos);
  const std::string plain = utf16_from_utf8(sample("policy-request.xml")) + std::string(2, '\0');
  EXPECT_NE(message->http_body.find(plain + "\r\n\r\n--"), std::string::npos);
  EXPECT_NE(
      message->http_body.find(utf16_from_utf8(*vector_key().sign(plain, SignatureHash::sha256))),
      std::string::npos);
}

TEST(Message, NamesTheProxyThatSignsOnlyWhereASettingSaysHow) {
  MpSettings settings = sample_settings();
  MpIdentity identity = sample_identity();
  identity.proxy_sms_id = SmsId("GUID:5A1B7C3D-0000-4000-8000-00000000AAAA");
  EXPECT_EQ(open(*policy_request(settings, identity, sample_facts(), "")).header.find("AAAA<"),
            std::string::npos);
  settings.proxy_property = "ProxyID";
  EXPECT_NE(
      open(*policy_request(settings, identity, sample_facts(), ""))
          .header.find("<Property Name=\"ProxyID\">" + identity.proxy_sms_id.raw() + "</Property>"),
      std::string::npos);
}

TEST(NetbiosName, IsUpperCaseShortAndPlain) {
  EXPECT_EQ(netbios_name_of("lnx-a001.example.test"), "LNX-A001");
  EXPECT_EQ(netbios_name_of("a-very-long-host-name-indeed"), "A-VERY-LONG-HOS");
  EXPECT_EQ(netbios_name_of("a<b>\"c d\xC3\x84"), "ABCD");
  EXPECT_EQ(netbios_name_of(""), "UNNAMED");
  EXPECT_EQ(netbios_name_of(".x"), "UNNAMED");
}

TEST(Ids, AreReadInEitherCaseAndWrittenUpper) {
  EXPECT_EQ(parse_sms_id("guid:5a1b7c3d-0000-4000-8000-00000000a001")->raw(),
            vectors().at("smsid"));
  for (const char* bad :
       {"", "GUID:", "5A1B7C3D-0000-4000-8000-00000000A001",
        "GUID:5A1B7C3D-0000-4000-8000-00000000A00G", "GUID:5A1B7C3D00000-4000-8000-00000000A001",
        "GUID:5A1B7C3D-0000-4000-8000-00000000A0011"})
    EXPECT_FALSE(parse_sms_id(bad)) << bad;
  EXPECT_TRUE(parse_sms_id(new_sms_id().raw()));
  EXPECT_NE(new_message_id(), new_message_id());
  EXPECT_EQ(new_message_id().size(), 38u);
}

}  // namespace
}  // namespace greengate::test
