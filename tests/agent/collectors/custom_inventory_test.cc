// Goal: a script can add its classes, and nothing a script does can take anything away. Method: real scripts in a folder of the
// test's own, and output no script should print.
#include "agent/collectors/custom_inventory.h"
#include "tests/agent/collectors/recorded_machine.h"
#include "tests/agent/scratch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::Scratch;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string code_of(const std::string& output) {
  const auto read = read_custom_classes(output);
  return read ? "fine" : std::string(read.error().code);
}

TEST(CustomClass, ReadsEveryType) {
  const auto read = read_custom_classes(R"({"class": "Contoso_Thing", "namespace": "root\\cimv2\\contoso", "keys": ["Id"], "instances": [
    {"Id": "1", "Count": -3, "On": true, "Bought": "2024-05-01T10:20:30+02:00", "Names": ["a", 2], "Nothing": null, "Dash": "2024"},
    {"Id": "2", "Count": 5}]})");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_THAT(*read, SizeIs(1));
  const v1::InventoryClass& one = read->front();
  EXPECT_EQ(one.name(), "Contoso_Thing");
  EXPECT_EQ(one.name_space(), "root\\cimv2\\contoso");
  EXPECT_THAT(one.properties(), ElementsAre("Id", "Bought", "Count", "Dash", "Names", "Nothing", "On")) << "keys, then by name";
  EXPECT_THAT(one.key_properties(), ElementsAre(0u));
  ASSERT_EQ(one.instances_size(), 2);
  const auto& values = one.instances(0).values();
  EXPECT_EQ(values[1].time_ms(), 1'714'551'630'000);
  EXPECT_EQ(values[2].integer(), -3);
  EXPECT_EQ(values[3].text(), "2024");
  EXPECT_THAT(values[4].list().items(), ElementsAre("a", "2"));
  EXPECT_EQ(values[5].kind_case(), v1::Value::KIND_NOT_SET);
  EXPECT_TRUE(values[6].boolean());
}

TEST(CustomClass, DeclaredTypesRule) {
  const auto read = read_custom_classes(R"({"class": "C_T", "keys": ["Id"], "properties": {"When": "string", "Id": "string", "Size": "unsigned"},
    "instances": [{"Id": "1", "When": "2024-05-01T10:20:30Z", "Size": 18446744073709551615}]})");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_THAT(read->front().properties(), ElementsAre("Id", "When", "Size")) << "keys, then as declared";
  EXPECT_EQ(read->front().instances(0).values(1).text(), "2024-05-01T10:20:30Z");
  EXPECT_EQ(read->front().instances(0).values(2).unsigned_integer(), 18'446'744'073'709'551'615ull);
  EXPECT_EQ(read->front().name_space(), "root\\cimv2");
}

TEST(CustomClass, TextsThatOnlySometimesLookLikeTimesAreTexts) {
  const auto read = read_custom_classes(R"({"class": "C_T", "keys": ["Id"], "instances": [{"Id": "1", "V": "2024-05-01T10:20:30Z"}, {"Id": "2", "V": "never"}]})");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->front().instances(0).values(1).text(), "2024-05-01T10:20:30Z");
}

TEST(CustomClass, ReadsSeveralObjectsWithAndWithoutLines) {
  const std::string one = R"({"class": "A_B", "keys": ["Id"], "instances": []})", other = R"({"class": "A_C", "keys": ["Id"], "instances": [{"Id": 1}]})";
  for (const std::string& output : {one + "\n" + other + "\n", one + other, "\n\n" + one + " \r\n\t" + other, "\xEF\xBB\xBF" + one + other}) {
    const auto read = read_custom_classes(output);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_THAT(*read, SizeIs(2));
  }
  EXPECT_EQ(code_of(one + "\n" + one), "custom.class") << "the same class twice";
}

