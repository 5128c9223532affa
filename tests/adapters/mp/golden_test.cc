// Goal: each message of each endpoint and layout is, byte for byte, what the specification's samples and layout rules make of the same
// report. Method: tests/data/mp/golden, composed without the product (see its README), against the product's message taken apart.
#include "adapters/mp/discovery.h"
#include "adapters/mp/file_collection.h"
#include "adapters/mp/idmif.h"
#include "adapters/mp/metering.h"
#include "adapters/mp/software_inventory.h"
#include "adapters/mp/state_messages.h"
#include "adapters/mp/status_message.h"
#include "adapters/mp/utf16.h"
#include "tests/adapters/mp/sample_reports.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <set>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

using Make = std::function<Result<OutgoingMessage>(const MpSettings&)>;

Result<OutgoingMessage> make_discovery(const MpSettings& settings) {
  return discovery_message(settings, sample_identity(), sample_facts(), sample_discovery());
}

Result<OutgoingMessage> make_hardware(const MpSettings& settings) {
  return hardware_inventory_message(settings, sample_identity(), sample_facts(), sample_inventory());
}

Result<OutgoingMessage> make_software(const MpSettings& settings) {
  const MpIdentity identity = sample_identity();
  const ReportFacts facts = sample_facts();
  SoftwareInventoryWriter writer(settings, identity, facts, InventoryKind::full);
  EXPECT_TRUE(writer.file(sample_file(), InstanceContent::added));
  return writer.finish();
}

Result<OutgoingMessage> make_file(const MpSettings& settings) {
  const MpIdentity identity = sample_identity();
  const ReportFacts facts = sample_facts();
  const std::string bytes = sample_file_bytes();
  FileCollectionWriter writer(settings, identity, facts);
  EXPECT_TRUE(writer.begin({"agent.conf", "/etc/contoso/", bytes.size(), to_millis(on(2026, 1, 1, 0))}));
  EXPECT_TRUE(writer.data(std::string_view(bytes).substr(0, 500)));
  EXPECT_TRUE(writer.data(std::string_view(bytes).substr(500)));
  return writer.finish();
}

Result<OutgoingMessage> make_states(const MpSettings& settings) {
  const auto states = sample_states();
  const std::vector<const v1::StateMessage*> both{&states[0], &states[1]};
  return state_message(settings, sample_identity(), sample_facts(), both, 41);
}

Result<OutgoingMessage> make_status(const MpSettings& settings) {
  return status_message(settings, sample_identity(), sample_facts(), sample_status());
}

Result<OutgoingMessage> make_metering(const MpSettings& settings) {
  return metering_message(settings, sample_identity(), sample_facts(), sample_metering());
}

Result<OutgoingMessage> make_idmif(const MpSettings& settings) {
  return idmif_message(settings, sample_identity(), sample_facts(), sample_idmif());
}

struct Golden {
  Make make;
  std::function<void(MpSettings&)> change = [](MpSettings&) {};
};

const std::map<std::string, Golden>& goldens() {
  static const auto all = [] {
    std::map<std::string, Golden> made;
    const auto layouts = [&](const std::string& name, const Make& make) {
      made[name + "-inline"] = {make};
      made[name + "-attach"] = {make, [](MpSettings& s) { s.inventory_layout = InventoryLayout::attach; }};
      made[name + "-captured"] = {make, [](MpSettings& s) { s.inventory_layout = InventoryLayout::captured; }};
    };
    layouts("ddr", make_discovery);
    layouts("hinv-full", make_hardware);
    layouts("hinv-delta", sample_delta);
    layouts("sinv-full", make_software);
    made["file-collection"] = {make_file};
    made["file-collection-path"] = {make_file, [](MpSettings& s) { s.file_attachment_name = FileAttachmentName::path; }};
    made["state"] = {make_states};
    made["state-hookprop"] = {make_states, [](MpSettings& s) { s.relay_filetype_form = FileTypeForm::hookprop; }};
    made["status"] = {make_status};
    made["metering"] = {make_metering};
    made["metering-attributes"] = {make_metering, [](MpSettings& s) { s.metering_history = MeteringHistory::attributes; }};
    made["idmif"] = {make_idmif};
    made["idmif-12"] = {make_idmif, [](MpSettings& s) { s.idmif_action = 12; }};
    return made;
  }();
  return all;
}

// The header with placeholders where the keys' own bytes stand, as the sample has it; what they are, signature_test and report_test say.
std::string without_keys(std::string header) {
  for (const auto& [name, with] : {std::pair("PublicKey", "PUBLICKEYBLOB-HEX"), std::pair("ClientIDSignature", "HEX"), std::pair("PayloadSignature", "HEX")}) {
    const std::string tag = "<Property Name=\"" + std::string(name) + "\">";
    const auto start = header.find(tag) + tag.size();
    const auto end = header.find('<', start);
    EXPECT_GT(end - start, 500u) << name;
    header.replace(start, end - start, with);
  }
  return header;
}

// The stream as one reads it: texts as UTF-8, what ends a text as its bytes, and a file as it is.
std::string readable(std::string_view stream) {
  std::string out;
  while (!stream.empty()) {
    if (stream.substr(0, 2) != std::string_view("<\0", 2)) return out + "[file]\n" + std::string(stream);
    std::size_t nul = 0;
    while (nul + 2 <= stream.size() && stream.substr(nul, 2) != std::string_view("\0\0", 2)) nul += 2;
    out += utf8_from_utf16(stream.substr(0, nul)) + "\n";
    stream.remove_prefix(nul);
    if (stream.substr(0, 4) != whole_text_end) return out + "[the text does not end as it must]";
    out += "[00 00 0D 0A]\n";
    stream.remove_prefix(4);
  }
  return out;
}

class GoldenMessage : public testing::TestWithParam<std::string> {};

TEST_P(GoldenMessage, IsWhatTheSamplesSay) {
  const Golden& golden = goldens().at(GetParam());
  MpSettings settings = sample_settings();
  golden.change(settings);
  const auto message = golden.make(settings);
  ASSERT_TRUE(message) << message.error().message;
  const Opened opened = open(*message);
  EXPECT_EQ(without_keys(opened.header) + "\n" + readable(opened.stream), sample("golden/" + GetParam() + ".txt"));
  EXPECT_FALSE(message->expects_reply);
  EXPECT_EQ(message->xml_bytes, opened.stream.size());
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const auto& [name, golden] : goldens()) all.push_back(name);
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenMessage, testing::ValuesIn(names()), [](const auto& golden) {
  std::string name = golden.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(GoldenMessages, EveryStoredOneIsCompared) {
  std::set<std::string> stored;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/mp/golden"))
    if (entry.path().extension() == ".txt") stored.insert(entry.path().stem());
  std::set<std::string> compared;
  for (const auto& [name, golden] : goldens()) compared.insert(name);
  EXPECT_EQ(stored, compared);
}

TEST(CapturedLayout, KeepsTheCapturesGapsWhateverEndsOtherTexts) {
  MpSettings settings = sample_settings();
  settings.inventory_layout = InventoryLayout::captured;
  const Opened usual = open(*make_discovery(settings));
  settings.trailing_crlf = false;
  const Opened without = open(*make_discovery(settings));
  EXPECT_EQ(usual.stream, without.stream);
  settings.inventory_layout = InventoryLayout::attach;
  const Opened attach = open(*make_discovery(settings));
  EXPECT_EQ(attach.stream.size(), usual.stream.size() - 4);
  EXPECT_EQ(attribute(attach.header, "Attachment", "Offset"), attribute(attach.header, "Body", "Length"));
}

}  // namespace
}  // namespace greengate::test
