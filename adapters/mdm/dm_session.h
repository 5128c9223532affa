#pragma once

#include "adapters/mdm/dm_auth.h"
#include "adapters/mdm/syncml.h"
#include "core/clock.h"
#include "core/result.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

namespace greengate::adapters {

struct DmSessionRules {
  std::string server_uri;                       ///< Source of what we send; empty: what the device called us.
  std::size_t reply_bytes_max = 64 * 1024;      ///< Commands that do not fit wait for the next message.
  std::uint32_t commands_max = 64;              ///< Orders in one message.
  std::uint32_t messages_max = 100;             ///< Of the device, in one session.
  std::uint32_t queue_max = 1'024;
  std::chrono::milliseconds timeout{300'000};   ///< Without a word from the device.
  std::uint32_t credential_tries = 3;
};

/// A command for the device. The session gives the CmdIDs.
struct DmOrder {
  std::uint64_t ticket = 0;
  DmCommand command;
};

/// What became of an order.
struct DmAnswer {
  std::uint64_t ticket = 0;
  int status = 0;  ///< 0: the device said nothing of it. Of several items the worst.
  std::vector<std::pair<std::string, int>> items;  ///< Per item, where the device told: LocURI and status.
  std::vector<DmItem> results;
  /// The status of one LocURI: its own, or the command's.
  int status_of(const std::string& uri) const;
};

/// An alert the device raised: 1224 client event, 1226 generic.
struct DmEvent {
  int code = 0;
  std::string type, mark, data;
};

/// What a message brought.
struct DmTaken {
  bool admitted = false;               ///< With this message the device has shown all it must; true once a session.
  std::vector<DmAnswer> answers;       ///< To every order of the message before; only once the device's package is whole.
  std::vector<DmEvent> events;
  std::vector<DmItem> told;            ///< Items of a Replace or Add: its DevInfo.
  bool aborted = false;                ///< Alert 1223.
  bool whole = false;                  ///< The device's package ended with this message: orders may be queued.
};

/// The server's side of one management session, without sockets: what the device sent goes in, what it is answered comes out.
///
/// Usage     take() a message, queue() orders if it is `whole`, then reply(). A reply without orders ends the session.
/// Promise   Every command of the device gets a Status; every order gets one DmAnswer or is among unanswered() when the session ends. CmdIDs are
///           unique in a message. Nothing is believed or told before the credentials are right.
/// Limits    DmSessionRules.
/// Threads   One at a time.
/// Errors    mdm.sequence (reject): another session's id or a MsgID out of turn; mdm.messages (reject): too many of them; the session is then over.
/// Source    wns-mdm-push 12, 13
class DmSession {
 public:
  /// `first`: the header of package 1. With a credential the device is challenged, with `nonce` (octets) first.
  DmSession(DmSessionRules rules, const DmHeader& first, DmCredential credential, std::string nonce, SteadyTime now);

  Result<DmTaken> take(const DmMessage& message, SteadyTime now);
  /// False: there are too many already.
  bool queue(DmOrder order);
  /// The answer to the message taken last, as a document.
  std::string reply();

  bool admitted() const { return admitted_; }
  bool over() const { return over_; }
  bool expired(SteadyTime now) const { return now - last_heard_ >= rules_.timeout; }
  const std::string& id() const { return id_; }
  std::uint32_t messages() const { return heard_; }
  /// Orders queued or sent that have no answer.
  std::vector<std::uint64_t> unanswered() const;

 private:
  struct Sent {
    DmOrder order;
    DmAnswer answer;
    bool has_status = false;
  };
  using Place = std::pair<std::uint32_t, std::uint32_t>;  ///< Message and command.

  void judge_credential(const DmHeader& header);
  void answer_command(const DmCommand& command, DmTaken& taken);
  void note_answer(const DmCommand& answer);
  void add_status(std::uint32_t command_ref, std::string command, int code);
  void number(DmCommand& command, std::uint32_t& next, std::size_t order);

  const DmSessionRules rules_;
  const std::string id_;
  const DmCredential credential_;
  std::string nonce_;
  std::string device_uri_, server_uri_;
  std::uint32_t heard_ = 0, device_bytes_max_ = 0, tries_ = 0;
  SteadyTime last_heard_;
  bool admitted_ = false, over_ = false, whole_ = false, challenged_ = false;
  int header_status_ = 200;

  std::vector<DmCommand> statuses_;  ///< Of the reply to come.
  std::deque<DmOrder> orders_;
  std::vector<Sent> sent_;           ///< In the reply before, in its order.
  std::map<Place, std::size_t> sent_at_;
};

}  // namespace greengate::adapters
