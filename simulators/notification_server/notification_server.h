#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace greengate::sim {

/// What the notification server needs to know of clients; the MP simulator answers. Any thread.
struct KnownClient {
  std::string sms_id;
  std::string certificate_der;
  bool approved = true;
  bool blocked = false;
};

class ClientDirectory {
 public:
  virtual ~ClientDirectory() = default;
  virtual std::optional<KnownClient> find(const std::string& sms_id) const = 0;
};

/// Every setting of the notification server. The numbers in comments are sections of the client
/// notification specification, the letters its evidence grades (I = inferred).
struct NotifyConfig {
  std::string bind_address = "127.0.0.1";
  std::uint16_t port = 0;     ///< 0 takes a free one; the product's default is 10123.
  std::string profile = "A";  ///< Header layout: A, B, C, A8 or A16 (2.3 I).
  std::filesystem::path dir;  ///< Evidence folder; also where the made certificate is written.

  // Frame (2.3, all I).
  std::string byte_order = "little";           ///< little | big
  std::string header_size_means = "fixed";     ///< fixed | xml (length of an XML header; 0 on TCP)
  std::string payload_size_means = "payload";  ///< payload | frame
  std::string channel_means = "type";          ///< type | constant
  std::int64_t channel_constant = 0;           ///< The constant, when channel_means says so.
  std::int64_t type_numbers_from = 0;          ///< 0: SignIn is 0. 1: None is 0 and SignIn is 1.
  std::int64_t major = 1;
  std::int64_t minor = 0;
  std::string text = "utf-16le";             ///< utf-16le | utf-8, each also with "+bom" or "+nul"
  std::string compression = "none";          ///< none | zlib
  std::int64_t payload_bytes_max = 1 << 20;  ///< 8.2 rule 3.
  std::string message_version = "1.0";  ///< MessageVersion of the confirmation (Q4: value unknown).
  std::string client_type = "SCCM";     ///< The only ClientType taken.

  // HTTP (3, all I).
  std::string http = "https";        ///< off | http | https: a second listener, as the product has it (1.1).
  std::uint16_t http_port = 0;       ///< 0 takes a free one.
  std::int64_t hang_ms = 300'000;    ///< How long a request is held.
  std::int64_t http_gone_ms = 30'000;  ///< Without a request for this long, a session by HTTP is over.
  std::string http_cookie = "BgbSession";   ///< Set at LogIn and wanted ever after; empty: none.
  std::string http_reply_header = "none";   ///< none | xml: whether answers carry an XML header too.
  std::int64_t http_refuse_status = 403;    ///< Of a LogIn that is refused.
  std::int64_t http_lost_status = 401;      ///< Of a request without a session.
  bool check_hook = true;                   ///< 4.1 (6)
  std::string hook_signs = "payload";       ///< payload | client_id | nothing
  std::string hook_text = "base64";         ///< base64 | hex
  std::string hook_byte_order = "little";   ///< little | big | either

  // TLS (1.2, 4.1).
  std::filesystem::path certificate_file;   ///< PEM; empty makes a self-signed one in `dir`.
  std::filesystem::path key_file;           ///< PEM; goes with certificate_file.
  std::string server_name = "localhost";    ///< Common name and DNS name of the made certificate.
  std::string certificate_state = "valid";  ///< valid | expired | not-yet: what is made (7.3).
  std::string tls_min = "1.2";              ///< 1.2 | 1.3
  std::string tls_max = "1.3";              ///< 1.2 | 1.3; not below tls_min.

  // Sign-in checks, one by one (4.1 I).
  bool check_certificate = true;
  bool check_key = true;
  bool check_smsid_form = true;
  bool check_blocked = true;
  bool check_approved = true;
  std::string refuse_as = "close";  ///< close | disconnect-frame | silence | tls-alert

  // Session rules (1.4, 1.5, 2.5).
  std::string duplicate_signin = "replace";  ///< replace | reject | both (1.5 I)
  std::string offline_rule = "socket";       ///< socket | silence (1.4 I)
  std::string client_disconnect = "refuse";  ///< refuse | accept a Disconnect from a client (Q5)
  bool allow_unknown_members = false;        ///< Take members the samples do not have (Q14).
  bool close_on_schema_violation = false;    ///< Else the message is refused, the session stays.

