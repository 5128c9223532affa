#pragma once

#include "core/clock.h"
#include "simulators/common/admin_server.h"
#include "simulators/common/evidence.h"
#include "simulators/management_point/client_book.h"
#include "simulators/management_point/faults.h"
#include "simulators/management_point/registration.h"
#include "simulators/management_point/replies.h"
#include "simulators/management_point/settings.h"
#include "simulators/notification_server/notification_server.h"

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace greengate::sim {

/// One CCM_POST as it came.
struct Incoming {
  std::string_view raw;  ///< All bytes, for the evidence.
  std::string_view path, content_type, body;
  bool windows_authenticated = false;  ///< On the _windowsauth path with an Authorization header.
  bool expects_continue = false;
};

/// The judge and the memory behind the simulated management point: no sockets here.
///
/// Promise   Each message gets one verdict, one number and one line; what is accepted is applied once.
/// Limits    MpSettings.
/// Threads   Any: one mutex; parsing and verifying happen outside it.
/// Source    mp-protocol 6.5 for the order of checks.
class Site : public ClientDirectory {
 public:
  Site(const MpSettings& settings, const Clock& clock);
  Result<void> open();

  /// Judges a message and answers it. `registration_fault`: 2, 3 or -1 to answer a registration so,
  /// 0 for none.
  Outgoing post(const Incoming& incoming, int registration_fault);
  /// A request that never became a message: recorded under `code`.
  void refuse_transport(std::string_view code, const std::string& text, const Incoming& incoming,
                        unsigned status);
  /// Only recorded: a message a fault swallowed.
  void note_fault(const Incoming& incoming, std::string_view fault);
  /// `.sms_aut` and `.sms_pol`.
  Outgoing get(std::string_view handler, std::string_view query);

  AdminReply admin(const AdminRequest& request);
  std::optional<KnownClient> find(const std::string& sms_id) const override;
  Faults& faults() { return faults_; }
  const Identity& tls_identity() const { return tls_identity_; }

 private:
  struct Record;
  Outgoing judge(const Incoming& incoming, int registration_fault, Record& record,
                 Findings& findings);
  bool authenticate(const Envelope& envelope, std::string_view payload, const Endpoint& endpoint,
                    Record& record, Findings& findings);
  Outgoing answer_registration(const Incoming& incoming, const Envelope& envelope,
                               const std::string& body, int fault, Record& record,
                               Findings& findings);
  Outgoing answer_policy(const Envelope& envelope, const std::string& body, Record& record,
                         Findings& findings);
  Outgoing answer_location(const Envelope& envelope, const std::string& body, Record& record,
                           Findings& findings);
  Outgoing answer_post(const Envelope& envelope, std::string_view stream, const std::string& body,
                       Record& record, Findings& findings);
  void check_order(const Report& report, Client& client, Findings& findings) const;
  void apply(const Report& report, Client& client, WallTime now);
  void finish(Record& record, const Findings& findings, const Incoming& incoming,
              const Outgoing& outgoing);
  bool usable(const Client& client, std::int64_t now_ms) const;

  AdminReply admin_clients(const AdminRequest& request);
  AdminReply admin_change(const AdminRequest& request, const std::string& what);
  AdminReply admin_messages(const AdminRequest& request) const;
  AdminReply admin_stats() const;
  AdminReply admin_faults(const AdminRequest& request);
  AdminReply admin_proxy(const AdminRequest& request);
  AdminReply admin_locations(const AdminRequest& request);

  const MpSettings& settings_;
  const Clock& clock_;
  Evidence evidence_;
  Faults faults_;
  Identity signing_identity_, tls_identity_;
  std::unique_ptr<SiteAnswers> answers_;
  std::int64_t started_at_ms_ = 0;

  mutable std::mutex mutex_;  // guards everything below
  ClientBook book_;
  RecentIds registrations_;
  std::int64_t picture_bytes_left_;
  std::uint64_t resync_number_ = 0;
  struct Counts {
    std::uint64_t accepted = 0, refused = 0, repeats = 0;
  };
  Counts total_;
  std::map<std::string, Counts> by_endpoint_;
  std::map<std::string, std::uint64_t> by_code_;
  std::uint64_t bytes_received_ = 0, gets_ = 0, swallowed_by_faults_ = 0;
  std::deque<std::pair<std::uint64_t, std::string>> lines_;  // the newest messages' lines
};

}  // namespace greengate::sim
