// Configuration, keys and the collection runner: small parts, each with its codes.
#include "agent/config.h"
#include "agent/keys.h"
#include "agent/state_directory.h"
#include "agent/status.h"
#include "agent/tasks.h"
#include "tests/agent/scratch.h"
#include "tests/support/manual_clock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <tuple>

namespace greengate::agent {
namespace {

using namespace std::chrono_literals;
using test::ManualClock;
using test::Scratch;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string key(40, 'k');
const std::string enough =
    "gateway.endpoints = [\"tcp://g:7443\"]\ngateway.key = \"" + key + "\"\n";

TEST(AgentConfig, NeedsLittle) {
  const LoadedConfig loaded = load_config_text(enough, "t");
  EXPECT_THAT(loaded.problems, IsEmpty());
  EXPECT_EQ(loaded.config.keys_file(), "/var/lib/greengate-agent/keys");
}

TEST(AgentConfig, NamesEveryMistakeAtOnce) {
  const LoadedConfig loaded = load_config_text(
      "gateway.endpoints = [\"udp://x\", \"tcp://ok:1\"]\ngateway.key = "
      "\"no\"\nagent.state_directory = \"here\"\n"
      "agent.log_level = \"loud\"\nreports.heartbeat_interval = \"1s\"\nreconnect.min = "
      "\"10min\"\noutbox.bytes_max = 5\n"
      "outbox.bytes_mux = 5\nenrolment.token = \"a\"\nenrolment.token_file = \"b\"\n",
      "t");
  std::string all;
  for (const std::string& problem : loaded.problems) all += problem + "\n";
  for (const char* part :
       {"udp://x", "gateway.key is \"no\"", "\"here\"", "\"loud\"",
        "reports.heartbeat_interval is \"1s\"", "reconnect.min is longer", "outbox.bytes_max is 5",
        "did you mean outbox.bytes_max", "both given"}) {
    EXPECT_THAT(all, HasSubstr(part));
  }
  EXPECT_THAT(loaded.problems, SizeIs(9));
}

TEST(AgentConfig, SoftwareAndFilesAreWithinReason) {
  const LoadedConfig fine = load_config_text(
      enough + "software.paths = [\"/srv\"]\nsoftware.patterns = [\"*.sh\"]\nfiles.collect = "
               "[\"/etc/contoso/**/*.conf\"]\nfiles.file_bytes_max = \"24MiB\"\n",
      "t");
  EXPECT_THAT(fine.problems, IsEmpty());
  EXPECT_EQ(fine.config.software.paths, std::vector<std::string>{"/srv"});
  const LoadedConfig wrong = load_config_text(
      enough +
          "software.paths = [\"opt\", \"/opt/../etc\"]\nsoftware.patterns = [\"\"]\n"
          "software.time_max = \"10min\"\nsoftware.files_max = 0\nsoftware.depth_max = 65\n"
          "files.collect = [\"/etc/\", \"/a/**/b/**\", \"x\"]\nfiles.file_bytes_max = "
          "\"25MiB\"\nfiles.chunk_bytes = 0\nfiles.interval = \"1s\"\nfiles.files_max = 5001\n"
          "files.run_bytes_max = 0\nfiles.bytes_per_second = 0\n"
          "reports.software_inventory_interval = \"1s\"\n",
      "t");
  std::string all;
  for (const std::string& problem : wrong.problems) all += problem + "\n";
  for (const char* part :
       {"has \"opt\"", "has \"/opt/../etc\"", "software.patterns has \"\"",
        "not shorter than reports.collection_patience", "software.files_max is 0",
        "software.depth_max is 65", "has \"/etc/\"", "has \"/a/**/b/**\"", "has \"x\"",
        "files.file_bytes_max is 26214400", "files.chunk_bytes is 0", "files.interval is",
        "files.files_max is 5001", "files.run_bytes_max is 0", "files.bytes_per_second is 0",
        "reports.software_inventory_interval is"}) {
    EXPECT_THAT(all, HasSubstr(part));
  }
}

TEST(AgentConfig, ExampleFileIsFineAndShowsEveryKey) {
  const LoadedConfig loaded = load_config(GREENGATE_SOURCE_DIR "/deploy/greengate-agent.toml");
  EXPECT_THAT(loaded.problems, IsEmpty());
  std::ifstream file(GREENGATE_SOURCE_DIR "/deploy/greengate-agent.toml");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  for (const char* name :
       {"endpoints", "key", "state_directory", "log_level", "token", "token_file",
        "heartbeat_interval", "inventory_interval", "may_run_commands", "command_patience",
        "collection_patience", "bytes_max", "min", "max", "started_topic_type", "started_state_id",
        "inventory_topic_type", "inventory_state_id", "packages", "logs", "interval", "history", "per_hour_max",
        "details", "programs", "sample_interval", "report_interval", "accounting_file", "folder", "header_required",
        "patience", "output_bytes_max", "memory_bytes_max", "custom_topic_type", "custom_failed_state_id",
        "custom_mended_state_id", "mif_topic_type", "mif_failed_state_id", "software_inventory_interval", "enabled",
        "paths", "patterns", "excludes", "executables_only", "cross_file_systems", "files_max",
        "depth_max", "time_max", "files_per_second", "bytes_per_second", "full_look", "collect",
        "interval", "file_bytes_max", "run_bytes_max", "chunk_bytes"}) {
    const bool shown = text.find(std::string("\n") + name + " = ") != std::string::npos ||
                       text.find(std::string("\n#") + name + " = ") != std::string::npos;
    EXPECT_TRUE(shown) << name;
  }
}

// The file that comes with the agent names each default; commenting it in must change nothing.
TEST(AgentConfig, WatchingsDefaultsAreTheOnesTheFileNames) {
  std::ifstream file(GREENGATE_SOURCE_DIR "/deploy/greengate-agent.toml");
  std::string line, text = "[gateway]\nendpoints = [\"tcp://g:7443\"]\nkey = \"" + key + "\"\n";
  bool inside = false;
  while (std::getline(file, line)) {
    if (line.starts_with('[')) inside = line == "[status]" || line == "[metering]" || line == "[mif]" || line == "[custom]" || line == "[state_messages]";
    if (!inside) continue;
    const bool key_line = line.starts_with('#') && line.size() > 1 && line[1] != ' ';
    text += (key_line ? line.substr(1) : line) + "\n";
  }
  const LoadedConfig named = load_config_text(text, "t"), plain = load_config_text(enough, "t");
  EXPECT_THAT(named.problems, IsEmpty());
  const auto all = [](const AgentConfig& of) {
    const auto& [packages, metering, mif] = of.watchers;
    return std::tuple(packages.enabled, packages.logs, packages.interval, packages.history, packages.per_hour_max, packages.details,
                      metering.programs, metering.sample_interval, metering.report_interval, metering.accounting_file,
                      std::tuple(mif.folder, mif.bytes_max, mif.header_required, mif.interval, mif.topic_type, mif.failed_state_id),
                      std::tuple(of.custom.folder, of.custom.script.patience, of.custom.script.output_bytes, of.custom.script.memory_bytes,
                                 of.custom_topic_type, of.custom_failed_state_id, of.custom_mended_state_id));
  };
  EXPECT_EQ(all(named.config), all(plain.config));
  EXPECT_NE(text.find("accounting_file"), std::string::npos);
}

TEST(AgentConfig, TasksDefaultsAreTheOnesTheFileNames) {
  std::ifstream file(GREENGATE_SOURCE_DIR "/deploy/greengate-agent.toml");
  std::string line, text = "[gateway]\nendpoints = [\"tcp://g:7443\"]\nkey = \"" + key + "\"\n";
  bool inside = false;
  std::size_t keys = 0;
  while (std::getline(file, line)) {
    if (line.starts_with('[')) inside = line == "[tasks]" || line == "[scan]" || line == "[restart]" || line == "[logs]" || line == "[state_messages]";
    if (!inside) continue;
    const bool key_line = line.starts_with('#') && line.size() > 1 && line[1] != ' ';
    if (key_line) ++keys;
    text += (key_line ? line.substr(1) : line) + "\n";
  }
  const LoadedConfig named = load_config_text(text, "t"), plain = load_config_text(enough, "t");
  EXPECT_THAT(named.problems, IsEmpty());
  EXPECT_EQ(named.config.tasks, plain.config.tasks);
  EXPECT_GE(keys, 22u);
}

TEST(AgentConfig, NamesEveryMistakeOfWhatTasksMayDo) {
  const LoadedConfig loaded = load_config_text(
      enough + "[tasks]\nrefuse = [\"reboot\"]\nverbose_log_for = \"1s\"\n"
               "[scan]\nscanners = [\"clamscan\"]\nquick_paths = [\"tmp\"]\narguments = [\"/etc\"]\ntime_max = \"30d\"\nupdater = [\"freshclam\"]\n"
               "[restart]\ncommand = [\"shutdown\"]\ngrace = \"2d\"\nveto_file = \"no-restart\"\n"
               "[logs]\nfiles = [\"/var/*/a.log\", \"/var/log/\"]\nbytes_max = \"1KiB\"\n",
      "t");
  for (const char* expected :
       {"tasks.refuse has \"reboot\"", "tasks.verbose_log_for is \"1s\"", "scan.scanners has \"clamscan\"", "scan.quick_paths has \"tmp\"",
        "scan.arguments has \"/etc\"", "scan.time_max is \"30d\"", "scan.updater begins with \"freshclam\"", "restart.command begins with \"shutdown\"",
        "restart.grace is \"2d\"", "restart.veto_file has \"no-restart\"", "logs.files has \"/var/*/a.log\"", "logs.files has \"/var/log/\"",
        "logs.bytes_max is 1024 bytes"}) {
    EXPECT_THAT(loaded.problems, ::testing::Contains(HasSubstr(expected)));
  }
  EXPECT_EQ(loaded.problems.size(), 13u);
}

TEST(AgentConfig, NamesEveryMistakeOfWhatIsWatched) {
  const LoadedConfig loaded = load_config_text(
      enough +
          "status.logs = [\"relative\"]\nstatus.interval = \"1s\"\nstatus.history = \"365d\"\nstatus.per_hour_max = 0\nmetering.programs = [\"bash\"]\n"
          "metering.sample_interval = \"1s\"\nmetering.report_interval = \"1min\"\nmetering.accounting_file = \"x\"\nmif.folder = \"x\"\n"
          "mif.bytes_max = \"6MiB\"\nmif.interval = \"0s\"\ncustom.folder = \"x\"\ncustom.patience = \"1h\"\ncustom.output_bytes_max = 1\n"
          "custom.memory_bytes_max = 1\n",
      "t");
  EXPECT_THAT(loaded.problems, SizeIs(15));
}

TEST(AgentConfig, TokenComesFromTheFilesFirstLine) {
  Scratch scratch;
  std::ofstream(scratch.file("token")) << "secret\nmore\n";
  AgentConfig config;
  config.token_file = scratch.file("token");
  EXPECT_EQ(enrolment_token(config), "secret");
  config.token_file = scratch.file("absent");
  EXPECT_EQ(enrolment_token(config), "");
}

TEST(AgentKeys, AreMadeOnceAndPrivate) {
  Scratch scratch;
  const auto made = load_or_make_keys(scratch.file("keys"));
  ASSERT_TRUE(made);
  struct stat facts {};
  ASSERT_EQ(stat(scratch.file("keys").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
  const auto again = load_or_make_keys(scratch.file("keys"));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->public_key, made->public_key);
  EXPECT_EQ(again->secret_key, made->secret_key);
}

TEST(AgentKeys, ReadableByOthersAreRefused) {
  Scratch scratch;
  ASSERT_TRUE(load_or_make_keys(scratch.file("keys")));
  chmod(scratch.file("keys").c_str(), 0640);
  const auto keys = load_or_make_keys(scratch.file("keys"));
  ASSERT_FALSE(keys);
  EXPECT_STREQ(keys.error().code, "keys.readable_by_others");
}

TEST(AgentKeys, SenselessFileIsNotReplaced) {
  Scratch scratch;
  std::ofstream(scratch.file("keys")) << "secret = nonsense\n";
  chmod(scratch.file("keys").c_str(), 0600);
  const auto keys = load_or_make_keys(scratch.file("keys"));
  ASSERT_FALSE(keys);
  EXPECT_STREQ(keys.error().code, "keys.malformed");
}

TEST(AgentKeys, DiskThatWillNotIsSaid) {
  Scratch scratch;
  const auto keys = load_or_make_keys(scratch.file("no/such/place/keys"));
  ASSERT_FALSE(keys);
  EXPECT_STREQ(keys.error().code, "keys.file");
}

TEST(StateDirectory, IsHeldByOneAgentAtATime) {
  Scratch scratch;
  const std::string path = scratch.file("state/below");
  {
    const auto held = StateDirectory::hold(path);
    ASSERT_TRUE(held);
    struct stat facts {};
    ASSERT_EQ(stat(path.c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0700u);
    const auto second = StateDirectory::hold(path);
    ASSERT_FALSE(second);
    EXPECT_STREQ(second.error().code, "agent.already_running");
  }
  EXPECT_TRUE(StateDirectory::hold(path));
}

TEST(StateDirectory, ThatCannotBeMadeIsSaid) {
  const auto held = StateDirectory::hold("/proc/no/such/place");
  ASSERT_FALSE(held);
  EXPECT_STREQ(held.error().code, "agent.state_directory");
}

TEST(StateDirectory, HandsWhatRootMadeToItsOwner) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  Scratch scratch;
  ASSERT_EQ(chown(scratch.path().c_str(), 65534, 65534), 0);
  ASSERT_TRUE(StateDirectory::hold(scratch.path()));
  struct stat facts {};
  ASSERT_EQ(stat(scratch.file("lock").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, 65534u);
}

// ---- collections ----

std::optional<CollectionRunner::Finished> run(CollectionRunner& runner) {
  for (int i = 0; i < 1'000; ++i) {
    if (auto finished = runner.poll()) return finished;
    pollfd wait{runner.fd(), POLLIN, 0};
    poll(&wait, 1, 20);  // a negative descriptor is ignored: then only the process's end is awaited
  }
  return std::nullopt;
}

CollectionRunnerConfig shell(const std::string& script) {
  CollectionRunnerConfig config;
  config.command = {"/bin/sh", "-c", script, "sh"};
  return config;
}

TEST(CollectionRunner, HandsOverWhatTheCollectorWrote) {
  const SystemClock clock;
  CollectionRunner runner(shell("printf '%s' \"$1\"; head -c 300000 /dev/zero"), clock);
  ASSERT_TRUE(runner.start(Collection::inventory));
  EXPECT_TRUE(runner.running());
  const auto finished = run(runner);
  ASSERT_TRUE(finished);
  ASSERT_TRUE(finished->body) << finished->body.error().message;
  EXPECT_EQ(finished->what, Collection::inventory);
  EXPECT_EQ(finished->body->size(), 300'009u);
  EXPECT_TRUE(finished->body->starts_with("inventory"));
  EXPECT_FALSE(runner.running());
}

TEST(CollectionRunner, CrashIsAnErrorAndNotAnEmptyReport) {
  const SystemClock clock;
  CollectionRunner runner(shell("printf half; kill -SEGV $$"), clock);
  ASSERT_TRUE(runner.start(Collection::discovery));
  const auto finished = run(runner);
  ASSERT_TRUE(finished);
  ASSERT_FALSE(finished->body);
  EXPECT_STREQ(finished->body.error().code, "collect.failed");
}

TEST(CollectionRunner, SlowCollectorIsEndedWithAllItStarted) {
  ManualClock clock;
  CollectionRunner runner(shell("echo started; sleep 1000 & sleep 1000"), clock);
  ASSERT_TRUE(runner.start(Collection::discovery));
  pollfd wait{runner.fd(), POLLIN, 0};
  ASSERT_EQ(poll(&wait, 1, 10'000), 1);
  EXPECT_FALSE(runner.poll());
  clock.advance(301s);
  EXPECT_LE(runner.next_due(), clock.steady());
  const auto finished = runner.poll();
  ASSERT_TRUE(finished);
  ASSERT_FALSE(finished->body);
  EXPECT_STREQ(finished->body.error().code, "collect.timeout");
}

TEST(CollectionRunner, EndlessOutputIsCutOff) {
  const SystemClock clock;
  auto config = shell("cat /dev/zero");
  config.body_bytes_max = 1 << 20;
  CollectionRunner runner(config, clock);
  ASSERT_TRUE(runner.start(Collection::inventory));
  const auto finished = run(runner);
  ASSERT_TRUE(finished);
  ASSERT_FALSE(finished->body);
  EXPECT_STREQ(finished->body.error().code, "collect.too_large");
}

TEST(CollectionRunner, ProgramThatIsNotThereIsSaid) {
  const SystemClock clock;
  CollectionRunnerConfig config;
  config.command = {"/no/such/program"};
  CollectionRunner runner(config, clock);
  const auto started = runner.start(Collection::inventory);
  ASSERT_FALSE(started);
  EXPECT_STREQ(started.error().code, "collect.start");
  EXPECT_FALSE(runner.running());
}

TEST(Status, TellsWaitingAndSettledReports) {
  Scratch scratch;
  ManualClock clock;
  OutboxConfig config;
  config.path = scratch.file("o");
  auto outbox = Outbox::open(config, clock);
  ASSERT_TRUE(outbox);
  ASSERT_TRUE((*outbox)->put(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, "x", 1'700'000'000'000, 0));
  ASSERT_TRUE((*outbox)->put(v1::LANE_STATE, v1::KIND_STATE_MESSAGES, "x", 1'700'000'000'000, 0));
  ASSERT_TRUE((*outbox)->settled(1, 1, "rejected", "why.not", "Say \"no\"\n.", 1));
  const std::string text = status_text(**outbox, 10);
  EXPECT_THAT(text, HasSubstr("not enrolled"));
  EXPECT_THAT(text, HasSubstr("2023-11-14T22:13:20Z"));
  EXPECT_THAT(text, HasSubstr("rejected (why.not)"));
  const std::string json = status_json(**outbox, 10);
  EXPECT_THAT(json, HasSubstr("\"waiting_reports\": 1"));
  EXPECT_THAT(json, HasSubstr("Say \\\"no\\\"\\u000a."));
}

}  // namespace
}  // namespace greengate::agent
