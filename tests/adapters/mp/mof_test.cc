// Goal: what greengatectl prints is the MOF a site imports, whatever a class is called. Method: the whole text against Microsoft's
// example in shape; names that would break out of it.
#include "adapters/mp/mof.h"

#include "adapters/mp/package_event.h"
#include "greengate/v1/report.pb.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace greengate::adapters {
namespace {

ClassShape asset() {
  return {"Contoso_Asset", "root\\cimv2", {"Tag"}, {{"Tag", "string"}, {"Bought", "datetime"}, {"Seats", "integer"}, {"Bytes", "unsigned"}, {"Leased", "boolean"}, {"Rooms", "list"}}};
}

// Shape of the example file of "How to import a MOF file to extend inventory" (Microsoft Learn, 2022-10-10).
TEST(Mof, DescribesAClassAsTheConsoleImportsIt) {
  const auto text = mof_text(asset());
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(*text,
            "[ SMS_Report     (TRUE),\r\n"
            "  SMS_Group_Name (\"Contoso Asset\"),\r\n"
            "  SMS_Class_ID   (\"CONTOSO|ASSET|1.0\"),\r\n"
            "  Namespace      (\"root\\\\cimv2\") ]\r\n"
            "class Contoso_Asset : SMS_Class_Template\r\n"
            "{\r\n"
            "    [ SMS_Report (TRUE), key ]\r\n"
            "    String   Tag;\r\n"
            "    [ SMS_Report (TRUE) ]\r\n"
            "    DateTime Bought;\r\n"
            "    [ SMS_Report (TRUE) ]\r\n"
            "    SInt64   Seats;\r\n"
            "    [ SMS_Report (TRUE) ]\r\n"
            "    UInt64   Bytes;\r\n"
            "    [ SMS_Report (TRUE) ]\r\n"
            "    Boolean  Leased;\r\n"
            "    [ SMS_Report (TRUE) ]\r\n"
            "    String   Rooms[];\r\n"
            "};\r\n");
}

// The guide shows what comes out of its own example.
TEST(Mof, IsWhatTheGuideShows) {
  std::ifstream file(GREENGATE_SOURCE_DIR "/docs/guide/custom_inventory.md");
  const std::string guide((std::istreambuf_iterator<char>(file)), {});
  auto text = mof_text({"Contoso_Certificate", "root\\cimv2", {"Path"}, {{"Path", "string"}, {"Size", "integer"}, {"ValidUntil", "datetime"}}});
  ASSERT_TRUE(text);
  std::erase(*text, '\r');
  EXPECT_NE(guide.find(*text), std::string::npos) << *text;
}

TEST(Mof, TakesNamesForTheConsole) {
  const auto text = mof_text(asset(), {"Racks and assets", "CONTOSO LTD", "2.1"});
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("SMS_Group_Name (\"Racks and assets\")"), std::string::npos);
  EXPECT_NE(text->find("\"CONTOSO LTD|ASSET|2.1\""), std::string::npos);
  ClassShape plain = asset();
  plain.name = "Assets";
  plain.name_space.clear();
  EXPECT_NE(mof_text(plain)->find("\"CUSTOM|ASSETS|1.0\""), std::string::npos);
}

TEST(Mof, RefusesWhatIsNoName) {
  const auto code = [](const auto& change, const MofNames& names = {}) {
    ClassShape shape = asset();
    change(shape);
    const auto text = mof_text(shape, names);
    return text ? std::string("fine") : std::string(text.error().code);
  };
  const auto nothing = [](ClassShape&) {};
  for (const char* name : {"", "A B", "A\"", "1A", "A;}", "\xC3\xA4"}) EXPECT_EQ(code([&](ClassShape& s) { s.name = name; }), "mp.mof_class") << name;
  EXPECT_EQ(code([](ClassShape& s) { s.name_space = "root\\a\"b"; }), "mp.mof_namespace");
  EXPECT_EQ(code([](ClassShape& s) { s.name_space = "cimv2"; }), "mp.mof_namespace");
  EXPECT_EQ(code([](ClassShape& s) { s.properties.clear(); }), "mp.mof_property");
  EXPECT_EQ(code([](ClassShape& s) { s.properties.resize(1'025, {"X", "string"}); }), "mp.mof_property");
  EXPECT_EQ(code([](ClassShape& s) { s.properties.push_back({"tag", "string"}); }), "mp.mof_property");
  EXPECT_EQ(code([](ClassShape& s) { s.properties.push_back({"a b", "string"}); }), "mp.mof_property");
  EXPECT_EQ(code([](ClassShape& s) { s.properties.push_back({"X", "real"}); }), "mp.mof_property");
  EXPECT_EQ(code([](ClassShape& s) { s.keys = {"Absent"}; }), "mp.mof_keys");
  EXPECT_EQ(code([](ClassShape& s) { s.keys = {"Rooms"}; }), "mp.mof_keys");
  EXPECT_EQ(code([](ClassShape& s) { s.keys.clear(); }), "mp.mof_keys");
  EXPECT_EQ(code(nothing, {"a\"b", "", ""}), "mp.mof_names");
  EXPECT_EQ(code(nothing, {"", "a|b", ""}), "mp.mof_names");
  EXPECT_EQ(code(nothing, {"", "", "1\\"}), "mp.mof_names");
}

TEST(PackageEvent, SpeaksTheSitesWords) {
  v1::StatusMessage event;
  event.set_time_ms(7);
  event.set_type("package_upgraded");
  for (const auto& [name, value] : {std::pair{"package_name", "nginx"}, {"package_version", "1.22.1-9"}, {"previous_version", "1.22.1-8"}, {"architecture", "amd64"}, {"package_system", "dpkg"}}) {
    v1::NamedText& property = *event.add_properties();
    property.set_name(name);
    property.set_value(value);
  }
  const v1::StatusMessage told = as_site_event(event);
  EXPECT_EQ(told.type(), "SoftwareDistributionPackageEvent");
  EXPECT_EQ(told.time_ms(), 7);
  std::string all;
  for (const v1::NamedText& one : told.properties()) all += one.name() + "=" + one.value() + " ";
  EXPECT_EQ(all, "PackageId=nginx PackageName=nginx PackageVersion=1.22.1-9 Action=Upgraded PreviousVersion=1.22.1-8 Architecture=amd64 PackageSystem=dpkg ");
}

TEST(PackageEvent, LeavesOtherMessagesAlone) {
  for (const char* type : {"", "SoftwareDistributionPackageEvent", "package_", "package_exploded", "other"}) {
    v1::StatusMessage event;
    event.set_type(type);
    event.add_properties()->set_name("x");
    EXPECT_EQ(as_site_event(event).SerializeAsString(), event.SerializeAsString()) << type;
  }
}

}  // namespace
}  // namespace greengate::adapters
