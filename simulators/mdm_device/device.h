#pragma once

#include "simulators/common/authority.h"
#include "simulators/common/dice.h"
#include "simulators/common/exact_evidence.h"
#include "simulators/common/sim_clock.h"
#include "simulators/mdm_device/dm_tree.h"
#include "simulators/mdm_device/power.h"
#include "simulators/mdm_device/schedules.h"
#include "simulators/mdm_device/settings.h"
#include "simulators/mdm_device/syncml.h"
#include "simulators/wns/apps.h"
#include "simulators/wns/channels.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/json.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace greengate::sim::mdm {

class DmLine;

/// What all devices share.
struct World {
  boost::asio::io_context& io;
  SimClock& clock;
  Dice& dice;
  const Settings& settings;
  wns::Apps& apps;
  wns::Channels& channels;
  ExactEvidence& evidence;
  boost::asio::ssl::context& tls;
};

/// One management session as a test reads it.
struct SessionRecord {
  std::uint64_t number = 0;                ///< Of this device, over re-enrolments.
  std::string session_id, cause, outcome;  ///< outcome: running, done, or why it ended
  std::int64_t began_ms = 0, ended_ms = 0;
  std::string alert, package1;
  std::vector<std::int64_t> http;  ///< Status of each answer; 0 where there was none.
  int messages = 0;
  bool authenticated = false;  ///< 200 or 212 on the header.
  struct Command {
    std::string verb, uri, data;
    int status = 0, message = 0;
  };
  std::vector<Command> commands;
  std::vector<std::string> breaches;  ///< What the server got wrong.
  std::string retry_after;            ///< With a 429.
  boost::json::object view() const;
};

/// How a device misbehaves (S-28) or suffers.
struct DeviceFaults {
  int pfn_replace = 0;  ///< Answers Replace and Add of the PFN with this.
  std::optional<int> push_status;
  bool ignore_push = false;
  bool hang_on_pfn = false;    ///< 1511: the session ends where the PFN is set.
  std::string channel_uri;     ///< Reported instead of its own.
  bool flapping_uri = false;   ///< Another URI in every session.
  std::int64_t huge_uri = 0;   ///< A URI of so many octets.
  std::string device_id;       ///< Says it is somebody else.
  bool no_final = false;       ///< Package 1 without Final, and gone.
  bool abandons = false;       ///< Gone after the server's first answer.
  std::string raw_package;     ///< Sent in place of package 1, and gone.
  std::string session_header;  ///< A SessionID of its own choice.
  bool exec_fails = false;     ///< Every Exec is answered with 500.
};

/// One simulated Windows device (S-20 to S-29): a tree, a push registration, two schedules, and a SyncML client.
///
/// Promise   Tells its server nothing that marks a session as woken (S-24). Everything it is asked and answers is in its session
/// records. Limits    The newest 200 sessions are held; a server's message can be 1 MiB. Threads   The io_context's one thread.
/// Source    wns-mdm-push 7, 9.4, 10 to 14
class Device final : public wns::Receiver, public std::enable_shared_from_this<Device> {
 public:
  Device(World world, std::string name, std::string device_id, Issued certificate);
  ~Device() override;
  /// Takes no more pushes. Before the service goes: a session under way may hold its device longer than that.
  void leave();

  const std::string& name() const { return name_; }
  const std::string& device_id() const { return device_id_; }
  const Issued& certificate() const { return certificate_; }

  // The push service's side.
  bool connected() const override;
  void deliver(const wns::Notification& notification) override;

  // Enrolment (S-26, unenroll_1226).
  bool enrolled() const { return enrolled_; }
  void enroll_again(Issued certificate);
  void forget_enrolment();
  void leave_management();  ///< The user removes the account: one last session that says so.

