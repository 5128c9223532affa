#pragma once

#include "core/result.h"
#include "simulators/common/crypto.h"
#include "simulators/management_point/picture.h"
#include "simulators/management_point/report.h"

#include <boost/json/fwd.hpp>

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

namespace greengate::sim {

/// The last message ids of a sender, each with a fingerprint of what it said. Limits: the oldest is
/// forgotten.
class RecentIds {
 public:
  static constexpr std::size_t remembered_max = 256;
  /// The fingerprint seen with this id before.
  std::optional<std::uint64_t> seen(std::string_view id) const;
  void remember(std::string_view id, std::uint64_t fingerprint);

 private:
  std::deque<std::pair<std::uint64_t, std::uint64_t>> ids_;
};

std::uint64_t fingerprint_of(std::string_view text);

/// A client as the site's database would hold it.
struct Client {
  std::string sms_id, certificate_der, netbios_name, fqdn, proxy_sms_id;
  Key key;  ///< What verifies its messages.
  std::uint64_t agent_type = 0;
  std::int64_t registered_at_ms = 0, confirmed_at_ms = 0;  ///< 0: never.
  bool approved = false;  ///< By the operator, a CA or Windows authentication; without manual
                          ///< approval it does not count.
  bool blocked = false, rejected = false, proxy = false;
  std::map<ReportKind, ReportVersion> versions;
  std::optional<std::uint64_t> last_serial;
  std::map<ReportKind, std::uint64_t>
      resync_wanted;  ///< The number of the resync policy; absent or 0: none.

  // Not kept over a restart.
  RecentIds recent;
  Picture picture;
  std::int64_t last_message_ms = 0, last_discovery_ms = 0;
  std::uint64_t accepted = 0, refused = 0, repeats = 0, state_messages = 0;
  std::deque<StateMessage> last_states;
  std::deque<std::string> last_lines;  ///< Of verdicts.jsonl.
};

/// All clients, in memory and in `clients.jsonl`, one change a line; compacted when opened.
///
/// Promise   A registration is in the file before its answer leaves. Versions and serial numbers too, where `durable`.
/// Limits    clients_max; a further registration is refused.
/// Threads   One at a time: the Site locks.
/// Errors    clients.file
class ClientBook {
 public:
  ClientBook(std::filesystem::path dir, bool durable, std::size_t clients_max);
  ~ClientBook();
  ClientBook(const ClientBook&) = delete;
  ClientBook& operator=(const ClientBook&) = delete;

  Result<void> open();
  Client* find(const std::string& sms_id);
  const Client* find(const std::string& sms_id) const;
  /// The client with this certificate and these names, if there is one: a registration sent again.
  Client* find_same(std::string_view certificate_der, const std::string& netbios_name,
                    const std::string& fqdn);
  bool full() const { return clients_.size() >= clients_max_; }
  Client& add(Client client);
  /// Writes the client's record.
  void save(const Client& client);
  /// The client has another certificate now.
  void change_key(Client& client, const std::string& certificate_der, const Key& key);
  /// As if the site had lost the client: the next message is refused, and it must register again.
  bool forget(const std::string& sms_id);
  /// Writes what moved with an accepted message: version or serial, and the message's id.
  void save_progress(const Client& client, ReportKind kind, std::string_view message_id,
                     std::uint64_t fingerprint);
  const std::map<std::string, Client>& all() const { return clients_; }

 private:
  void load_line(std::string_view line);
  void write(const std::string& line);
  static std::string same_key(std::string_view certificate_der, const std::string& netbios_name,
                              const std::string& fqdn);

  std::filesystem::path dir_;
  bool durable_;
  std::size_t clients_max_;
  std::map<std::string, Client> clients_;
  std::unordered_map<std::string, std::string> by_certificate_;  // same_key → SMSID
  int file_ = -1;
};

}  // namespace greengate::sim
