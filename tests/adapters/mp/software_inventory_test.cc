// Goal: a software inventory has the text of the specification's sample, whatever files a machine has. Method: files in, bytes out.
#include "adapters/mp/software_inventory.h"
#include "adapters/mp/utf16.h"
#include "greengate/v1/report.pb.h"
#include "tests/adapters/mp/sample_reports.h"

#include <gtest/gtest.h>

namespace greengate::test {
namespace {

using namespace greengate::adapters;

class SoftwareInventory : public testing::Test {
 protected:
  MpSettings settings_ = sample_settings();
  MpIdentity identity_ = sample_identity();
  ReportFacts facts_ = sample_facts();

  /// The body of a report that holds this one file; or the code of the refusal.
  std::string body_with(const v1::SoftwareFile& file, InstanceContent content = InstanceContent::added,
                        InventoryKind kind = InventoryKind::full) {
    SoftwareInventoryWriter writer(settings_, identity_, facts_, kind);
    auto written = writer.file(file, content);
    if (!written) return written.error().code;
    const auto message = writer.finish();
    return message ? body_text(open(*message)) : message.error().code;
  }
};

TEST_F(SoftwareInventory, EqualsTheFullSample) {
  SoftwareInventoryWriter writer(settings_, identity_, facts_, InventoryKind::full);
  ASSERT_TRUE(writer.file(sample_file(), InstanceContent::added));
  const auto message = writer.finish();
  ASSERT_TRUE(message) << message.error().message;
  const Opened opened = open(*message);
  EXPECT_EQ(body_text(opened), sample("sinv-full.xml"));
  EXPECT_EQ(inside(opened.header, "TargetEndpoint"), "MP_SinvEndpoint");
  EXPECT_EQ(inside(opened.header, "ReplyMode"), "ASync");
  EXPECT_NE(opened.header.find("PayloadSignature"), std::string::npos);
}

TEST_F(SoftwareInventory, WritesOfADeletedFileItsKeysOnly) {
  facts_.version_minor = 3;
  const std::string body = body_with(sample_file(), InstanceContent::deleted, InventoryKind::delta);
  EXPECT_EQ(inside(body, "FileSystemFile"), "<Name>edge-agent</Name><Path>/opt/contoso/bin/</Path>");
  EXPECT_NE(body.find(" Content=\"Deleted\">"), std::string::npos);
  EXPECT_EQ(inside(body, "ReportType"), "Delta");
  EXPECT_EQ(inside(body, "Version"), "1.3");
}

TEST_F(SoftwareInventory, CallsAChangedFileUpdatedAndWritesItWhole) {
  const std::string body = body_with(sample_file(), InstanceContent::updated, InventoryKind::delta);
  EXPECT_NE(body.find(" Content=\"Updated\">"), std::string::npos);
  EXPECT_EQ(inside(body, "Size"), "1048576");
}

TEST_F(SoftwareInventory, LeavesOutWhatIsNotKnownButAnEmptyFileHasASize) {
  v1::SoftwareFile file;
  file.set_name("lock");
  file.set_path("/run/");
  EXPECT_EQ(inside(body_with(file), "FileSystemFile"), "<Name>lock</Name><Path>/run/</Path><Size>0</Size>");
  file.set_modified_ms(INT64_MAX);  // no calendar has it
  EXPECT_EQ(inside(body_with(file), "FileSystemFile"), "<Name>lock</Name><Path>/run/</Path><Size>0</Size>");
}

TEST_F(SoftwareInventory, KeepsHostileNamesInsideTheirElementAndApart) {
  v1::SoftwareFile file = sample_file();
  file.set_name("a\x01<Name>&\\b");
  file.set_path("/tmp/\n/");
  const std::string body = body_with(file);
  EXPECT_EQ(inside(body, "Name"), "a\\x01&lt;Name&gt;&amp;\\b");
  EXPECT_EQ(inside(body, "Path"), "/tmp/\\x0a/");
  file.set_name("a\x02<Name>&\\b");
  EXPECT_NE(inside(body_with(file), "Name"), inside(body, "Name"));
}

TEST_F(SoftwareInventory, RefusesNamesNoFileCanHave) {
  const std::string nul("a\0b", 3);
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("a/b"), nul, std::string(256, 'n')}) {
    v1::SoftwareFile file = sample_file();
    file.set_name(name);
    EXPECT_EQ(body_with(file), "mp.inventory_file") << name;
  }
  for (const std::string& path : {std::string(), nul, std::string(4097, 'p')}) {
    v1::SoftwareFile file = sample_file();
    file.set_path(path);
    EXPECT_EQ(body_with(file), "mp.inventory_file");
  }
}

TEST_F(SoftwareInventory, IsNeverSentEmptyAndNeverTooLarge) {
  SoftwareInventoryWriter empty(settings_, identity_, facts_, InventoryKind::full);
  const auto nothing = empty.finish();
  ASSERT_FALSE(nothing);
  EXPECT_STREQ(nothing.error().code, "mp.inventory_empty");
  EXPECT_EQ(nothing.error().remedy, Remedy::reject);

  settings_.message_bytes_max = 64 * 1024;
  v1::SoftwareFile file = sample_file();
  file.set_file_description(std::string(1 << 20, '&'));
  EXPECT_EQ(body_with(file), "mp.message_too_large");
}

TEST_F(SoftwareInventory, StandsInTheAttachmentNamedAfterItsActionWhereTheSiteWantsThat) {
  settings_.inventory_layout = InventoryLayout::attach;
  SoftwareInventoryWriter writer(settings_, identity_, facts_, InventoryKind::full);
  ASSERT_TRUE(writer.file(sample_file(), InstanceContent::added));
  const auto message = writer.finish();
  ASSERT_TRUE(message);
  const Opened opened = open(*message);
  EXPECT_TRUE(body_text(opened).ends_with("<ReportBody /></Report>"));
  EXPECT_EQ(attribute(opened.header, "Attachment", "Name"), "{00000000-0000-0000-0000-000000000002}");
  const auto offset = std::stoul(attribute(opened.header, "Attachment", "Offset"));
  const auto length = std::stoul(attribute(opened.header, "Attachment", "Length"));
  EXPECT_EQ(utf8_from_utf16(std::string_view(opened.stream).substr(offset, length)), sample("sinv-full.xml"));
}

}  // namespace
}  // namespace greengate::test
