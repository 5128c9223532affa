#pragma once

#include "simulators/notification_server/admin_words.h"
#include "simulators/notification_server/evidence.h"
#include "simulators/notification_server/faults.h"
#include "simulators/notification_server/frame.h"
#include "simulators/notification_server/http_body.h"
#include "simulators/notification_server/http_door.h"
#include "simulators/notification_server/message.h"
#include "simulators/notification_server/notification_server.h"
#include "simulators/notification_server/tls.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>

#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace greengate::sim {

/// What stands behind NotificationServer: sessions driven by readiness, one agenda for every wait.
/// Threads   The io_context's one thread.
class NotifyEngine : public std::enable_shared_from_this<NotifyEngine> {
 public:
  NotifyEngine(boost::asio::io_context& io, NotifyConfig config, const ClientDirectory* directory);
  Result<void> start();
  void stop();
  std::uint16_t port() const { return port_; }
  std::uint16_t http_port() const { return http_port_; }
  std::pair<unsigned, std::string> admin(const std::string& method, std::string path,
                                         const std::string& body);

 private:
  using SessionId = std::uint64_t;
  using ClientNumber = std::uint32_t;
  static constexpr ClientNumber nobody = ~ClientNumber{0};

  enum class Phase : std::uint8_t {
    handshaking,
    signing_in,
    unconfirmed,  ///< Signed in, but a fault keeps the confirmation.
    online,
    refused,     ///< Sign-in refused; the line is open, nothing is answered.
    black_hole,  ///< A fault: neither read nor written.
    closed,
  };

  struct Chunk {
    std::string bytes;
    std::size_t sent = 0;
    bool byte_by_byte = false;
    bool close_after = false;
    std::chrono::milliseconds wait{0};
    SteadyTime not_before{};
  };

  struct Session {
    SessionId id = 0;
    boost::asio::ip::tcp::socket socket;
    notify::Ssl ssl;
    Phase phase = Phase::handshaking;
    bool reading = false, writing = false;  // a wait for readiness is out
    bool leaving = false;                   // we asked it to go
    ClientNumber client = nobody;
    std::string claimed;  // the SMSID of a sign-in that was not accepted
    std::optional<notify::KeyHash> key;
    std::string in;              // the begun frame, empty between frames
    SteadyTime frame_since{};    // when it was begun
    bool frame_watched = false;  // an appointment looks after it
    std::list<Chunk> out;
    std::size_t out_bytes = 0;
    std::string held;  // many_frames_per_write
    std::int64_t held_frames = 0;
    WallTime since{};
    std::uint32_t frames_in = 0, frames_out = 0;
    std::uint64_t bytes_in = 0;
    // Of a session by HTTP: it has no line of its own, only a request that waits now and then.
    bool http = false;
    std::uint64_t hold = 0;  // the request that waits
    std::string named;       // by the header of its sign-in
    std::string reply;       // what goes out with the next answer
    std::string cookie;
    SteadyTime idle_since{};
    std::chrono::milliseconds patience{0};  // it was told to come back later
    std::uint32_t calls_after_leave = 0;
    explicit Session(boost::asio::ip::tcp::socket taken) : socket(std::move(taken)) {}
  };
  using SessionPtr = std::shared_ptr<Session>;

  struct Client {
    std::string sms_id;
    std::string version;
    std::vector<SessionId> sessions;     // the newest last
    std::vector<std::uint64_t> waiting;  // pushes that may still need an answer
    SteadyTime last_message{}, socket_lost{};
    WallTime last_seen{};
    bool ever_online = false;
    bool by_http = false;  // its newest session
    bool reported_online = false;
    std::uint32_t sign_ins = 0, keep_alives = 0, responses = 0, violations = 0;
  };

  enum class Delivered : std::uint8_t { pending, sent, answered, expired };
  struct Delivery {
    Delivered state = Delivered::pending;
    bool queued = false;
    bool late = false;
    bool ever_answered = false;
    bool expect_failure = false;  // it was sent with a TaskType nobody knows
    const char* fault = nullptr;
    SessionId session = 0;    // the last one it was sent on
    std::uint32_t sends = 0;  // in all
    std::uint16_t sends_here = 0, answers_here = 0;
    SteadyTime sent{};
    WallTime sent_at{}, answered_at{};
    double round_trip_ms = 0;
    std::int64_t return_code = 0;
  };
  struct Push {
    std::uint64_t id = 0, task_id = 0;
    std::string task_guid, task_param;
    std::uint32_t task_type = 1;
    WallTime made{};
    SteadyTime expires{};
    std::unordered_map<ClientNumber, Delivery> deliveries;
    std::size_t answered = 0, failed = 0;
    bool expired = false, report_due = false;
    std::vector<ClientNumber> news;
  };