TEST(CustomClass, NamesWhatIsWrong) {
  const auto object = [](const std::string& inside) { return "{" + inside + "}"; };
  EXPECT_EQ(code_of(""), "custom.json");
  EXPECT_EQ(code_of("hello"), "custom.json");
  EXPECT_EQ(code_of("[]"), "custom.json");
  EXPECT_EQ(code_of("{\"class\": "), "custom.json");
  EXPECT_EQ(code_of(std::string(100, '[')), "custom.json") << "too deep";
  EXPECT_EQ(code_of("{}"), "custom.class");
  EXPECT_EQ(code_of(object(R"("class": "A_B")")), "custom.class") << "no instances";
  EXPECT_EQ(code_of(object(R"("class": "A_B", "instances": [])")), "custom.class") << "no keys";
  EXPECT_EQ(code_of(object(R"("class": "A_B", "keys": [], "instances": [])")), "custom.class");
  EXPECT_EQ(code_of(object(R"("class": "A_B", "keys": [1], "instances": [])")), "custom.class");
  EXPECT_EQ(code_of(object(R"("class": "A_B", "keys": ["Id"], "instances": {})")), "custom.class");
  EXPECT_EQ(code_of(object(R"("class": "A_B", "keys": ["Id"], "instances": [], "extra": 1)")), "custom.class");
  for (const char* name : {"", "1A", "A-B", "A B", "A<B", "_A", "A\\u00e4"})
    EXPECT_EQ(code_of(object("\"class\": \"" + std::string(name) + R"(", "keys": ["Id"], "instances": [])")), "custom.class") << name;
  for (const char* space : {"", "cimv2", "root\\\\", "root\\\\a b", "\\\\\\\\host\\\\root"})
    EXPECT_EQ(code_of(object(R"("class": "A_B", "namespace": ")" + std::string(space) + R"(", "keys": ["Id"], "instances": [])")), "custom.class") << space;
  const auto instance = [&](const std::string& inside, const std::string& more = "") {
    return object(R"("class": "A_B", "keys": ["Id"], )" + more + R"("instances": [{"Id": "1"}, )" + inside + "]");
  };
  EXPECT_EQ(code_of(instance(R"({"Id": "2"})")), "fine");
  EXPECT_EQ(code_of(instance("7")), "custom.instance");
  EXPECT_EQ(code_of(instance(R"({"Other": "2"})")), "custom.instance") << "no key";
  EXPECT_EQ(code_of(instance(R"({"Id": null})")), "custom.instance");
  EXPECT_EQ(code_of(instance(R"({"Id": "1"})")), "custom.instance") << "the same key twice";
  EXPECT_EQ(code_of(instance(R"({"Id": 2})")), "custom.instance") << "another type";
  EXPECT_EQ(code_of(instance(R"({"Id": "2", "X": 1.5})")), "custom.instance");
  EXPECT_EQ(code_of(instance(R"({"Id": "2", "X": {"deep": 1}})")), "custom.instance");
  EXPECT_EQ(code_of(instance(R"({"Id": "2", "X": [true]})")), "custom.instance");
  EXPECT_EQ(code_of(instance(R"({"Id": "2", "X": 1})", R"("properties": {"Y": "integer"}, )")), "custom.instance") << "not declared";
  EXPECT_EQ(code_of(instance(R"({"Id": "2", "X": "soon"})", R"("properties": {"X": "datetime"}, )")), "custom.instance");
  EXPECT_EQ(code_of(instance(R"({"Id": "2", "X": -1})", R"("properties": {"X": "unsigned"}, )")), "custom.instance");
  EXPECT_EQ(code_of(instance(R"({"Id": "2"})", R"("properties": {"X": "float"}, )")), "custom.property");
  EXPECT_EQ(code_of(instance(R"({"Id": "2"})", R"("properties": {"x y": "string"}, )")), "custom.property");
  EXPECT_EQ(code_of(instance(R"({"Id": "2"})", R"("properties": {"ID": "string"}, )")), "custom.property") << "Id in other letters";
  EXPECT_EQ(code_of(instance(R"({"Id": "2", "id": "3"})")), "custom.property");
}

TEST(CustomClass, IsBounded) {
  std::string instances, properties, classes;
  for (int i = 0; i <= 2'000; ++i) instances += (i ? ", " : "") + std::string(R"({"Id": )") + std::to_string(i) + "}";
  for (int i = 0; i <= 128; ++i) properties += ", \"P" + std::to_string(i) + "\": 1";
  for (int i = 0; i <= 16; ++i) classes += R"({"class": "A_)" + std::to_string(i) + R"(", "keys": ["Id"], "instances": []})";
  EXPECT_EQ(code_of(R"({"class": "A_B", "keys": ["Id"], "instances": [)" + instances + "]}"), "custom.too_many");
  EXPECT_EQ(code_of(R"({"class": "A_B", "keys": ["Id"], "instances": [{"Id": 1)" + properties + "}]}"), "custom.too_many");
  EXPECT_EQ(code_of(classes), "custom.too_many");
  const auto read = read_custom_classes(R"({"class": "A_B", "keys": ["Id"], "instances": [{"Id": ")" + std::string(10'000, 'x') + "\"}]}");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->front().instances(0).values(0).text().size(), 255u);
}

TEST(CustomClass, TextsBecomeFitForAReport) {
  const auto read = read_custom_classes(R"({"class": "A_B", "keys": ["Id"], "instances": [{"Id": " a\u0000b\u001b[31m\uffff ", "L": ["\u0007"]}]})");
  ASSERT_TRUE(read) << read.error().message;
  v1::HardwareInventory inventory;
  *inventory.add_classes() = read->front();
  EXPECT_EQ(test::what_is_wrong(inventory), "");
}

class CustomInventoryTest : public ::testing::Test {
 protected:
  CustomInventoryTest() {
    config_.folder = scratch_.file("inventory.d");
    std::filesystem::create_directory(config_.folder);
    chmod(config_.folder.c_str(), 0755);
    config_.script.patience = 20s;
  }
  void script(const std::string& name, const std::string& text, mode_t mode = 0755) {
    const std::string path = config_.folder + "/" + name;
    std::ofstream(path) << text;
    chmod(path.c_str(), mode);
  }
  void prints(const std::string& name, const std::string& output) { script(name, "#!/bin/sh\ncat <<'END'\n" + output + "\nEND\n"); }
  static std::string thing(const std::string& name) { return R"({"class": ")" + name + R"(", "keys": ["Id"], "instances": [{"Id": "1"}]})"; }
  std::vector<std::string> collect() {
    inventory_.Clear();
    problems_.clear();
    collect_custom_inventory(config_, inventory_, problems_);
    std::vector<std::string> names;
    for (const auto& one : inventory_.classes()) names.push_back(one.name());
    return names;
  }
  std::vector<std::string> codes() const {
    std::vector<std::string> all;
    for (const ScriptProblem& one : problems_) all.push_back(one.script + " " + one.code);
    return all;
  }
  Scratch scratch_;
  CustomInventoryConfig config_;
  v1::HardwareInventory inventory_;
  std::vector<ScriptProblem> problems_;
};

TEST_F(CustomInventoryTest, ScriptsAddTheirClassesInTheOrderOfTheirNames) {
  prints("20-b", thing("Contoso_B"));
  prints("10-a", thing("Contoso_A"));
  script("notes.txt", "not executable", 0644);
  script(".hidden", "#!/bin/sh\nexit 1\n");
  std::filesystem::create_directory(config_.folder + "/folder");
  EXPECT_THAT(collect(), ElementsAre("Contoso_A", "Contoso_B"));
  EXPECT_THAT(problems_, IsEmpty());
  EXPECT_EQ(test::what_is_wrong(inventory_), "");
}

TEST_F(CustomInventoryTest, AScriptThatFailsTakesNothingFromTheOthers) {
  prints("10-good", thing("Contoso_A"));
  prints("20-text", "not json");
  script("30-exit", "#!/bin/sh\necho '" + thing("Contoso_X") + "'\necho 'no licence' >&2\nexit 3\n");
  script("40-signal", "#!/bin/sh\nkill -SEGV $$\n");
  script("50-flood", "#!/bin/sh\nwhile :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done\n");
  script("60-interpreter", "#!/no/such/interpreter\n");
  script("70-no-script", "just words\n");
  script("75-chatty", "#!/bin/sh\nhead -c 1000000 /dev/zero >&2\necho '" + thing("Contoso_Y") + "'\n");
  prints("80-silent", "");
  prints("90-good", thing("Contoso_B"));
  EXPECT_THAT(collect(), ElementsAre("Contoso_A", "Contoso_Y", "Contoso_B"));
  EXPECT_THAT(codes(), ElementsAre("20-text custom.json", "30-exit script.exit", "40-signal script.signal", "50-flood script.output",
                                   "60-interpreter script.start", "70-no-script script.start", "80-silent custom.json"));
  EXPECT_THAT(problems_[1].message, HasSubstr("status 3. It said: no licence"));
}

TEST_F(CustomInventoryTest, AScriptThatHangsIsEndedWithAllItStarted) {
  config_.script.patience = 500ms;
  const std::string mark = scratch_.file("alive");
  script("10-hangs", "#!/bin/sh\n(sleep 3600; touch " + mark + ") &\necho $! > " + scratch_.file("pid") + "\nsleep 3600\n");
  prints("20-good", thing("Contoso_A"));
  EXPECT_THAT(collect(), ElementsAre("Contoso_A"));
  EXPECT_THAT(codes(), ElementsAre("10-hangs script.timeout"));
  pid_t child = 0;
  std::ifstream(scratch_.file("pid")) >> child;
  ASSERT_GT(child, 0);
  const auto until = std::chrono::steady_clock::now() + 10s;
  const auto runs = [&] {
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string id, name, state;
    return stat >> id >> name >> state && state != "Z";
  };
  while (runs() && std::chrono::steady_clock::now() < until) usleep(1'000);
  EXPECT_FALSE(runs());
}

TEST_F(CustomInventoryTest, AllScriptsTogetherHaveABoundToo) {
  config_.together = 300ms;
  script("10-slow", "#!/bin/sh\nsleep 3600\n");
  prints("20-late", thing("Contoso_A"));
  EXPECT_THAT(collect(), IsEmpty());
  EXPECT_THAT(codes(), ElementsAre("10-slow script.timeout", "20-late custom.time"));
}

TEST_F(CustomInventoryTest, MemoryIsBoundedAndPriorityLow) {
  config_.script.memory_bytes = 64 << 20;
  script("10-greedy", "#!/usr/bin/python3\nx = bytearray(1 << 30)\nprint('never')\n");
  script("20-polite",
         "#!/bin/sh\nread -r line < /proc/self/stat\nset -- $line\nnice=${19}\n[ \"$(pwd)\" = / ] && [ \"$HOME\" = / ] && [ -z \"$SECRET\" ] && "
         "echo \"{\\\"class\\\": \\\"Contoso_Nice\\\", \\\"keys\\\": [\\\"Id\\\"], \\\"instances\\\": [{\\\"Id\\\": $nice, \\\"Open\\\": \\\"$(ls /proc/self/fd | tr '\\n' ' ')\\\"}]}\"\n");
  setenv("SECRET", "of the agent", 1);
  EXPECT_THAT(collect(), ElementsAre("Contoso_Nice"));
  EXPECT_THAT(codes(), ElementsAre("10-greedy script.exit"));
  EXPECT_EQ(inventory_.classes(0).instances(0).values(0).integer(), 19);
  EXPECT_EQ(inventory_.classes(0).instances(0).values(1).text(), "0 1 2 3") << "3 is ls's own";
}

TEST_F(CustomInventoryTest, RunsOnlyWhatNobodyElseCouldHaveWritten) {
  prints("good", thing("Contoso_A"));
  prints("group", thing("Contoso_B"));
  chmod((config_.folder + "/group").c_str(), 0775);
  prints("world", thing("Contoso_C"));
  chmod((config_.folder + "/world").c_str(), 0757);
  ASSERT_EQ(symlink((config_.folder + "/good").c_str(), (config_.folder + "/link").c_str()), 0);
  EXPECT_THAT(collect(), ElementsAre("Contoso_A"));
  EXPECT_THAT(codes(), ElementsAre("group custom.owner", "link custom.owner", "world custom.owner"));
  if (geteuid() == 0) {
    ASSERT_EQ(chown((config_.folder + "/good").c_str(), 12'345, 0), 0);
    EXPECT_THAT(collect(), IsEmpty());
    ASSERT_EQ(chown((config_.folder + "/good").c_str(), 0, 0), 0);
  }
  chmod(config_.folder.c_str(), 0777);
  EXPECT_THAT(collect(), IsEmpty());
  EXPECT_THAT(codes(), ElementsAre(" custom.folder"));
}

TEST_F(CustomInventoryTest, NamesThatAreTakenAreRefused) {
  prints("10-own", thing("win32_bios"));
  prints("20-first", thing("Contoso_A"));
  prints("30-second", thing("contoso_a"));
  EXPECT_THAT(collect(), ElementsAre("Contoso_A"));
  EXPECT_THAT(codes(), ElementsAre("10-own custom.collision", "30-second custom.collision"));
}

// Goal: the list of names that are taken is not forgotten when a class is added. Method: what a whole recording reports is refused.
TEST_F(CustomInventoryTest, EveryClassOfTheAgentsOwnIsTaken) {
  const test::RecordedMachine machine("debian12-vm");
  const test::RecordingClock clock;
  const v1::HardwareInventory own = collect_hardware_inventory(machine.view(), clock);
  ASSERT_GE(own.classes_size(), 10);
  for (const auto& one : own.classes()) {
    prints("10-own", thing(one.name()));
    EXPECT_THAT(collect(), IsEmpty()) << one.name();
  }
}

TEST_F(CustomInventoryTest, TooMuchTogetherIsRefusedWhole) {
  config_.classes_bytes_max = 200;
  prints("10-small", thing("Contoso_A"));
  prints("20-large", R"({"class": "Contoso_B", "keys": ["Id"], "instances": [{"Id": ")" + std::string(250, 'x') + "\"}]}");
  EXPECT_THAT(collect(), ElementsAre("Contoso_A"));
  EXPECT_THAT(codes(), ElementsAre("20-large custom.too_large"));
}

// Goal: the guide tells the truth. Method: its script, as it stands there, is run.
TEST_F(CustomInventoryTest, TheGuidesScriptWorks) {
  std::ifstream file(GREENGATE_SOURCE_DIR "/docs/guide/custom_inventory.md");
  const std::string guide((std::istreambuf_iterator<char>(file)), {});
  const std::size_t begin = guide.find("```python\n") + 10;
  ASSERT_NE(guide.find("```python\n"), std::string::npos);
  script("certificates", guide.substr(begin, guide.find("```", begin) - begin));
  EXPECT_THAT(collect(), ElementsAre("Contoso_Certificate"));
  EXPECT_THAT(inventory_.classes(0).properties(), ElementsAre("Path", "Size", "ValidUntil"));
}

TEST_F(CustomInventoryTest, ProblemsSurviveTheWayToTheAgent) {
  const std::vector<ScriptProblem> problems = {{"a b", "custom.json", "Line 1:\tbad\nnews"}, {"c", "script.exit", "It ended."}};
  const auto read = problems_from_text(problems_text(problems));
  ASSERT_THAT(read, SizeIs(2));
  EXPECT_EQ(read[0].script, "a b");
  EXPECT_EQ(read[0].code, "custom.json");
  EXPECT_EQ(read[0].message, "Line 1: bad news");
  EXPECT_EQ(read[1].script, "c");
  EXPECT_THAT(problems_from_text("nonsense\n\t\t\n\tx\n"), SizeIs(1));
}

}  // namespace
}  // namespace greengate::agent
