#pragma once

#include "adapters/mdm/dm_commands.h"
#include "adapters/mdm/dm_memory.h"
#include "adapters/mdm/dm_session.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/log.h"

#include "greengate/v1/notification.pb.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace greengate::adapters {

/// A device as its enrolment has it.
struct DmDevice {
  AgentId agent;
  std::string device_id;      ///< Source/LocURI of its messages.
  std::string enrolment;      ///< Serial of its certificate.
  DmCredential credential;    ///< Empty: the certificate is enough.
};

/// What a session told of the device's push registration.
struct DmChannel {
  std::optional<std::string> uri;
  std::optional<int> push_status;
};

/// What visits need of the house, and tell it. Called on the server's threads, one visit of a device at a time; calls may wait for the disk.
class DmHost {
 public:
  virtual ~DmHost() = default;
  /// Package 1 of an authenticated session.
  virtual void visit_opened(const DmDevice& device) = 0;
  virtual void visit_closed(const DmDevice& device) = 0;
  virtual std::string pfn_to_set(const DmDevice& device) = 0;
  virtual void channel_read(const DmDevice& device, const DmChannel& channel) = 0;
  /// What became of setting the PFN: a word, and whether it went well.
  virtual void pfn_outcome(const DmDevice& device, const std::string& outcome, bool good) = 0;
  /// What waits for the device, and what was handed to it before and never answered.
  virtual std::vector<v1::Notification> collect(const DmDevice& device, std::uint32_t count_max) = 0;
  virtual void task_result(const DmDevice& device, const v1::TaskResult& result) = 0;
  virtual Result<DmMemory> recall(const DmDevice& device) = 0;
  /// Waits for the sync.
  virtual Result<void> remember(const DmDevice& device, const DmMemory& memory) = 0;
  /// The user of the device ended its management.
  virtual void unenrolled(const DmDevice& device) = 0;
};

struct DmVisitRules {
  DmSessionRules session;
  DmTaskRules tasks;
  std::string provider = "Greengate";                ///< ProviderID the devices were enrolled with.
  std::uint32_t tasks_max = 32;                      ///< Of one session.
  std::chrono::milliseconds watch_for{86'400'000};   ///< A scan the device does not show within this has not been completed.
  std::chrono::milliseconds same_work_window{60'000};
};

/// Work of a device done a moment ago, for R-63. Lives as long as the process.
struct DmLatelyDone {
  v1::Notification task;
  SteadyTime at;
  v1::TaskResult result;   ///< Its last one.
};

/// One visit of a device, from package 1 to the end: reads the channel, sets the PFN when it is time, hands over what waits, and tells what came
/// of it.
///
/// Promise   ChannelURI and Status are asked for in every visit. A restart or wipe is noted on disk before it is sent, and never sent
///           again under its id; one whose answer was lost is told as mdm.unclear, for a person to look at. A task is sent once a visit.
/// Threads   One at a time.
/// Source    wns-mdm-push 10 to 14
class DmVisit {
 public:
  DmVisit(const DmVisitRules& rules, DmDevice device, DmHost& host, std::vector<DmLatelyDone>& lately, const Clock& clock,
          const DmHeader& first, std::string nonce);

  /// The answer to a message. After an error, or when over(): close() and drop it.
  Result<std::string> answer(const DmMessage& message);
  bool over() const { return session_.over(); }
  bool expired(SteadyTime now) const { return session_.expired(now); }
  bool admitted() const { return session_.admitted(); }
  /// `how`: as DmMemory::last_end has it. Once.
  void close(const std::string& how);

  const DmDevice& device() const { return device_; }
  const std::string& session_id() const { return session_.id(); }

 private:
  enum class For { task, before, watch, pfn, uri, status, extra_uri, extra_status };
  struct Waiting {
    For what = For::task;
    std::size_t index = 0;   ///< Of the run, or in watched_.
  };
  /// A task of this visit, with all notifications it answers.
  struct Run {
    v1::Notification task;
    std::vector<std::uint64_t> ids;
    DmPlan plan;
    std::optional<std::string> before;  ///< Of what is watched.
    std::size_t left = 0;               ///< Orders without an answer.
    int worst = 200;
    bool sent = false, over = false;
  };

  void begin();
  void hear(const DmTaken& taken);
  void hear_answer(const DmAnswer& answer);
  void hear_task(Run& run, const DmAnswer& answer);
  void hear_watch(std::uint64_t notification, const DmAnswer& answer);
  void go_on_with_pfn(const DmAnswer& answer);
  void told_channel();
  void gather();
  void take_on(const v1::Notification& task);
  bool send(std::size_t index);
  void read_channel(For uri, For status);
  void order(DmCommand command, For what, std::size_t index);
  void tell(const Run& run, v1::TaskOutcome outcome, const std::string& code, const std::string& message);
  void tell(std::uint64_t id, v1::TaskOutcome outcome, const std::string& code, const std::string& message);
  void note_lately(const Run& run, v1::TaskOutcome outcome, const std::string& code, const std::string& message);
  void keep();

  const DmVisitRules& rules_;
  const DmDevice device_;
  DmHost& host_;
  std::vector<DmLatelyDone>& lately_;
  const Clock& clock_;
  const Log log_{"mdm"};
  const PushNodes nodes_;
  DmSession session_;

  bool begun_ = false, closed_ = false;
  bool blind_ = false;   ///< What was kept of the device could not be read: nothing may be sent that must not be sent twice.
  DmMemory memory_, kept_;
  std::optional<PfnProcedure> pfn_;
  std::uint64_t next_ticket_ = 1;
  std::map<std::uint64_t, Waiting> waiting_;
  std::vector<Run> runs_;
  std::set<std::uint64_t> seen_;               ///< Notifications of this visit.
  std::vector<std::uint64_t> watched_;         ///< Notifications of earlier visits whose end is looked for.

  // What the reads of this package said.
  bool uri_heard_ = false, status_heard_ = false, channel_asked_ = false;
  DmChannel channel_;
  std::optional<DmAnswer> pfn_answer_;
};

}  // namespace greengate::adapters