  enum class Due : std::uint8_t {
    handshake_limit,
    signin_limit,
    frame_limit,
    pending_pushes,
    chunk,
    held_frames,
    leave_limit,
    close_session,
    disconnect_frame,
    response_late,
    slice,
    accounting,
    task_report,
    push_expiry,
    flush,
    accept_again,
    restart_over,
    http_hang,
    http_cut,
    http_late,
    http_gone,
  };
  struct Appointment {
    SteadyTime at;
    Due due;
    std::uint64_t a = 0, b = 0;
    bool operator>(const Appointment& other) const { return at > other.at; }
  };

  struct Violation {
    WallTime at{};
    SessionId session = 0;
    std::string sms_id;
    notify::Finding finding;
  };

  // Time (engine.cc).
  SteadyTime now() const { return clock_.steady(); }
  std::int64_t own_seconds() const;
  std::int64_t seconds_under(const notify::FaultRule* rule) const;
  void remind(std::chrono::milliseconds in, Due due, std::uint64_t a = 0, std::uint64_t b = 0);
  void arm();
  void run_due();
  void keep(const Appointment& what);

  // Faults (engine.cc).
  notify::FaultRule* pick(notify::Moment moment, std::string_view sms_id);

  // What befalls the server as a whole (upheaval.cc).
  Result<void> listen();
  void go_down(const std::string& side, std::chrono::milliseconds down, std::int64_t accepts_per_second);
  void restart_over(std::uint64_t sides);
  Result<void> change_certificate(const std::string& state);
  void cut_everybody();
  void shake_tls(Session& session, notify::Fault how);

  // One request of the HTTP side, until it is answered.
  struct Held {
    std::shared_ptr<notify::HttpHold> hold;
    SessionId session = 0;
    SteadyTime since{};
    std::string method, type, source_id;
    const char* fault = nullptr;
    std::chrono::milliseconds buffer{0};
    notify::HttpAnswer late;
    std::vector<std::string> codes;
  };

  // HTTP (http_talk.cc).
  Result<void> open_http();
  void close_http();
  void take_call(notify::HttpCall call, const std::shared_ptr<notify::HttpHold>& hold);
  void judge_hook(const notify::HttpCall& call, notify::HttpBody& body, std::span<const std::byte> bytes);
  void log_in(std::uint64_t hold, const notify::HttpCall& call, const notify::HttpBody& body, std::span<const std::byte> bytes);
  void go_on(std::uint64_t hold, const notify::HttpCall& call, const notify::HttpBody& body, std::span<const std::byte> bytes);
  void take_payload(const SessionPtr& session, const notify::HttpBody& body, std::span<const std::byte> bytes);
  void push_bytes(const SessionPtr& session, std::string bytes, bool then_cut);
  void say(const SessionPtr& session, bool with_cookie);
  void answer_call(std::uint64_t id, notify::HttpAnswer answer);
  void caller_gone(std::uint64_t id);
  void keep_http(const Appointment& what);
  void close_http_session(const SessionPtr& session, Phase was);
  SessionPtr http_session_of(const std::string& sms_id) const;
  void note_call(Held& held, const notify::Findings& findings);
  void write_call_line(const Held& held, const notify::HttpAnswer& answer);

  // Line (line.cc).
  void accept();
  void accepted(boost::asio::ip::tcp::socket socket);
  void wait_read(const SessionPtr& session);
  void wait_write(const SessionPtr& session);
  void on_readable(const SessionPtr& session);
  void handshake(const SessionPtr& session);
  void feed(const SessionPtr& session, std::span<const std::byte> bytes);
  void watch_frame(Session& session, std::chrono::milliseconds in);
  void flush(const SessionPtr& session);
  void push_chunk(const SessionPtr& session, Chunk chunk);
  void close(const SessionPtr& session, std::string_view reason, bool orderly = true);
  void go_dark(const SessionPtr& session);
  SessionPtr find_session(SessionId id) const;

  // Conversation (conversation.cc).
  void on_bad_stream(const SessionPtr& session, const notify::Cut& cut,
                     std::span<const std::byte> stream);
  void on_frame(const SessionPtr& session, const notify::Cut& cut,
                std::span<const std::byte> frame);
  void judge_sign_in(Session& session, const notify::ClientMessage& message,
                     notify::Findings& findings);
  void judge_response(Session& session, const notify::ClientMessage& message,
                      notify::Findings& findings);
  void sign_in(const SessionPtr& session, const notify::ClientMessage& message);
  void refuse(const SessionPtr& session, std::string_view code);
  void confirm(const SessionPtr& session);
  void answer(Session& session, const notify::ClientMessage& message);
  void ask_to_leave(const SessionPtr& session, notify::Kind how, std::int64_t close_after_ms);
  void expect_leave(Session& session, bool then_close);

