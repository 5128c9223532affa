// Sudden death: a child works on a store until it is killed, and what it had told is there.
#include "tests/store/embedded_fixture.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <random>
#include <set>

namespace greengate::test {
namespace {

using Sequences = std::vector<std::uint64_t>;

class SuddenDeath : public EmbeddedStore {
 protected:
  /// Runs a child on the directory and kills it after a random number of the lines it tells, "agent number"; whatever it is doing
  /// then. Remembers the highest number of each agent.
  void run_and_kill(const char* work, unsigned lines_max) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const std::string out = std::to_string(ends[1]);
    fflush(nullptr);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      execl(GREENGATE_CRASH_CHILD, "store_crash_child", directory_.path().c_str(), out.c_str(), work,
            static_cast<char*>(nullptr));
      _exit(127);
    }
    ::close(ends[1]);
    FILE* told = fdopen(ends[0], "r");
    char agent[32];
    unsigned long long number = 0;
    const auto hear = [&] {
      if (fscanf(told, "%31s %llu", agent, &number) != 2) return false;
      told_[agent] = std::max<std::uint64_t>(told_[agent], number);
      every_[agent].push_back(number);
      return true;
    };
    const auto until = 1 + random_() % lines_max;
    std::size_t lines = 0;
    while (lines < until && hear()) ++lines;
    EXPECT_EQ(lines, until) << "the child ended by itself";
    kill(child, SIGKILL);
    while (hear()) {  // what it still said before it died counts
    }
    fclose(told);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
  }

  const unsigned seed_ = std::random_device{}();
  std::mt19937 random_{seed_};
  testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  std::map<std::string, std::uint64_t> told_;
  std::map<std::string, Sequences> every_;
};

// Goal: nothing acknowledged is lost by kill -9. Method: a child keeps reports, two batches in
// flight, and tells each acknowledged one; killed at a random moment, its store has every one of
// them, in order and once. It goes on in the same directory, twenty times.
TEST_F(SuddenDeath, LosesNothingAcknowledged) {
  for (int round = 0; round < 20; ++round) {
    ASSERT_NO_FATAL_FAILURE(run_and_kill("keep", 400));
    open();
    for (const auto& [id, last] : told_) EXPECT_GE(queue().last_sequence(AgentId(id), 1), last) << id << " round " << round;
    close();
  }
  open();
  std::map<std::string, Sequences> found;
  while (const auto batch = lease(1'000, 64 << 20)) {
    for (const auto& leased : batch->reports) {
      EXPECT_EQ(leased.body, batch->agent.raw() + "/" + std::to_string(leased.name.sequence));
      found[batch->agent.raw()].push_back(leased.name.sequence);
    }
    ASSERT_TRUE(queue().settle(batch->lease, all(*batch)));
  }
  for (const auto& [id, last] : told_) {
    const auto& sequences = found[id];
    ASSERT_GE(sequences.size(), last) << id;
    for (std::size_t i = 0; i < sequences.size(); ++i) ASSERT_EQ(sequences[i], i + 1) << id;
  }
  EXPECT_EQ(queue().stats().damaged, 0u);
}

// Goal: burying, replaying and discarding are whole or not at all. Method: a child keeps reports, buries and replays them, and
// tells the last it kept; killed at a random moment, each report is either waiting or a dead letter, once, with its own body.
TEST_F(SuddenDeath, LeavesEachReportWaitingOrADeadLetter) {
  for (int round = 0; round < 10; ++round) {
    ASSERT_NO_FATAL_FAILURE(run_and_kill("letters", 60));
    open();
    std::multiset<std::uint64_t> found;
    std::uint64_t letters = 0;
    store::DeadLetterFilter filter;
    for (auto page = queue().dead_letters(filter, 50).value(); !page.empty(); page = queue().dead_letters(filter, 50).value()) {
      for (const auto& letter : page) {
        EXPECT_EQ(queue().dead_letter(letter.id).value().body, "first/" + std::to_string(letter.name.sequence));
        found.insert(letter.name.sequence);
      }
      filter.above = page.back().id.raw();
      letters += page.size();
    }
    EXPECT_EQ(queue().stats().buried, letters);
    if (const auto batch = lease(1'000'000, 1 << 30)) {
      for (const auto& leased : batch->reports) {
        EXPECT_EQ(leased.body, "first/" + std::to_string(leased.name.sequence));
        found.insert(leased.name.sequence);
      }
      EXPECT_EQ(queue().stats().waiting, batch->reports.size());
    }
    const std::uint64_t last = queue().last_sequence(AgentId("first"), 1);
    EXPECT_GE(last, told_["first"]);
    Sequences expected(last);
    for (std::uint64_t i = 0; i < last; ++i) expected[i] = i + 1;
    EXPECT_EQ(Sequences(found.begin(), found.end()), expected) << "round " << round;
    close();
  }
}

// Goal: a baseline and the settlement that proves it are one. Method: a child settles reports one by one, each with a baseline
// that says its sequence; killed at a random moment, the baseline is that of the last settled report.
TEST_F(SuddenDeath, LeavesTheBaselineOfTheLastSettledReport) {
  for (int round = 0; round < 10; ++round) {
    ASSERT_NO_FATAL_FAILURE(run_and_kill("baselines", 60));
    open();
    std::uint64_t settled = 0;
    const auto traces = queue().trace(AgentId("first"), 10).value();
    for (const auto& trace : traces) {
      if (trace.outcome) settled = std::max(settled, trace.name.sequence);
    }
    const auto baseline = baselines().find(AgentId("first"), 1).value();
    ASSERT_TRUE(baseline);
    EXPECT_EQ(baseline->major, settled);
    EXPECT_EQ(baseline->body, "first/" + std::to_string(settled));
    EXPECT_GE(settled, told_["first"]);
    close();
  }
}

// Goal: what a post or a move reported is there. Method: a child posts for two devices and ends two of three; killed at a random moment,
// each entry it told of exists once, and each that it told as ended has ended. Numbers are never given twice.
TEST_F(SuddenDeath, LosesNoEntryOfTheMailboxAndNoEnd) {
  config_.mailbox.entries_per_device_max = 10'000;
  for (int round = 0; round < 10; ++round) {
    ASSERT_NO_FATAL_FAILURE(run_and_kill("mail", 100));
    open();
    std::map<std::uint64_t, store::EntryState> found;
    for (const char* device : {"first", "second"}) {
      const auto history = mailbox().history(AgentId(device), 10'000).value();
      for (const auto& [entry, action] : history) {
        EXPECT_EQ(action.parameters, "parameters");
        EXPECT_TRUE(found.emplace(entry.id, entry.state).second) << "number " << entry.id << " was given twice";
      }
    }
    for (const std::uint64_t id : every_["posted"]) ASSERT_TRUE(found.contains(id)) << id << " round " << round;
    for (const std::uint64_t id : every_["ended"]) ASSERT_EQ(found.at(id), store::EntryState::done) << id << " round " << round;
    close();
  }
}

}  // namespace
}  // namespace greengate::test