  // State that verbs change.
  Power& power() { return power_; }
  void power_changed(bool was_connected);
  DeviceFaults& faults() { return faults_; }
  std::string build = "11", edition = "desktop", login = "user", absent_style = "404", woken_alert = "1201", channel_host;
  bool pin_set = true, queue_mode = false, obeys_429 = true, renewal_broken = false, msa_device_auth = false;
  void begin();  ///< Once, after it was made.
  void set_poll(PollSchedule schedule);
  void replant();  ///< After build or edition changed: what it has and supports.
  void require_push_node(bool on) { tree_.replace_makes = !on; }
  void set_push_node(const std::string& pfn);  ///< As if set earlier; empty: the node is absent.
  bool renew_now();                            ///< Asks for another channel at once.

  /// Starts a session unless one runs (then false). `ended` is called when it is over.
  bool start_session(const std::string& cause, std::function<void()> ended = {});
  bool session_running() const { return running_ != nullptr; }
  void hold_session(bool on);  ///< The next message after the server's first answer waits until it is let go.
  std::int64_t next_poll_ms() const { return next_poll_ms_; }

  const std::deque<std::shared_ptr<SessionRecord>>& sessions() const { return sessions_; }
  std::uint64_t session_count() const { return session_number_; }
  boost::json::object view() const;

 private:
  friend class Commands;
  // Push registration (push_registration.cc).
  int set_pfn(const std::string& pfn);
  void show_push_nodes(const std::string& pfn);
  int unregister();
  bool ask_for_channel(bool always_new);
  void schedule_renewal(std::int64_t delay_s);
  void renewal_due();
  std::string reported_uri();
  int read_uri(std::string& out);
  int push_status() const;
  void react_to_push();
  void release_held();
  void go_off_line(std::int64_t ms);

  // Objects of the tree (objects.cc).
  void plant();
  void plant_push();
  void plant_poll();
  void plant_defender();
  void plant_execs();

  // The session (dm_session.cc).
  boost::asio::awaitable<void> run(std::shared_ptr<SessionRecord> record, std::shared_ptr<SimClock::Busy> busy);
  boost::asio::awaitable<void> converse(SessionRecord& record, SimClock::Busy& busy);
  boost::asio::awaitable<std::optional<std::string>> post(DmLine& line, const std::string& message, SessionRecord& record,
                                                          SimClock::Busy& busy);
  std::string package1(SessionRecord& record, int msg_id, const std::string& credential);
  void ended(const std::shared_ptr<SessionRecord>& record);
  void schedule_poll();
  void keep(const SessionRecord& record, const char* who, int message, const std::string& text);
  void later(std::int64_t ms, std::function<void(Device&)> what);

  World world_;
  bool left_ = false;
  const std::string name_;
  std::string device_id_;
  Issued certificate_;
  bool enrolled_ = true;
  Power power_;
  DeviceFaults faults_;
  DmTree tree_;

  std::string pfn_, uri_;
  std::int64_t expiry_ms_ = 0;
  int registration_status_ = 4;        ///< Push/Status (10.1)
  bool push_unanswered_ = false;       ///< Status 7 until a session went well.
  std::int64_t pending_delay_ms_ = 0;  ///< The commands of this message take so long in all.
  SimClock::Ticket renewal_ = 0, poll_ = 0;
  PollSchedule schedule_;
  std::int64_t next_poll_ms_ = 0;
  std::uint64_t renewals_ = 0, renewals_skipped_ = 0, polls_missed_ = 0, deliveries_ = 0, held_count_ = 0;
  bool held_ = false, wake_pending_ = false;

  std::string nonce_;  ///< For the next session, when the server gave one.
  std::uint64_t last_session_id_ = 0, session_number_ = 0;
  std::shared_ptr<SessionRecord> running_;
  std::function<void()> when_ended_;
  std::string follow_up_;  ///< Cause of the one session to come after this one.
  bool hold_ = false, leaving_ = false;
  SimClock::Gate gate_;
  std::int64_t off_after_session_ms_ = 0;
  bool wiped_ = false;
  std::deque<std::shared_ptr<SessionRecord>> sessions_;
};

}  // namespace greengate::sim::mdm