  // Pushing (pushing.cc).
  Result<Push*> make_push(std::uint32_t type, std::string param, std::string guid);
  bool owe(Push& push, ClientNumber number);
  void enqueue(Push& push, ClientNumber number);
  void pump();
  void send_pending(const SessionPtr& session);
  void deliver(const SessionPtr& session, Push& push, ClientNumber number, Delivery& delivery);
  void send_frame(const SessionPtr& session, notify::Kind kind, const std::string& xml,
                  notify::FaultRule* rule = nullptr);
  void expire(Push& push);
  void forget_old_pushes();

  // Accounts and evidence (accounts.cc).
  ClientNumber number_of(const std::string& sms_id, bool may_add);
  bool is_online(const Client& client) const;
  void account(bool full);
  void report_task(Push& push);
  std::string sms_id_of(const Session& session) const;
  void note(const Session& session, const notify::Findings& findings);
  /// For a departure that no frame carries: too late, never closed.
  void note_frameless(const Session& session, notify::Finding finding);
  void write_frame_line(const Session& session, bool in, notify::Kind kind,
                        const notify::Header* header, std::string_view xml,
                        std::string_view verdict, const notify::Findings& findings,
                        std::span<const std::byte> raw, const char* fault);
  void write_session_line(const Session& session, std::string_view event,
                          boost::json::object more = {});
  void write_line(notify::EvidenceFile& file, const boost::json::object& line);

  // Admin (admin.cc, admin_views.cc, admin_orders.cc, settings.cc).
  notify::Answer show_sessions(std::size_t offset, std::size_t limit) const;
  notify::Answer show_client(const std::string& sms_id) const;
  notify::Answer show_pushes() const;
  notify::Answer show_push(std::uint64_t id, std::size_t offset, std::size_t limit) const;
  notify::Answer show_stats() const;
  notify::Answer show_violations(std::size_t offset, std::size_t limit) const;
  notify::Answer show_faults() const;
  notify::Answer add_faults(const boost::json::value& body);
  notify::Answer push_now(const boost::json::object& body);
  notify::Answer disconnect_now(const boost::json::object& body);
  notify::Answer restart_now(const boost::json::object& body);
  notify::Answer certificate_now(const boost::json::object& body);
  notify::Answer change_settings(const std::string& body);
  Result<std::vector<ClientNumber>> named_clients(const boost::json::object& body);

  boost::asio::io_context& io_;
  NotifyConfig config_;
  const ClientDirectory* directory_;
  SystemClock system_clock_;
  const Clock& clock_;
  notify::FrameRules rules_;
  notify::SslContext context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::uint16_t port_ = 0;
  std::chrono::milliseconds accept_gap_{0};  // after a restart, a server that takes them one by one
  SteadyTime next_accept_{};
  bool running_ = false;

  std::shared_ptr<notify::HttpDoor> door_;
  std::uint16_t http_port_ = 0;
  std::unordered_map<std::uint64_t, Held> holds_;
  std::uint64_t next_hold_ = 1;
  notify::EvidenceFile call_lines_;

  boost::asio::steady_timer timer_;
  SteadyTime timer_set_for_ = SteadyTime::max();
  std::priority_queue<Appointment, std::vector<Appointment>, std::greater<>> agenda_;

  std::unordered_map<SessionId, SessionPtr> sessions_;
  SessionId next_session_ = 1;
  std::vector<Client> clients_;
  std::unordered_map<std::string, ClientNumber> client_numbers_;
  std::map<std::uint64_t, Push> pushes_;
  std::unordered_map<std::string, std::uint64_t> task_ids_;  // by TaskGUID, of the pushes kept
  std::uint64_t next_push_ = 1, next_task_ = 101;            // unlike each other, as in the product
  std::int64_t deliveries_ = 0;
  std::deque<std::pair<std::uint64_t, ClientNumber>> send_queue_;
  SteadyTime slice_since_{};
  std::int64_t slice_sends_ = 0;
  bool slice_due_ = false;

  std::vector<notify::FaultRule> faults_;
  std::uint64_t next_fault_ = 1;
  std::mt19937_64 dice_;

  notify::EvidenceFile session_lines_, message_lines_, report_lines_;
  bool flush_due_ = false;
  std::deque<Violation> violations_;
  std::map<std::string, std::uint64_t> violation_counts_;
  std::uint64_t violation_total_ = 0;
  std::map<std::string, std::uint64_t> counts_;  // plain counters by name, for /stats
  std::uint64_t online_version_ = 0;
  bool online_full_due_ = true;
  std::array<std::byte, 16 * 1024> scratch_{};
};

}  // namespace greengate::sim
