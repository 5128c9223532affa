// What only the embedded store's mailbox promises: how it meets bad disks, damaged records and posts that were cut off.
#include "store/embedded/salvage.h"
#include "tests/store/embedded_fixture.h"
#include "tests/store/fault_vfs.h"


namespace greengate::test {
namespace {

using namespace std::chrono_literals;
using store::Action;
using store::EntryState;
using store::Posted;

class EmbeddedMailbox : public EmbeddedStore {
 protected:
  ~EmbeddedMailbox() override { FaultVfs::instance().heal(); }
  void open_on_faulty_disk() {
    FaultVfs::instance().heal();
    options_.database.vfs = FaultVfs::name;
    open();
  }
  FaultVfs& disk() { return FaultVfs::instance(); }
  Action action(std::string collapse = "") {
    Action made;
    made.task = 8;
    made.collapse = std::move(collapse);
    made.parameters = "grace";
    made.origin = "site";
    made.created_at = clock_.wall();
    made.expires_at = clock_.wall() + 24h;
    return made;
  }
  Result<Posted> post(Action made, const char* device) {
    std::promise<Result<Posted>> answer;
    mailbox().post(std::move(made), AgentId(device), [&](Result<Posted> posted) { answer.set_value(std::move(posted)); });
    return answer.get_future().get();
  }
  std::string moved(std::uint64_t entry, const char* device, EntryState to) {
    std::promise<std::string> answer;
    mailbox().move(entry, AgentId(device), to, {}, {}, [&](Result<store::Entry> result) { answer.set_value(result ? "" : result.error().code); });
    return answer.get_future().get();
  }
  std::size_t open_count(const char* device) { return mailbox().open_entries(AgentId(device), 100).value().size(); }
};

TEST_F(EmbeddedMailbox, AFullDiskPostsNothingAndSaysSo) {
  open_on_faulty_disk();
  ASSERT_TRUE(post(action(), "a"));
  disk().writes_left = 1;
  const auto failed = post(action(), "a");
  ASSERT_FALSE(failed);
  EXPECT_STREQ(failed.error().code, "mailbox.disk");
  EXPECT_EQ(failed.error().remedy, Remedy::retry);
  disk().heal();
  EXPECT_EQ(open_count("a"), 1u);
  ASSERT_TRUE(post(action(), "a"));
  reopen();
  EXPECT_EQ(open_count("a"), 2u);
}

TEST_F(EmbeddedMailbox, AMoveThatFailsLeavesTheEntryWhereItWas) {
  open_on_faulty_disk();
  const auto id = post(action(), "a")->entry;
  disk().sync_fails = true;
  EXPECT_EQ(moved(id, "a", EntryState::done), "mailbox.disk");
  EXPECT_FALSE(mailbox().cancel(1));
  disk().heal();
  EXPECT_EQ(open_count("a"), 1u);
  EXPECT_EQ(moved(id, "a", EntryState::done), "");
}

TEST_F(EmbeddedMailbox, AFleetsPostThatTheDiskCutOffLeavesNothing) {
  open_on_faulty_disk();
  std::vector<AgentId> all;
  for (int i = 0; i < 6'000; ++i) all.emplace_back("device-" + std::to_string(i));
  ASSERT_TRUE(post(action(), "device-0"));
  for (const int writes : {10, 150}) {  // in the first part, and behind it
    disk().writes_left = writes;
    const auto failed = mailbox().post(action(), all);
    ASSERT_FALSE(failed) << writes;
    EXPECT_STREQ(failed.error().code, "mailbox.disk");
    disk().heal();
    EXPECT_EQ(open_count("device-0"), 1u);
    EXPECT_TRUE(eventually([&] { return metric("greengate_mailbox_entries") == 1.0; }));
  }
}

TEST_F(EmbeddedMailbox, APostCutOffByDeathIsTakenBackOrCompletedAtTheNextStart) {
  open();
  ASSERT_TRUE(post(action("restart"), "a"));
  ASSERT_TRUE(post(action("restart"), "b"));
  const std::vector<AgentId> both{AgentId("a"), AgentId("b")};
  const auto unseen = mailbox().post(action("restart"), both).value();
  const auto seen = mailbox().post(action(), both).value();
  close();
  // As if the one had died in its first stage and the other in its second, both before their elders gave way.
  sql(("UPDATE actions SET stage = 1 WHERE id = " + std::to_string(unseen.action)).c_str());
  sql("UPDATE entries SET state = 1 WHERE state = 8");
  sql(("UPDATE actions SET stage = 2, checksum = checksum WHERE id = " + std::to_string(seen.action)).c_str());
  open();
  EXPECT_EQ(open_count("a"), 2u) << "nobody sees what was never posted";
  EXPECT_TRUE(eventually([&] { return metric("greengate_mailbox_entries") == 4.0; }));
  close();
  sql("UPDATE actions SET id = id WHERE stage = 3");
  open();
  EXPECT_FALSE(mailbox().action(unseen.action).value());
  EXPECT_EQ(mailbox().actions(0, 10).value().size(), 3u);
}

TEST_F(EmbeddedMailbox, OlderOnesOfAKindGiveWayAtTheNextStartIfDeathCameBetween) {
  open();
  ASSERT_TRUE(post(action("restart"), "a"));
  const std::vector<AgentId> both{AgentId("a"), AgentId("b")};
  const auto newer = mailbox().post(action("restart"), both).value();
  close();
  sql("UPDATE entries SET state = 1 WHERE state = 8");
  sql(("UPDATE actions SET stage = 2 WHERE id = " + std::to_string(newer.action)).c_str());
  open();
  EXPECT_TRUE(eventually([&] { return open_count("a") == 1; }));
  EXPECT_EQ(mailbox().open_entries(AgentId("a"), 10).value().at(0).second.id, newer.action);
}

TEST_F(EmbeddedMailbox, NeverHandsOutADamagedRecord) {
  for (const char* damage :
       {"UPDATE actions SET task = 13", "UPDATE actions SET parameters = x'00'", "UPDATE entries SET device = 'a'", "UPDATE entries SET action = 2 WHERE action = 1",
        "UPDATE entries SET id = id + 1", "DELETE FROM actions"}) {
    open();
    const auto before = metric("greengate_mailbox_damaged_total");
    ASSERT_TRUE(post(action(), "b"));
    close();
    sql(damage);
    open();
    EXPECT_EQ(open_count("a") + open_count("b"), 0u) << damage;
    EXPECT_GT(metric("greengate_mailbox_damaged_total"), std::max(before, 0.0)) << damage;
    EXPECT_TRUE(eventually([&] { return metric("greengate_mailbox_open_entries") == 0.0; })) << damage;
    EXPECT_TRUE(post(action(), "c")) << "the others go on";
    close();
    std::filesystem::remove(path());
  }
}

TEST_F(EmbeddedMailbox, IsSavedFromADamagedFileWithoutEntriesThatLostTheirAction) {
  open();
  ASSERT_TRUE(post(action(), "a"));
  const auto lost = post(action(), "b")->action;
  ASSERT_TRUE(post(action(), "c"));
  close();
  sql(("DELETE FROM actions WHERE id = " + std::to_string(lost)).c_str());
  auto target = store::Database::open(path() + ".other", store::Database::Use::writing, {});
  ASSERT_TRUE(target && store::prepare_schema(*target));
  const auto saved = store::salvage_rows(path(), *target, {});
  ASSERT_TRUE(saved);
  EXPECT_EQ(saved->tables_cut_short, 0u);
  EXPECT_EQ(target->number("SELECT count(*) FROM actions").value(), 2);
  EXPECT_EQ(target->number("SELECT count(*) FROM entries").value(), 2);
  EXPECT_EQ(target->number("SELECT count(*) FROM meta WHERE key LIKE 'mailbox_%'").value(), 2) << "no number is given twice";
}

TEST_F(EmbeddedMailbox, AnswersWhatComesAfterTheEnd) {
  open();
  auto& box = mailbox();
  store_->stop();
  std::promise<std::string> answer;
  box.post(action(), AgentId("a"), [&](Result<Posted> posted) { answer.set_value(posted ? "" : posted.error().code); });
  EXPECT_EQ(answer.get_future().get(), "mailbox.stopping");
}

}  // namespace
}  // namespace greengate::test
