#include "adapters/mdm/enrolments.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace greengate::test {
namespace {

using namespace adapters;

const std::string print_a(64, 'a'), print_b(64, 'b');

std::string row(const std::string& name, const std::string& id, const std::string& more) {
  return "[[device]]\nname = \"" + name + "\"\ndevice_id = \"" + id + "\"\n" + more + "\n";
}
std::string by_print(const std::string& print) { return "certificate_sha256 = \"" + print + "\""; }
std::string refusal(const std::string& text) {
  const auto read = Enrolments::from_text(text, "devices.toml");
  return read ? "read" : read.error().message;
}

TEST(Enrolments, a_certificate_is_found_by_its_fingerprint_however_it_is_written) {
  std::string colons;
  for (int i = 0; i < 32; ++i) colons += i ? ":AA" : "AA";
  const auto table = Enrolments::from_text(row("PC-1", "0f1e", by_print(colons)), "devices.toml");
  ASSERT_TRUE(table) << table.error().message;
  DmPeer peer;
  peer.fingerprint = print_a;
  ASSERT_NE((*table)->of(peer), nullptr);
  EXPECT_EQ((*table)->of(peer)->name, "PC-1");
  EXPECT_NE((*table)->of_device("0F1E"), nullptr);
  peer.fingerprint = print_b;
  EXPECT_EQ((*table)->of(peer), nullptr);
  peer.fingerprint.clear();
  EXPECT_EQ((*table)->of(peer), nullptr);
  EXPECT_FALSE((*table)->needs_authority());
}

TEST(Enrolments, serial_and_issuer_count_only_under_a_known_authority) {
  const auto table = Enrolments::from_text(row("PC-1", "0F1E", "certificate_serial = \"00:0A:FF\"\ncertificate_issuer = \"CN=Device CA\""), "devices.toml");
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_TRUE((*table)->needs_authority());
  DmPeer peer;
  peer.fingerprint = print_a;
  peer.serial = "aff";
  peer.issuer = "CN=Device CA";
  EXPECT_EQ((*table)->of(peer), nullptr);
  peer.trusted = true;
  EXPECT_NE((*table)->of(peer), nullptr);
  peer.issuer = "CN=Other CA";
  EXPECT_EQ((*table)->of(peer), nullptr);
}

TEST(Enrolments, mistakes_are_told_with_their_line) {
  const auto says = [](const std::string& text, const std::string& part) {
    EXPECT_NE(refusal(text).find(part), std::string::npos) << refusal(text);
  };
  EXPECT_EQ(refusal(""), "read");
  says("x = 1", "[[device]]");
  says("[[device]]\nname = ", "devices.toml:2");
  says("device = 1", "[[device]] row");
  says(row("", "1", by_print(print_a)), "1 to 256 bytes");
  says("[[device]]\nname = \"a\"\n" + by_print(print_a), "device_id is missing");
  says(row("a", "1", ""), "either certificate_sha256");
  says(row("a", "1", "certificate_serial = \"1\""), "either certificate_sha256");
  says(row("a", "1", by_print(print_a) + "\ncertificate_serial = \"1\"\ncertificate_issuer = \"x\""), "either certificate_sha256");
  says(row("a", "1", by_print("abc")), "64 hex digits");
  says(row("a", "1", by_print(std::string(64, 'x'))), "64 hex digits");
  says(row("a", "1", by_print(print_a) + "\nuser = \"u\""), "go together");
  says(row("a", "1", by_print(print_a) + "\ncolour = \"u\""), "no key of a device");
  says(row("a", "1", by_print(print_a)) + row("a", "2", by_print(print_b)), "name is in the file twice");
  says(row("a", "0f", by_print(print_a)) + row("b", "0F", by_print(print_b)), "device_id is in the file twice");
  says(row("a", "1", by_print(print_a)) + row("b", "2", by_print(print_a)), "certificate is in the file twice");
}

TEST(Enrolments, a_file_with_passwords_is_for_its_owner_alone) {
  const std::string path = (std::filesystem::temp_directory_path() / ("enrolments-" + std::to_string(::getpid()) + ".toml")).string();
  std::ofstream(path) << row("a", "1", by_print(print_a) + "\nuser = \"u\"\npassword = \"p\"");
  ::chmod(path.c_str(), 0644);
  const auto open = Enrolments::from_file(path);
  ASSERT_FALSE(open);
  EXPECT_NE(open.error().message.find("0600"), std::string::npos);
  ::chmod(path.c_str(), 0600);
  EXPECT_TRUE(Enrolments::from_file(path));
  std::filesystem::remove(path);
  EXPECT_FALSE(Enrolments::from_file(path));
}

}  // namespace
}  // namespace greengate::test
