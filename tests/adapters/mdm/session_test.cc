#include "adapters/mdm/dm_session.h"
#include "adapters/mdm/nodes.h"
#include "tests/adapters/mdm/scripted_device.h"
#include "tests/support/manual_clock.h"

namespace greengate::test {
namespace {

using namespace adapters;
using std::chrono::minutes;

class Session : public testing::Test {
 protected:
  DmSession open(const std::string& sample) {
    first_ = read_whole(mdm_sample(sample));
    return DmSession(rules_, first_.header, {}, "", clock_.steady());
  }
  DmTaken take(DmSession& session, const DmMessage& message) {
    auto taken = session.take(message, clock_.steady());
    EXPECT_TRUE(taken) << taken.error().message;
    return taken ? *taken : DmTaken{};
  }

  ManualClock clock_;
  DmSessionRules rules_;
  DmMessage first_;
  const PushNodes push_{"FABRIKAM"};
  const std::string pfn_ = "fabrikam.wakebridge_0ab1cd2ef3gh4";
};

TEST_F(Session, sets_the_pfn_and_ends_as_the_samples_show) {
  DmSession session = open("01-client-package1.xml");
  const DmTaken taken = take(session, first_);
  EXPECT_TRUE(taken.admitted);
  EXPECT_TRUE(taken.whole);
  ASSERT_EQ(taken.told.size(), 5u);
  EXPECT_EQ(taken.told[1].data, "Fabrikam Test Works");
  session.queue({1, set_node(DmVerb::replace, push_.pfn, pfn_)});
  session.queue({2, get_node(push_.channel_uri)});
  session.queue({3, get_node(push_.status)});
  EXPECT_EQ(session.reply(), mdm_sample("02-server-set-pfn.xml"));

  const DmTaken answered = take(session, read_whole(mdm_sample("03-client-pfn-ok.xml")));
  ASSERT_EQ(answered.answers.size(), 3u);
  EXPECT_EQ(answered.answers[0].status, 200);
  EXPECT_EQ(answered.answers[1].results.at(0).data, push_channel);
  EXPECT_EQ(answered.answers[2].results.at(0).data, "0");
  EXPECT_EQ(session.reply(), mdm_sample("04-server-end.xml"));
  EXPECT_TRUE(session.over());
  EXPECT_TRUE(session.unanswered().empty());
}

TEST_F(Session, orders_are_written_as_in_the_samples) {
  const auto answer = [&](const std::string& session_id, std::vector<DmCommand> commands) {
    first_ = read_whole(mdm_sample("01-client-package1.xml"));
    first_.header.session_id = session_id;
    DmSession session(rules_, first_.header, {}, "", clock_.steady());
    take(session, first_);
    std::uint64_t ticket = 0;
    for (DmCommand& command : commands) session.queue({++ticket, std::move(command)});
    return session.reply();
  };
  EXPECT_EQ(answer("13", {set_node(DmVerb::add, push_.pfn, pfn_), get_node(push_.channel_uri), get_node(push_.status)}), mdm_sample("06-server-add-pfn.xml"));
  EXPECT_EQ(answer("14", {get_node(push_.channel_uri), get_node(push_.status)}), mdm_sample("10-server-read-channel.xml"));
  EXPECT_EQ(answer("21", {exec_node(dm_node::defender_scan, "1")}), mdm_sample("20-server-defender-quick-scan.xml"));
  EXPECT_EQ(answer("22", {exec_node(dm_node::defender_scan, "2")}), mdm_sample("21-server-defender-full-scan.xml"));
  DmCommand sequence;
  sequence.verb = DmVerb::sequence;
  sequence.members = {exec_node(dm_node::defender_update), exec_node(dm_node::defender_scan, "1")};
  EXPECT_EQ(answer("23", {sequence, get_node(dm_node::quick_scan_time)}), mdm_sample("22-server-defender-update-and-quick.xml"));
  EXPECT_EQ(answer("24", {exec_node(dm_node::reboot_now)}), mdm_sample("25-server-reboot-now.xml"));
  EXPECT_EQ(answer("25", {exec_node(dm_node::wipe)}), mdm_sample("26-server-wipe.xml"));
}

TEST_F(Session, a_challenged_device_is_told_nothing_until_it_has_answered) {
  first_ = read_whole(mdm_sample("01-client-package1.xml"));
  first_.header.session_id = "34";
  DmSession session(rules_, first_.header, {"sim-client", "sim-password"}, "sim-nonce-1", clock_.steady());
  DmTaken taken = take(session, first_);
  EXPECT_FALSE(taken.admitted);
  EXPECT_FALSE(taken.whole);
  EXPECT_TRUE(taken.told.empty());
  EXPECT_TRUE(taken.events.empty());
  session.queue({1, exec_node(dm_node::wipe)});
  EXPECT_EQ(session.reply(), mdm_sample("33-server-chal-407-md5.xml"));
  EXPECT_FALSE(session.over());

  taken = take(session, read_whole(mdm_sample("34-client-package1-with-cred.xml")));
  EXPECT_TRUE(taken.admitted);
  EXPECT_EQ(taken.told.size(), 5u);
  const DmMessage reply = read_whole(session.reply());
  EXPECT_EQ(reply.commands.at(0).data, "212");
  EXPECT_EQ(reply.commands.back().verb, DmVerb::exec);
}

TEST_F(Session, wrong_credentials_get_a_new_nonce_and_three_tries) {
  first_ = read_whole(mdm_sample("01-client-package1.xml"));
  DmSession session(rules_, first_.header, {"sim-client", "another"}, "sim-nonce-1", clock_.steady());
  take(session, first_);
  std::string nonce = read_whole(session.reply()).commands.at(0).challenge->next_nonce;
  DmMessage wrong = read_whole(mdm_sample("34-client-package1-with-cred.xml"));
  wrong.header.session_id = first_.header.session_id;
  for (std::uint32_t message = 2; message <= 4; ++message) {
    EXPECT_FALSE(session.over());
    wrong.header.message_id = message;
    EXPECT_FALSE(take(session, wrong).admitted);
    const DmMessage reply = read_whole(session.reply());
    EXPECT_EQ(reply.commands.at(0).data, "401");
    EXPECT_EQ(reply.commands.at(1).data, "401");
    if (message == 4) {
      EXPECT_FALSE(reply.commands.at(0).challenge);
    } else {
      EXPECT_NE(reply.commands.at(0).challenge->next_nonce, nonce);
      nonce = reply.commands.at(0).challenge->next_nonce;
    }
  }
  EXPECT_TRUE(session.over());
}

TEST_F(Session, a_credential_in_the_first_message_is_not_believed) {
  first_ = read_whole(mdm_sample("34-client-package1-with-cred.xml"));
  first_.header.message_id = 1;
  DmSession session(rules_, first_.header, {"sim-client", "sim-password"}, "sim-nonce-1", clock_.steady());
  EXPECT_FALSE(take(session, first_).admitted);
  EXPECT_EQ(read_whole(session.reply()).commands.at(0).data, "407");
}

TEST_F(Session, every_kind_of_command_gets_its_status) {
  first_ = read_whole(mdm_sample("01-client-package1.xml"));
  std::uint32_t id = 1;
  first_.commands.clear();
  const auto add = [&](DmVerb verb, const std::string& data = "", const std::string& name = "") {
    DmCommand command;
    command.verb = verb;
    command.id = ++id;
    command.data = data;
    command.name = name;
    first_.commands.push_back(command);
  };
  for (const char* alert : {"1200", "1201", "1222", "1224", "1225", "1226", "1100", "x"}) add(DmVerb::alert, alert);
  add(DmVerb::add), add(DmVerb::replace), add(DmVerb::get), add(DmVerb::exec), add(DmVerb::remove), add(DmVerb::atomic), add(DmVerb::unknown, "", "Put");
  DmSession session(rules_, first_.header, {}, "", clock_.steady());
  take(session, first_);
  std::vector<std::string> codes;
  std::set<std::uint32_t> ids;
  for (const DmCommand& status : read_whole(session.reply()).commands) codes.push_back(status.data), ids.insert(status.id);
  EXPECT_EQ(codes, (std::vector<std::string>{"212", "200", "200", "200", "200", "200", "200", "406", "406", "200", "200", "406", "406", "406", "406", "406"}));
  EXPECT_EQ(ids.size(), codes.size());
}

TEST_F(Session, an_abort_ends_it_and_names_what_was_not_answered) {
  DmSession session = open("01-client-package1.xml");
  take(session, first_);
  session.queue({7, exec_node(dm_node::defender_scan, "1")});
  session.reply();
  DmMessage abort = read_whole(mdm_sample("32-client-abort-1223.xml"));
  abort.header.session_id = "11";
  abort.header.message_id = 2;
  const DmTaken taken = take(session, abort);
  EXPECT_TRUE(taken.aborted);
  EXPECT_TRUE(taken.answers.empty());
  EXPECT_TRUE(session.over());
  EXPECT_EQ(session.unanswered(), std::vector<std::uint64_t>{7});
  EXPECT_TRUE(read_whole(session.reply()).final);
}

TEST_F(Session, messages_out_of_turn_end_it) {
  const auto outcome = [&](auto spoil) {
    DmSession session = open("01-client-package1.xml");
    take(session, first_);
    session.queue({1, get_node(push_.status)});
    session.reply();
    DmMessage next = read_whole(mdm_sample("03-client-pfn-ok.xml"));
    spoil(next);
    const auto taken = session.take(next, clock_.steady());
    EXPECT_EQ(session.over(), !taken);
    return taken ? std::string("taken") : std::string(taken.error().code);
  };
  EXPECT_EQ(outcome([](DmMessage&) {}), "taken");
  EXPECT_EQ(outcome([](DmMessage& m) { m.header.message_id = 1; }), "mdm.sequence");
  EXPECT_EQ(outcome([](DmMessage& m) { m.header.message_id = 3; }), "mdm.sequence");
  EXPECT_EQ(outcome([](DmMessage& m) { m.header.session_id = "12"; }), "mdm.sequence");
  EXPECT_EQ(outcome([](DmMessage& m) { m.header.source = "AB"; }), "mdm.sequence");
}

TEST_F(Session, several_items_are_answered_one_by_one) {
  first_ = read_whole(mdm_sample("01-client-package1.xml"));
  first_.header.session_id = "35";
  DmSession session(rules_, first_.header, {}, "", clock_.steady());
  take(session, first_);
  DmCommand get = get_node("./DevDetail/SwV");
  for (const std::string& uri : {std::string("./DevDetail/LrgObj"), push_.status, push_.channel_uri}) get.items.emplace_back().target = uri;
  session.queue({9, get});
  session.reply();
  const DmTaken taken = take(session, read_whole(mdm_sample("35-client-multi-item-get-results.xml")));
  ASSERT_EQ(taken.answers.size(), 1u);
  EXPECT_EQ(taken.answers[0].status, 404);  // the worst of them
  EXPECT_EQ(taken.answers[0].status_of("./DevDetail/SwV"), 200);
  EXPECT_EQ(taken.answers[0].status_of(push_.channel_uri), 404);
  EXPECT_EQ(taken.answers[0].results.size(), 3u);
}

TEST_F(Session, an_unfinished_package_is_asked_for_and_nothing_else) {
  DmSession session = open("01-client-package1.xml");
  first_.final = false;
  EXPECT_FALSE(take(session, first_).whole);
  session.queue({1, get_node(push_.status)});
  DmMessage reply = read_whole(session.reply());
  EXPECT_FALSE(reply.final);
  EXPECT_EQ(reply.commands.back().verb, DmVerb::alert);
  EXPECT_EQ(reply.commands.back().data, "1222");
  DmMessage rest = first_;
  rest.header.message_id = 2;
  rest.final = true;
  EXPECT_TRUE(take(session, rest).whole);
  reply = read_whole(session.reply());
  EXPECT_TRUE(reply.final);
  EXPECT_EQ(reply.commands.back().verb, DmVerb::get);
}

TEST_F(Session, what_does_not_fit_waits_for_the_next_message) {
  rules_.reply_bytes_max = 4'096;
  DmSession session = open("01-client-package1.xml");
  take(session, first_);
  const std::string large(1'200, 'x');
  for (std::uint64_t ticket = 1; ticket <= 7; ++ticket) session.queue({ticket, set_node(DmVerb::replace, "./Vendor/Test", large)});
  ScriptedDevice device;
  static_cast<void>(device.package1());
  std::vector<std::uint64_t> answered;
  std::string reply = session.reply();
  int messages = 0;
  while (auto next = device.next(reply)) {
    EXPECT_LE(reply.size(), 4'096u);
    for (const DmAnswer& answer : take(session, *next).answers) answered.push_back(answer.ticket);
    reply = session.reply();
    ++messages;
  }
  EXPECT_EQ(answered, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_GE(messages, 3);
}

TEST_F(Session, a_silent_device_and_an_endless_one_are_given_up) {
  rules_.messages_max = 5;
  DmSession session = open("01-client-package1.xml");
  take(session, first_);
  EXPECT_FALSE(session.expired(clock_.steady() + minutes(4)));
  EXPECT_TRUE(session.expired(clock_.steady() + minutes(5)));
  ScriptedDevice device;
  static_cast<void>(device.package1());
  session.queue({1, get_node(push_.status)});
  std::string reply = session.reply();
  for (int i = 0; i < 10; ++i) {
    auto next = device.next(reply);
    ASSERT_TRUE(next);
    auto taken = session.take(*next, clock_.steady());
    if (!taken) {
      EXPECT_STREQ(taken.error().code, "mdm.messages");
      EXPECT_EQ(i, 4);
      return;
    }
    session.queue({2, get_node(push_.status)});
    reply = session.reply();
  }
  FAIL() << "the session never ended";
}

}  // namespace
}  // namespace greengate::test
