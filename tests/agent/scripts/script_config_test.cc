// Goal: an allow-list says exactly what it allows, and every mistake in it is told.
#include "agent/config.h"

#include "tests/agent/scripts/support.h"

#include <gmock/gmock.h>

namespace greengate::test {
namespace {

using agent::AllowedScript;
using agent::load_config_text;
using agent::LoadedConfig;
using agent::ScriptSettings;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

const std::string enough = "[gateway]\nendpoints = [\"tcp://g:7443\"]\nkey = \"" + std::string(40, 'a') + "\"\n";
const std::string entry = "script_guid = \"3f0e9a54-2d61-4c77-9b18-6e5d4c3b2a19\"\nscript_hash = \"E2D7550E8C36F89AF671FB4465413998CF5D5277E1D45CCF1CDC7AE3E73F9979\"\n"
                          "command = [\"/usr/bin/df\", \"--type={param:Type}\"]\nrun_as = \"nobody\"\nparameters = [\"Type\"]\n";

LoadedConfig load(const std::string& text) { return load_config_text(enough + text, "t"); }

auto all_of(const AllowedScript& of) {
  return std::tuple(of.patience, of.memory_bytes_max, of.output_bytes_max, of.processes_max, of.value_bytes_max, of.rows, of.errors_too);
}
auto all_of(const ScriptSettings& of) {
  return std::tuple(of.enabled, of.audit_file, of.audit_bytes_max, of.shown_bytes_max, of.topic_type, of.state_id);
}

TEST(ScriptConfig, IsOffAndAllowsNothingByItself) {
  const LoadedConfig loaded = load("");
  EXPECT_THAT(loaded.problems, IsEmpty());
  EXPECT_FALSE(loaded.config.scripts.enabled);
  EXPECT_THAT(loaded.config.scripts.allowed, IsEmpty());
  EXPECT_EQ(loaded.config.scripts.audit_file, "/var/lib/greengate-agent/script-audit.log");
}

TEST(ScriptConfig, ReadsEachTableOfTheAllowList) {
  const LoadedConfig loaded = load("[scripts]\nenabled = true\n[scripts.allow.disk-report]\n" + entry + "patience = \"5s\"\nrows = \"table\"\n[scripts.allow.b]\n" + entry +
                                   "script_version = \"1\"\n");
  EXPECT_THAT(loaded.problems, SizeIs(2)) << "a key nobody knows, and a script that is allowed twice";
  ASSERT_THAT(loaded.config.scripts.allowed, SizeIs(2));
  const AllowedScript& script = loaded.config.scripts.allowed[1];
  EXPECT_EQ(script.name, "disk-report");
  EXPECT_EQ(script.script_guid, guid);
  EXPECT_EQ(script.script_hash, hash);
  EXPECT_THAT(script.command, ElementsAre("/usr/bin/df", "--type={param:Type}"));
  EXPECT_EQ(script.run_as, "nobody");
  EXPECT_EQ(script.patience, std::chrono::seconds(5));
}

TEST(ScriptConfig, NamesEveryMistake) {
  const auto problems = [](const std::string& line) { return load("[scripts.allow.a]\n" + line).problems; };
  const auto instead = [](const std::string& from, const std::string& to) {
    std::string text = entry;
    return text.replace(text.find(from), from.size(), to);
  };
  EXPECT_THAT(problems(entry), IsEmpty());
  for (const std::string& wrong :
       {instead("3f0e9a54-", "3f0e9a54_"), instead("E2D7", "E2D"), instead("/usr/bin/df", "df"), instead("\"nobody\"", "\"root\""), instead("\"nobody\"", "\"\""),
        instead("{param:Type}", "{param:Other}"), instead("{param:Type}", "{param:Type"), instead("/usr/bin/df", "/usr/bin/{param:Type}"),
        instead("[\"Type\"]", "[\"Type\", \"TYPE\"]"), instead("[\"Type\"]", "[\"Type\", \"a b\"]"), entry + "patience = \"2h\"\n", entry + "memory_bytes_max = 1\n",
        entry + "output_bytes_max = 1\n", entry + "processes_max = 100000\n", entry + "value_bytes_max = 0\n", entry + "rows = \"json\"\n"})
    EXPECT_THAT(problems(wrong), SizeIs(1)) << wrong;
  EXPECT_THAT(problems(""), SizeIs(4)) << "nothing of an entry is optional that says what it is";
  EXPECT_THAT(load("[scripts]\naudit_file = \"x\"\naudit_bytes_max = 1\nshown_bytes_max = 1\n[scripts.allow.\"a b\"]\nrows = \"lines\"\n").problems, SizeIs(5));
}

TEST(ScriptConfig, ExampleInTheAgentsFileShowsTheDefaults) {
  std::ifstream file(GREENGATE_SOURCE_DIR "/deploy/greengate-agent.toml");
  std::string line, text;
  bool inside = false;
  while (std::getline(file, line)) {
    if (line.starts_with('[')) inside = line == "[scripts]" || line == "[state_messages]";
    if (!inside) continue;
    const bool key_line = line.starts_with('#') && line.size() > 1 && line[1] != ' ';
    text += (key_line ? line.substr(1) : line) + "\n";
  }
  const LoadedConfig named = load(text), plain = load("");
  EXPECT_THAT(named.problems, IsEmpty());
  EXPECT_EQ(all_of(named.config.scripts), all_of(plain.config.scripts));
  ASSERT_THAT(named.config.scripts.allowed, SizeIs(1));
  EXPECT_EQ(all_of(named.config.scripts.allowed[0]), all_of(AllowedScript{}));
  EXPECT_EQ(named.config.scripts.allowed[0].script_hash, hash);
  for (const char* key : {"enabled", "audit_file", "audit_bytes_max", "shown_bytes_max", "patience", "memory_bytes_max", "output_bytes_max", "processes_max",
                          "value_bytes_max", "rows", "errors_too", "script_topic_type", "script_state_id"})
    EXPECT_NE(text.find(std::string("\n") + key + " = "), std::string::npos) << key;
}

}  // namespace
}  // namespace greengate::test