  // Times.
  std::int64_t handshake_timeout_ms = 30'000;
  std::int64_t signin_timeout_ms = 30'000;         ///< 2.5
  std::int64_t frame_timeout_ms = 60'000;          ///< A begun frame must end within this.
  std::int64_t response_limit_ms = 5'000;          ///< 7.2
  std::int64_t pending_push_delay_max_ms = 2'000;  ///< 6.3 I
  std::int64_t negotiation_open_ms = 30'000;       ///< 2.5
  std::int64_t client_close_limit_ms = 10'000;     ///< Reading 3 of client notification.
  std::int64_t grace_ms = 300'000;                 ///< 1.4 (d)
  std::int64_t silence_ms = 300'000;               ///< 1.4 (d): 300 s or 1830 s
  std::int64_t accounting_ms = 60'000;             ///< 1.4
  std::int64_t task_report_ms = 30'000;            ///< 6.3
  std::int64_t script_task_life_ms = 3'600'000;    ///< TaskType 15 (6.3 D)
  std::int64_t task_life_ms = 86'400'000;          ///< Other types (6.3 I)
  std::int64_t timestamp_skew_warn_ms = 600'000;   ///< 0 looks at no skew.
  std::int64_t timestamp_offset_ms = 0;            ///< Added to our own TimeStamps (7.3).
  std::int64_t black_hole_ms = 600'000;            ///< After this a black-holed session is closed.

  // Throttle: strategy 1, param 42 read as "at most 42 sends per 100 ms" (7.3 I); 0 sends: no
  // limit.
  std::int64_t throttle_sends = 42;
  std::int64_t throttle_slice_ms = 100;

  // Bounds.
  std::int64_t sessions_max = 120'000;      ///< More are accepted and closed, counted.
  std::int64_t clients_max = 200'000;       ///< More clients are refused.
  std::int64_t out_bytes_max = 2 << 20;     ///< Per session; a slower reader is closed.
  std::int64_t pushes_max = 1'000;          ///< The oldest finished ones are forgotten.
  std::int64_t deliveries_max = 2'000'000;  ///< Over all pushes; then a push is refused.
  std::int64_t violations_kept = 10'000;    ///< In memory; the files have all.
  std::int64_t faults_max = 100;
  std::int64_t evidence_bytes_max = 1LL << 30;  ///< Per file; then it is renamed to .1.
  std::string evidence = "all";                 ///< all | violations (frames with any, only)

  const Clock* clock =
      nullptr;  ///< Whose time it is; null takes the machine's. Outlives the server.
};

/// Reads settings by the names above from a JSON object over `base`.
/// Errors: notify.settings (not JSON, unknown name, wrong kind or value).
Result<NotifyConfig> notify_config_from_json(std::string_view json, NotifyConfig base = {});

/// The strict server side of client notification on TCP: signs clients in, pushes tasks, checks
/// every byte they send against the specification and keeps all of it as evidence.
///
/// Promise   Shares no encoder, parser or crypto helper with the product. What a client sent is in
///           messages.jsonl with its verdict; a refused frame also byte by byte.
/// Order     Pushes leave in the order of POST /notify/push, as fast as the throttle lets them.
/// Limits    All in NotifyConfig; a session has no thread, and no buffer while it is idle.
/// Threads   One: the one that runs the io_context. start() may also come before it runs.
/// Errors    notify.settings, notify.bind, notify.certificate, notify.evidence.
/// Source    Client notification specification 2, 4.1, 6.3, 7.3;
/// docs/reference/simulators-notify.md
class NotificationServer {
 public:
  /// `clients` may be null: then nobody is looked up and every key is taken. It outlives the
  /// server.
  NotificationServer(boost::asio::io_context& io, NotifyConfig config,
                     const ClientDirectory* clients);
  ~NotificationServer();
  NotificationServer(const NotificationServer&) = delete;
  NotificationServer& operator=(const NotificationServer&) = delete;

  Result<void> start();
  /// Sends Disconnect to every session, as far as it goes at once, and closes them.
  void stop();
  std::uint16_t port() const;
  std::uint16_t http_port() const;  ///< 0 when there is none.

  /// JSON admin: path below /notify/…, body JSON; returns (http status, JSON text). Called on the
  /// io thread.
  std::pair<unsigned, std::string> admin(const std::string& method, const std::string& path,
                                         const std::string& body);

 private:
  std::shared_ptr<class NotifyEngine> engine_;
};

}  // namespace greengate::sim
