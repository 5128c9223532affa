// Goal: files, IDMIF, metering and status survive what a hostile agent names and sends. Method: odd reports in, texts or codes out.
#include "adapters/mp/file_collection.h"
#include "adapters/mp/file_names.h"
#include "adapters/mp/idmif.h"
#include "adapters/mp/metering.h"
#include "adapters/mp/status_message.h"
#include "tests/adapters/mp/sample_reports.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

std::string code_of(const Result<OutgoingMessage>& message) { return message ? "accepted" : message.error().code; }

class FileCollection : public testing::Test {
 protected:
  MpSettings settings_ = sample_settings();
  MpIdentity identity_ = sample_identity();
  ReportFacts facts_ = sample_facts();

  Result<OutgoingMessage> collected(std::string_view name, std::string_view path, std::string_view bytes, std::size_t announced) {
    FileCollectionWriter writer(settings_, identity_, facts_);
    if (auto begun = writer.begin({name, path, announced, 0}); !begun) return pass(begun);
    if (auto written = writer.data(bytes); !written) return pass(written);
    return writer.finish();
  }
};

TEST_F(FileCollection, CarriesAnyBytesUnchanged) {
  std::string bytes;
  for (int i = 0; i < 70'000; ++i) bytes.push_back(static_cast<char>((i * 7919) >> 3));
  const auto message = collected("core", "/var/", bytes, bytes.size());
  ASSERT_TRUE(message) << message.error().message;
  const Opened opened = open(*message);
  const auto offset = std::stoul(attribute(opened.header, "Attachment", "Offset"));
  EXPECT_EQ(std::stoul(attribute(opened.header, "Attachment", "Length")), bytes.size());
  EXPECT_EQ(opened.stream.substr(offset), bytes);
}

TEST_F(FileCollection, TakesAnEmptyFile) {
  const auto message = collected("empty", "/var/", "", 0);
  ASSERT_TRUE(message);
  EXPECT_EQ(inside(body_text(open(*message)), "Size"), "0");
}

TEST_F(FileCollection, RefusesMoreOrFewerBytesThanAnnounced) {
  EXPECT_EQ(code_of(collected("a", "/", "12345", 4)), "mp.file_size");
  EXPECT_EQ(code_of(collected("a", "/", "123", 4)), "mp.file_size");
  EXPECT_EQ(code_of(collected("a", "/", "1234", 4)), "accepted");
}

TEST_F(FileCollection, RefusesAnImpossibleSizeBeforeItMakesRoom) {
  EXPECT_EQ(code_of(collected("a", "/", "", std::size_t{1} << 62)), "mp.message_too_large");
  settings_.message_bytes_max = 64 * 1024;
  EXPECT_EQ(code_of(collected("a", "/", std::string(65'000, 'x'), 65'000)), "mp.message_too_large");
}

TEST_F(FileCollection, NeverLetsANameBecomeAPathAtTheSite) {
  for (const auto& [name, attached] : std::map<std::string, std::string>{{"..\\..\\boot.ini", ".._.._boot.ini"},
                                                                          {"a:stream", "a_stream"},
                                                                          {"x\ny<>\"|?*", "x_y______"},
                                                                          {"ends. ", "ends._"}}) {
    const auto message = collected(name, "/etc/", "", 0);
    ASSERT_TRUE(message);
    EXPECT_EQ(attribute(open(*message).header, "Attachment", "Name"), attached);
  }
  EXPECT_EQ(code_of(collected("../x", "/etc/", "", 0)), "mp.file_name");
  EXPECT_EQ(code_of(collected("", "/etc/", "", 0)), "mp.file_name");
  EXPECT_EQ(code_of(collected("x", "", "", 0)), "mp.file_name");
  EXPECT_EQ(code_of(collected(std::string(256, 'x'), "/", "", 0)), "mp.file_name");
}

TEST_F(FileCollection, NamesThePathOnlyWhereAskedAndThenWithoutClimbing) {
  settings_.file_attachment_name = FileAttachmentName::path;
  const auto message = collected("x", "/etc/../root/", "", 0);
  ASSERT_TRUE(message);
  EXPECT_EQ(attribute(open(*message).header, "Attachment", "Name"), "/etc/_/root/x");
}

TEST_F(FileCollection, GivesAFileWithoutADateTheReportsOwn) {
  FileCollectionWriter writer(settings_, identity_, facts_);
  ASSERT_TRUE(writer.begin({"x", "/", 0, INT64_MIN}));
  EXPECT_EQ(inside(body_text(open(*writer.finish())), "LastWriteDate"), "20260115102030.000000+000");
}

TEST(FileNames, StayApartWhenMadePrintable) {
  EXPECT_EQ(printable_name("plain"), "plain");
  EXPECT_EQ(printable_name("a\x1f" "b\x7f"), "a\\x1fb\\x7f");
  EXPECT_NE(printable_name("a\x01"), printable_name("a\x02"));
}

TEST(Idmif, RefusesWhatNoSiteTakes) {
  const auto code = [](const std::string& name, std::size_t bytes) {
    v1::IdMif file;
    file.set_file_name(name);
    file.set_text(std::string(bytes, 'x'));
    return code_of(idmif_message(sample_settings(), sample_identity(), sample_facts(), file));
  };
  EXPECT_EQ(code("a.mif", 0), "mp.idmif_empty");
  EXPECT_EQ(code("a.mif", 5'120 * 1024), "accepted");
  EXPECT_EQ(code("a.mif", 5'120 * 1024 + 1), "mp.idmif_too_large");
  EXPECT_EQ(code("a/b.mif", 10), "mp.file_name");
  EXPECT_EQ(code("", 10), "mp.file_name");
}

TEST(Metering, KeepsHostileNamesInsideTheirAttributes) {
  v1::MeteringData data = sample_metering();
  data.mutable_programs(0)->set_file_name("x\" y=\"<&\n\x01");
  const auto message = metering_message(sample_settings(), sample_identity(), sample_facts(), data);
  ASSERT_TRUE(message);
  EXPECT_EQ(attribute(body_text(open(*message)), "SoftwareFileInfo", "FileName"), "x&quot; y=&quot;&lt;&amp;&#10;");
}

TEST(Metering, SaysOfAProgramStillRunningNoEnd) {
  MpSettings settings = sample_settings();
  settings.metering_history = MeteringHistory::attributes;
  v1::MeteringData data = sample_metering();
  data.mutable_programs(0)->mutable_uses(0)->set_last_end_ms(0);
  data.add_programs()->set_file_name("unused");
  const std::string body = body_text(open(*metering_message(settings, sample_identity(), sample_facts(), data)));
  EXPECT_EQ(body.find("EndTime"), std::string::npos);
  EXPECT_NE(body.find("FileName=\"unused\" FileSize=\"0\"><HistoricalMeterData></HistoricalMeterData>"), std::string::npos);
}

TEST(Metering, IsRefusedWhenEmptyOrFarTooLong) {
  const auto code = [](const v1::MeteringData& data) {
    return code_of(metering_message(sample_settings(), sample_identity(), sample_facts(), data));
  };
  EXPECT_EQ(code({}), "mp.metering_empty");
  v1::MeteringData data;
  for (int i = 0; i < 10'001; ++i) data.add_programs();
  EXPECT_EQ(code(data), "mp.metering_too_many");
  v1::MeteringData one;
  one.add_programs();
  for (int i = 0; i < 1'001; ++i) one.mutable_programs(0)->add_uses();
  EXPECT_EQ(code(one), "mp.metering_too_many");
}

TEST(Status, IsSignedAndWithoutAnXmlDeclaration) {
  const auto message = status_message(sample_settings(), sample_identity(), sample_facts(), sample_status());
  ASSERT_TRUE(message);
  const Opened opened = open(*message);
  EXPECT_NE(opened.header.find("PayloadSignature"), std::string::npos);
  EXPECT_TRUE(body_text(opened).starts_with("<Status "));
}

TEST(Status, WritesQualifiersAsItWritesProperties) {
  v1::StatusMessage status = sample_status();
  auto* qualifier = status.add_qualifiers();
  qualifier->set_name("a\"b");
  qualifier->set_value("</Qualifier>");
  const std::string body = body_text(open(*status_message(sample_settings(), sample_identity(), sample_facts(), status)));
  EXPECT_EQ(inside(body, "Qualifiers"), "<Qualifier Name=\"a&quot;b\">&lt;/Qualifier&gt;</Qualifier>");
}

TEST(Status, IsRefusedWithoutATypeOrWithNamelessOrFarTooManyProperties) {
  const auto code = [](const v1::StatusMessage& status) {
    return code_of(status_message(sample_settings(), sample_identity(), sample_facts(), status));
  };
  EXPECT_EQ(code({}), "mp.status_type");
  v1::StatusMessage status = sample_status();
  status.add_qualifiers()->set_value("nameless");
  EXPECT_EQ(code(status), "mp.status_property");
  status = sample_status();
  while (status.properties_size() <= 1'000) *status.add_properties() = status.properties(0);
  EXPECT_EQ(code(status), "mp.status_too_many");
}

}  // namespace
}  // namespace greengate::test
