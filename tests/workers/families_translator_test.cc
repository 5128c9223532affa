// Goal: each kind becomes its endpoint's message, numbered as the protocol asks. Method: report bytes in, a message taken apart.
#include "adapters/mp/compression.h"
#include "adapters/mp/multipart.h"
#include "adapters/mp/utf16.h"
#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"
#include "workers/file_assembly.h"
#include "workers/translator.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace workers;

class FamiliesTranslator : public testing::Test {
 protected:
  FamiliesTranslator() {
    settings_.site_code = "P01";
    static const auto key = adapters::SigningKey::generate();
    identity_.key = *key;
    identity_.sms_id = SmsId("GUID:5A1B7C3D-0000-4000-8000-00000000A001");
    identity_.netbios_name = "LNX-A001";
  }

  Group group(std::uint32_t kind, std::vector<std::string> bodies) {
    Group made;
    made.kind = kind;
    for (std::string& body : bodies) {
      store::LeasedReport report;
      report.kind = kind;
      report.body = std::move(body);
      reports_.push_back(std::make_unique<store::LeasedReport>(std::move(report)));
      made.reports.push_back(reports_.back().get());
    }
    return made;
  }

  /// As the pool does it: numbers, moves the counters, translates. Answers the text of the message's stream, or the refusal's code.
  std::string stream_of(const Group& given, std::string* endpoint = nullptr) {
    auto numbering = translator_.number(given, now_, [&](const std::string& name) { return counters_[name]; });
    if (!numbering) return numbering.error().code;
    for (const auto& counter : numbering->counters) counters_[counter.name] = counter.value;
    note_ = numbering->note;
    auto message = translator_.translate(identity_, given, note_);
    if (!message) return message.error().code;
    if (endpoint) *endpoint = message->endpoint;
    EXPECT_EQ(message->message_id, note_.message_id);
    const auto parts = adapters::parse_multipart(message->http_body, message->content_type, "");
    return adapters::utf8_from_utf16(*adapters::inflate_zlib(parts->payload, 1u << 20));
  }

  adapters::MpSettings settings_;
  adapters::MpIdentity identity_;
  const Translator translator_{settings_};
  const WallTime now_ = from_millis(1'768'472'430'000);
  std::map<std::string, std::uint64_t> counters_;
  DeliveryNote note_;
  std::vector<std::unique_ptr<store::LeasedReport>> reports_;
};

v1::FileChunk chunk(std::uint32_t index, const std::string& data, const std::string& whole) {
  v1::FileChunk chunk;
  chunk.set_index(index);
  chunk.set_count(2);
  chunk.set_name("agent.conf");
  chunk.set_path("/etc/contoso/");
  chunk.set_size(whole.size());
  chunk.set_data(data);
  Sha256 hash;
  hash.add(whole);
  chunk.set_sha256(hash.digest());
  return chunk;
}

TEST_F(FamiliesTranslator, MakesOneMessageOfAFilesChunks) {
  std::string endpoint;
  const auto text = stream_of(group(v1::KIND_FILE_CHUNK, {chunk(0, "ab", "abcd").SerializeAsString(), chunk(1, "cd", "abcd").SerializeAsString()}), &endpoint);
  EXPECT_EQ(endpoint, "MP_SinvCollFileEndpoint");
  EXPECT_NE(text.find("<Version>1.0</Version>"), std::string::npos);
  EXPECT_NE(text.find("<Name>agent.conf</Name>"), std::string::npos);
}

TEST_F(FamiliesTranslator, RefusesAFileThatIsNotWhatItsHashSays) {
  EXPECT_EQ(stream_of(group(v1::KIND_FILE_CHUNK, {chunk(0, "ab", "abcd").SerializeAsString(), chunk(1, "xx", "abcd").SerializeAsString()})), "files.hash");
  EXPECT_EQ(stream_of(group(v1::KIND_FILE_CHUNK, {chunk(0, "ab", "abcd").SerializeAsString()})), "files.hash");
  EXPECT_EQ(stream_of(group(v1::KIND_FILE_CHUNK, {"\xff"})), "report.malformed");
}

TEST_F(FamiliesTranslator, NumbersEachOfTheKindsThatHaveAVersionByItself) {
  v1::MeteringData metering;
  metering.add_programs()->set_file_name("edge-agent");
  v1::IdMif mif;
  mif.set_file_name("asset.mif");
  mif.set_text("Start Component");
  for (const char* version : {"<Version>1.0</Version>", "<Version>2.0</Version>"}) {
    std::string endpoint;
    EXPECT_NE(stream_of(group(v1::KIND_METERING, {metering.SerializeAsString()}), &endpoint).find(version), std::string::npos);
    EXPECT_EQ(endpoint, "MP_RelayEndpoint");
    EXPECT_NE(stream_of(group(v1::KIND_IDMIF, {mif.SerializeAsString()}), &endpoint).find(version), std::string::npos);
    EXPECT_EQ(endpoint, "MP_RelayEndpoint");
  }
}

TEST_F(FamiliesTranslator, MakesTheSameMessageFromTheSameNote) {
  v1::MeteringData metering;
  metering.add_programs()->set_file_name("edge-agent");
  const Group given = group(v1::KIND_METERING, {metering.SerializeAsString()});
  stream_of(given);
  const auto kept = read_note(write_note(note_));
  ASSERT_TRUE(kept);
  const auto first = translator_.translate(identity_, given, note_), again = translator_.translate(identity_, given, *kept);
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->http_body, again->http_body);
}

TEST_F(FamiliesTranslator, GivesAStatusMessageNoNumber) {
  v1::StatusMessage status;
  status.set_type("SoftwareDistributionPackageEvent");
  std::string endpoint;
  EXPECT_TRUE(stream_of(group(v1::KIND_STATUS, {status.SerializeAsString()}), &endpoint)
                  .starts_with("<Status SchemaVersion=\"1.0\" CodePage=\"437\" LocaleID=\"1033\"><Type>SoftwareDistributionPackageEvent</Type>"
                               "<Properties /><Qualifiers /></Status>"));
  EXPECT_EQ(endpoint, "StatusReceiver");
  EXPECT_TRUE(counters_.empty());
}

TEST_F(FamiliesTranslator, BuriesBodiesThatAreNotWhatTheirKindSays) {
  for (const std::uint32_t kind : {v1::KIND_STATUS, v1::KIND_METERING, v1::KIND_IDMIF}) EXPECT_EQ(stream_of(group(kind, {"\xff\xff"})), "report.malformed");
}

}  // namespace
}  // namespace greengate::test
