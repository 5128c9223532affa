#pragma once

#include "adapters/agents/dealer_link.h"
#include "agent/config.h"
#include "agent/conversation.h"
#include "agent/door.h"
#include "agent/files/sender.h"
#include "agent/machine_names.h"
#include "agent/outbox.h"
#include "agent/schedule.h"
#include "agent/state_directory.h"
#include "agent/tasks.h"
#include "agent/tasks/agent_tasks.h"
#include "core/clock.h"
#include "core/log.h"

#include <memory>
#include <string>

namespace greengate::agent {

/// The agent at work: one thread, one loop over the link, the collection in hand, the outbox's
/// other writers and the time.
///
/// Promise   Collections are in the outbox before anything is said of them; what the outbox holds
///           is published until it is stored.
/// Threads   One (libzmq has its own).
class Agent : private Notebook {
 public:
  /// `executable`: this program, which is also its own collector. Makes keys and outbox where there
  /// are none.
  static Result<std::unique_ptr<Agent>> make(AgentConfig config, std::string executable,
                                             const Clock& clock);

  /// Works until `stop_fd` is readable.
  void run(int stop_fd);
  /// For `enrol`: works until the gateway has answered the Enrol, or `patience` is over.
  Result<EnrolmentEnded> enrol(int stop_fd, std::chrono::milliseconds patience);

  ~Agent() override;

 private:
  Agent(AgentConfig config, std::string executable, StateDirectory directory,
        adapters::CurvePair keys, std::unique_ptr<Outbox> outbox, const Clock& clock);
  void turn(int stop_fd, SteadyTime until);
  void carry_out();
  void publish_what_waits();
  void hear_link();
  void collect_what_is_due();
  Result<void> keep_collected(CollectionRunner::Finished finished);
  void tell_results();
  void take_file_plan(const std::string& body, std::chrono::milliseconds took);
  void send_files();
  bool keep(v1::Lane lane, v1::Kind kind, const std::string& body);
  void keep_state(std::uint32_t topic_type, const std::string& topic_id, std::uint32_t state_id,
                  std::vector<std::string> parameters);
  void tell_start();
  void tell_custom_problems();
  void hear_door();
  std::string note(const std::string& name) override { return outbox_->note(name); }
  bool keep(const std::vector<Finding>& findings, const Notes& notes) override;
  void remember(Fact which, const std::string& value);

  // What a Decision asks for
  void act(const OpenLink& open);
  void act(const CloseLink&);
  void act(const SendFrame& send);
  void act(const ReportsStored& reports);
  void act(const ReportsSettled& reports);
  void act(const TaskAsked& task);
  void act(const SendFullState& wanted);
  void act(const Directed& directed);
  void act(const Welcomed& welcomed);
  void act(const RenewIncarnation&);
  void act(const StateChanged& change);
  void act(const Answered& answered);
  void act(const AsksLost&);
  void act(const EnrolmentEnded& ended);

  AgentConfig config_;
  const Clock& clock_;
  Log log_{"agent"};
  StateDirectory directory_;
  std::unique_ptr<Outbox> outbox_;
  MachineNames names_;
  Conversation conversation_;
  Schedule schedule_;
  CollectionRunner runner_;
  FileSender files_;
  adapters::DealerLink link_;
  Watchers watchers_;
  AgentTasks tasks_;
  std::unique_ptr<Door> door_;  // while run() works, if there can be one
  int watch_ = -1;  // inotify: another process put something into the outbox
  bool stopping_ = false;
  bool look_ = true;  // the outbox may have something to publish
  bool conversing_ = false;
  bool collecting_ = true;  // off for `enrol`
  bool plan_asked_ = false;  // for a file that was half-sent when the agent stopped
  SteadyTime
      converse_from_{};      // the first time, Hello waits a little for the first discovery's names
  SteadyTime disk_pause_{};  // after the outbox failed
  SteadyTime rest_at_ = SteadyTime::max();  // when memory is given back
  std::string told_;                        // the link state last logged
  std::optional<EnrolmentEnded> enrolment_;
};

}  // namespace greengate::agent
