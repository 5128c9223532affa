#include "adapters/mdm/dm_session.h"

#include "core/random.h"

#include <algorithm>
#include <charconv>

namespace greengate::adapters {
namespace {

constexpr int authenticated = 212, not_supported = 406, credentials_missing = 407, credentials_bad = 401;
constexpr std::size_t nonce_bytes = 16;
constexpr std::size_t reply_bytes_least = 2'048;  ///< A device that says it can take less is not believed: nothing would fit.

int code_of(const std::string& text) {
  int code = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
  return error == std::errc() && end == text.data() + text.size() && code > 0 && code < 1'000'000 ? code : 0;
}

bool went_well(int status) { return status >= 200 && status < 300; }

}  // namespace

int DmAnswer::status_of(const std::string& uri) const {
  for (const auto& [item, code] : items) {
    if (item == uri) return code;
  }
  return status;
}

DmSession::DmSession(DmSessionRules rules, const DmHeader& first, DmCredential credential, std::string nonce, SteadyTime now)
    : rules_(std::move(rules)),
      id_(first.session_id),
      credential_(std::move(credential)),
      nonce_(std::move(nonce)),
      device_uri_(first.source),
      server_uri_(rules_.server_uri.empty() ? first.target : rules_.server_uri),
      last_heard_(now) {}

Result<DmTaken> DmSession::take(const DmMessage& message, SteadyTime now) {
  const auto refuse = [this](const char* code, const char* why) {
    over_ = true;
    return fail(Remedy::reject, code, why);
  };
  if (over_) return refuse("mdm.sequence", "The session is over.");
  if (message.header.session_id != id_) return refuse("mdm.sequence", "The message is of another session.");
  if (message.header.message_id != heard_ + 1) return refuse("mdm.sequence", "The message is not the next of its session.");
  if (message.header.source != device_uri_) return refuse("mdm.sequence", "The message names another device than the one before.");
  if (heard_ >= rules_.messages_max) return refuse("mdm.messages", "The session has had too many messages.");
  ++heard_;
  last_heard_ = now;
  if (message.header.message_bytes_max > 0) device_bytes_max_ = message.header.message_bytes_max;

  DmTaken taken;
  whole_ = message.final;
  statuses_.clear();
  const bool known_before = admitted_;
  judge_credential(message.header);
  taken.admitted = admitted_ && !known_before;
  add_status(0, "SyncHdr", header_status_);
  for (const DmCommand& command : message.commands) {
    if (command.verb != DmVerb::status && command.verb != DmVerb::results) answer_command(command, taken);
    else if (admitted_ && known_before) note_answer(command);
  }
  if (taken.aborted) over_ = true;
  taken.whole = whole_ && admitted_ && !over_;
  if (taken.whole || taken.aborted) {
    for (Sent& each : sent_) {
      if (each.has_status || !taken.aborted) taken.answers.push_back(std::move(each.answer));
    }
    if (taken.aborted) std::erase_if(sent_, [](const Sent& each) { return each.has_status; });
    else sent_.clear();
    sent_at_.clear();
  }
  return taken;
}

// The header's status is also each command's, until the device has shown what it must.
void DmSession::judge_credential(const DmHeader& header) {
  challenged_ = false;
  if (admitted_) {
    header_status_ = 200;
    return;
  }
  if (credential_.empty()) {
    admitted_ = true;
    header_status_ = authenticated;
    return;
  }
  // A credential in the first message answers a nonce of another day: each session has its own.
  if (header.credential && heard_ > 1) {
    const bool digest = header.credential->meta.type == "syncml:auth-md5" && header.source_name == credential_.user;
    if (digest && same_secret(header.credential->data, md5_credential(credential_, nonce_))) {
      admitted_ = true;
      header_status_ = authenticated;
      return;
    }
    header_status_ = credentials_bad;
    if (++tries_ >= rules_.credential_tries) over_ = true;
    nonce_ = random_bytes(nonce_bytes);
  } else {
    header_status_ = credentials_missing;
    if (heard_ > 1 && ++tries_ >= rules_.credential_tries) over_ = true;
  }
  challenged_ = !over_;
}

void DmSession::add_status(std::uint32_t command_ref, std::string command, int code) {
  DmCommand status;
  status.verb = DmVerb::status;
  status.id = static_cast<std::uint32_t>(statuses_.size() + 1);
  status.message_ref = heard_;
  status.command_ref = command_ref;
  status.command = std::move(command);
  status.data = std::to_string(code);
  if (command_ref == 0 && challenged_) {
    status.challenge = DmMeta{"b64", "syncml:auth-md5", "", base64(nonce_)};
  }
  statuses_.push_back(std::move(status));
}

void DmSession::answer_command(const DmCommand& command, DmTaken& taken) {
  const std::string name(command.verb == DmVerb::unknown ? std::string_view(command.name) : verb_name(command.verb));
  if (!admitted_) {
    add_status(command.id, name, header_status_);
    for (const DmCommand& member : command.members) answer_command(member, taken);
    return;
  }
  int code = not_supported;
  if (command.verb == DmVerb::alert) {
    const int alert = code_of(command.data);
    switch (alert) {
      case 1200: case 1201:  // server- and client-initiated alike
      case 1222: case 1225: code = 200; break;
      case 1223:
        code = 200;
        taken.aborted = true;
        break;
      case 1224: case 1226:
        code = 200;
        for (const DmItem& item : command.items) taken.events.push_back({alert, item.meta.type, item.meta.mark, item.data.value_or("")});
        break;
      default: break;
    }
  } else if (command.verb == DmVerb::replace || command.verb == DmVerb::add) {
    code = 200;
    taken.told.insert(taken.told.end(), command.items.begin(), command.items.end());
  }
  add_status(command.id, name, code);
  for (const DmCommand& member : command.members) answer_command(member, taken);
}

// Of a Sequence or Atomic the members' words count; its own is the answer only where they are silent.
void DmSession::note_answer(const DmCommand& answer) {
  auto found = sent_at_.find({answer.message_ref, answer.command_ref});
  if (found == sent_at_.end() && answer.verb == DmVerb::results && answer.message_ref == 0) {
    found = std::find_if(sent_at_.begin(), sent_at_.end(), [&](const auto& each) { return each.first.second == answer.command_ref; });
  }
  if (found == sent_at_.end()) return;
  Sent& sent = sent_[found->second];
  if (answer.verb == DmVerb::results) {
    sent.answer.results.insert(sent.answer.results.end(), answer.items.begin(), answer.items.end());
    return;
  }
  const int code = code_of(answer.data);
  for (const std::string& target : answer.target_refs) sent.answer.items.emplace_back(target, code);
  // The worst is remembered: of ten items nine that went well do not hide the tenth.
  if (!sent.has_status || (went_well(sent.answer.status) && !went_well(code))) sent.answer.status = code;
  sent.has_status = true;
}

bool DmSession::queue(DmOrder order) {
  if (orders_.size() >= rules_.queue_max) return false;
  orders_.push_back(std::move(order));
  return true;
}

void DmSession::number(DmCommand& command, std::uint32_t& next, std::size_t order) {
  command.id = next++;
  sent_at_[{heard_, command.id}] = order;
  for (DmCommand& member : command.members) number(member, next, order);
}

std::string DmSession::reply() {
  DmMessage message;
  message.header.session_id = id_;
  message.header.message_id = heard_;  // both sides count alike: one message of ours for each of theirs
  message.header.target = device_uri_;
  message.header.source = server_uri_;
  message.commands = statuses_;
  auto next = static_cast<std::uint32_t>(statuses_.size() + 1);
  if (!whole_ && !over_) {
    // The device's package goes on: we ask for the rest and say nothing of our own yet.
    DmCommand more;
    more.verb = DmVerb::alert;
    more.id = next;
    more.data = "1222";
    message.commands.push_back(std::move(more));
    return write_syncml(message);
  }
  message.final = true;
  std::string text = write_syncml(message);
  if (!admitted_ || over_) return text;

  std::size_t room = rules_.reply_bytes_max;
  if (device_bytes_max_ > 0) room = std::min<std::size_t>(room, std::max<std::size_t>(device_bytes_max_, reply_bytes_least));
  sent_.clear();
  sent_at_.clear();
  std::size_t bytes = text.size();
  while (!orders_.empty() && sent_.size() < rules_.commands_max) {
    DmOrder order = orders_.front();
    const std::uint32_t first = next;
    const std::size_t place = sent_.size();
    number(order.command, next, place);
    DmMessage alone;
    alone.commands.push_back(order.command);
    static const std::size_t empty_bytes = write_syncml(DmMessage{}).size();
    const std::size_t cost = write_syncml(alone).size() - empty_bytes;
    if (bytes + cost > room && place > 0) {
      for (std::uint32_t id = first; id < next; ++id) sent_at_.erase({heard_, id});
      break;
    }
    bytes += cost;
    orders_.pop_front();
    message.commands.push_back(order.command);
    DmAnswer answer;
    answer.ticket = order.ticket;
    sent_.push_back({std::move(order), std::move(answer), false});
  }
  if (sent_.empty()) {
    over_ = true;
    return text;
  }
  return write_syncml(message);
}

std::vector<std::uint64_t> DmSession::unanswered() const {
  std::vector<std::uint64_t> tickets;
  for (const Sent& each : sent_) tickets.push_back(each.order.ticket);
  for (const DmOrder& each : orders_) tickets.push_back(each.ticket);
  return tickets;
}

}  // namespace greengate::adapters
