// A management session as the client leads it (12, 13; S-24, S-25).
#include "simulators/common/base64.h"
#include "simulators/common/text.h"
#include "simulators/mdm_device/commands.h"
#include "simulators/mdm_device/device.h"
#include "simulators/mdm_device/dm_line.h"

#include <boost/asio.hpp>

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace greengate::sim::mdm {
namespace {

namespace asio = boost::asio;
constexpr const char* content_type = "application/vnd.syncml.dm+xml";
constexpr int waits_max = 20;  // answers 429 in a row

// Seconds, or the date form that servers write today.
std::optional<std::int64_t> wait_ms(const std::string& retry_after, std::int64_t now_ms) {
  if (const auto seconds = parse_number(trimmed(retry_after))) return static_cast<std::int64_t>(std::min<std::uint64_t>(*seconds, 86'400)) * 1000;
  std::tm parts{};
  std::istringstream in(retry_after);
  in >> std::get_time(&parts, "%a, %d %b %Y %H:%M:%S GMT");
  if (in.fail()) return std::nullopt;
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(timegm(&parts)) * 1000 - now_ms, 0, 86'400'000);
}

}  // namespace

bool Device::start_session(const std::string& cause, std::function<void()> ended_call) {
  if (running_ != nullptr || !enrolled_ || world_.settings.dm_url.empty()) return false;
  auto record = std::make_shared<SessionRecord>();
  record->number = ++session_number_;
  record->session_id = faults_.session_header.empty() ? std::to_string(++last_session_id_) : faults_.session_header;
  record->cause = cause;
  record->outcome = "running";
  record->began_ms = world_.clock.now_ms();
  running_ = record;
  when_ended_ = std::move(ended_call);
  sessions_.push_back(record);
  if (sessions_.size() > 200) sessions_.pop_front();
  // Busy from now on, not from when the coroutine first runs.
  auto busy = std::make_shared<SimClock::Busy>(world_.clock);
  auto self = shared_from_this();
  asio::co_spawn(world_.io, run(record, busy), [self, record](std::exception_ptr broken) {
    if (broken) record->outcome = "broken";
    self->ended(record);
  });
  return true;
}

asio::awaitable<void> Device::run(std::shared_ptr<SessionRecord> record, std::shared_ptr<SimClock::Busy> busy) {
  auto self = shared_from_this();  // whoever forgets the device does not end its session in the middle
  co_await converse(*record, *busy);
}

void Device::ended(const std::shared_ptr<SessionRecord>& record) {
  running_.reset();
  record->ended_ms = world_.clock.now_ms();
  world_.evidence.append_line(boost::json::serialize(record->view()));
  if (record->outcome == "done") push_unanswered_ = false;
  if (leaving_) forget_enrolment();
  if (wiped_) {
    wiped_ = false;
    forget_enrolment();
    off_after_session_ms_ = world_.settings.wipe_ms;
  }
  if (off_after_session_ms_ > 0) {
    follow_up_.clear();
    go_off_line(std::exchange(off_after_session_ms_, 0));
  }
  if (auto call = std::exchange(when_ended_, {})) call();
  if (const std::string cause = std::exchange(follow_up_, {}); !cause.empty())
    later(0, [cause](Device& self) { self.start_session(cause); });
}

std::string Device::package1(SessionRecord& record, int msg_id, const std::string& credential) {
  MessageWriter::Header header;
  header.session_id = record.session_id;
  header.msg_id = msg_id;
  header.target = world_.settings.dm_url;
  header.source = faults_.device_id.empty() ? device_id_ : faults_.device_id;
  header.credential = credential;
  if (!credential.empty()) header.loc_name = world_.settings.user;
  MessageWriter out(header, 2);
  // The same for push, poll, renewal and a user's wish (S-24); a setting shows the other alert, for R-52.
  record.alert = record.cause == "push" ? woken_alert : "1201";
  out.alert(record.alert);
  out.alert("1224", "com.microsoft/MDM/LoginStatus", login);
  if (leaving_) out.alert("1226", "com.microsoft:mdm.unenrollment.userrequest", "1", "int", "critical");
  out.dev_info({{"./DevInfo/DevId", header.source}, {"./DevInfo/Man", "Simulated Test Works"}, {"./DevInfo/Mod", "Bench 7"},
                {"./DevInfo/DmV", "1.3"}, {"./DevInfo/Lang", "en-GB"}});
  return out.finish(!faults_.no_final);
}

asio::awaitable<void> Device::converse(SessionRecord& record, SimClock::Busy& busy) {
  const Settings& settings = world_.settings;
  auto address = DmAddress::parse(settings.dm_url, settings.dm_connect);
  if (!address) {
    record.outcome = address.error().code;
    co_return;
  }
  DmLine line(world_.io, world_.tls, *address, certificate_, !settings.dm_ca_file.empty(), std::chrono::milliseconds(settings.http_timeout_ms));
  const auto breach = [&](std::string text) {
    if (record.breaches.size() < 100) record.breaches.push_back("message " + std::to_string(record.messages) + ": " + std::move(text));
  };
  int msg_id = 1;
  bool challenged = false;
  std::string credential;
  if (!settings.user.empty() && !nonce_.empty()) credential = md5_credential(settings.user, settings.password, nonce_);
  std::string text = faults_.raw_package.empty() ? package1(record, msg_id, credential) : faults_.raw_package;
  record.package1 = text;
  // CmdIDs of our commands that want a Status.
  std::vector<std::pair<std::string, std::string>> unanswered{{"2", "Alert"}, {"3", "Alert"}};
  if (leaving_) unanswered.emplace_back("4", "Alert");
  unanswered.emplace_back(leaving_ ? "5" : "4", "Replace");
  const auto wanted = unanswered;

  for (;;) {
    if (++record.messages > settings.messages_max) {
      record.outcome = "too_many_messages";
      co_return;
    }
    keep(record, "client", record.messages, text);
    const auto reply = co_await post(line, text, record, busy);
    if (!reply) co_return;
    keep(record, "server", record.messages, *reply);
    if (!faults_.raw_package.empty() || faults_.no_final || faults_.abandons) {
      record.outcome = "gave_up";
      co_return;
    }
    const auto message = read_message(*reply);
    if (!message) {
      record.outcome = message.error().code;
      breach(message.error().message);
      co_return;
    }
    for (const std::string& each : message->breaches) breach(each);
    if (message->ver_dtd != "1.2" || message->ver_proto != "DM/1.2") breach("VerDTD or VerProto is not of DM 1.2 (12.2)");
    if (message->session_id != record.session_id) breach("SessionID is \"" + message->session_id + "\", not ours (12.2)");
    if (message->msg_id != std::to_string(record.messages)) breach("MsgID is \"" + message->msg_id + "\", not " + std::to_string(record.messages) + " (12.2)");
    if (message->target != (faults_.device_id.empty() ? device_id_ : faults_.device_id)) breach("Target is not this device (12.2)");
    if (message->source.empty()) breach("Source is missing (12.2)");

    // Statuses on what we sent.
    const SyncCommand* on_header = nullptr;
    for (const SyncCommand& each : message->commands) {
      if (each.verb != "Status") continue;
      if (each.msg_ref != std::to_string(msg_id)) breach("a Status has MsgRef \"" + each.msg_ref + "\", not " + std::to_string(msg_id) + " (12.2)");
      if (each.cmd_ref == "0") {
        on_header = &each;
        if (each.cmd != "SyncHdr") breach("the Status on the header names " + each.cmd + " (12.2)");
        continue;
      }
      const auto mine = std::find(unanswered.begin(), unanswered.end(), std::pair(each.cmd_ref, each.cmd));
      if (mine != unanswered.end())
        unanswered.erase(mine);
      else if (record.messages == 1)
        breach("a Status on " + each.cmd + " " + each.cmd_ref + ", which we did not send (12.2)");
    }
    if (on_header == nullptr) breach("no Status on the header (12.2)");
    for (const auto& [id, verb] : unanswered) breach("no Status on " + verb + " " + id + " (12.2)");
    unanswered.clear();
    if (on_header != nullptr && !on_header->next_nonce.empty() && on_header->chal_type == "syncml:auth-md5")
      if (const auto nonce = from_base64(on_header->next_nonce)) nonce_ = *nonce;
    if (on_header != nullptr && (on_header->data == "401" || on_header->data == "407")) {
      if (settings.user.empty() || challenged || on_header->chal_type != "syncml:auth-md5") {
        record.outcome = "not_authenticated";
        co_return;
      }
      challenged = true;
      credential = md5_credential(settings.user, settings.password, nonce_);
      unanswered = wanted;
      text = package1(record, ++msg_id, credential);
      continue;
    }
    record.authenticated = record.authenticated || (on_header != nullptr && (on_header->data == "200" || on_header->data == "212"));

    if (hold_ && record.messages == 1) co_await gate_.wait(world_.io, busy);

    MessageWriter::Header header;
    header.session_id = record.session_id;
    header.target = settings.dm_url;
    header.source = faults_.device_id.empty() ? device_id_ : faults_.device_id;
    header.msg_id = ++msg_id;
    header.credential = credential;
    if (!credential.empty()) header.loc_name = settings.user;
    MessageWriter out(header);
    out.status(message->msg_id, "0", "SyncHdr", 200);
    Commands commands(*this, record, out, message->msg_id);
    bool aborted = false;
    pending_delay_ms_ = 0;
    for (const SyncCommand& each : message->commands) {
      aborted = aborted || (each.verb == "Alert" && each.data == "1223");
      if (!aborted && pending_delay_ms_ >= 0) commands.carry_out(each);
    }
    if (aborted) {
      record.outcome = "server_aborted";
      co_return;
    }
    if (pending_delay_ms_ < 0) {
      record.outcome = "hung";  // S-20: no further word
      co_return;
    }
    if (message->final && commands.done() == 0) {
      record.outcome = "done";
      co_return;
    }
    if (!message->final) out.alert("1222");
    if (const std::int64_t wait = std::exchange(pending_delay_ms_, 0); wait > 0) co_await world_.clock.sleep(std::chrono::milliseconds(wait), busy);
    text = out.finish();
    if (message->max_msg_size && text.size() > *message->max_msg_size) {
      MessageWriter abort(header);
      abort.status(message->msg_id, "0", "SyncHdr", 200);
      abort.alert("1223");
      text = abort.finish();
      ++record.messages;
      keep(record, "client", record.messages, text);
      const auto last = co_await post(line, text, record, busy);
      record.outcome = last ? "aborted" : record.outcome;
      co_return;
    }
  }
}

asio::awaitable<std::optional<std::string>> Device::post(DmLine& line, const std::string& message, SessionRecord& record, SimClock::Busy& busy) {
  const Settings& settings = world_.settings;
  std::int64_t failures = 0;
  for (int waits = 0;;) {
    DmLine::Reply reply;
    if (power_.session_possible()) {
      std::vector<std::pair<std::string, std::string>> fields{{"Content-Type", content_type},
                                                              {"Accept", content_type},
                                                              {"User-Agent", "MSFT OMA DM Client/1.2.0.1"},
                                                              {"client-request-id", world_.dice.guid()}};
      if (leaving_) fields.emplace_back("MDM-GenericAlert", "com.microsoft:mdm.unenrollment.userrequest");
      reply = co_await line.post(message, std::move(fields));
    }
    record.http.push_back(reply.status);
    if (reply.status == 200) {
      const std::string type = to_lower(trimmed(reply.content_type.substr(0, reply.content_type.find(';'))));
      const std::string at = "message " + std::to_string(record.messages) + ": ";
      if (type != content_type) record.breaches.push_back(at + "the answer's content type is \"" + type + "\" (12.1)");
      if (!reply.has_length) record.breaches.push_back(at + "the answer has no Content-Length (12.1)");
      co_return std::move(reply.body);
    }
    std::optional<std::int64_t> wait;
    if (reply.status == 429) {
      record.retry_after = reply.retry_after;
      if (obeys_429 && waits < waits_max) wait = wait_ms(reply.retry_after, world_.clock.now_ms());
      if (wait) ++waits;
    }
    if (!wait) {
      const bool again = reply.status == 0 || reply.status == 429 || reply.status >= 500;
      if (!again || failures >= settings.retries) {
        record.outcome = reply.status == 0 ? "no_answer" : "http_" + std::to_string(reply.status);
        if (!reply.trouble.empty()) record.breaches.push_back("message " + std::to_string(record.messages) + ": " + reply.trouble);
        co_return std::nullopt;
      }
      wait = std::min(settings.retry_base_ms << failures, settings.retry_cap_ms);
      ++failures;
    }
    co_await world_.clock.sleep(std::chrono::milliseconds(*wait), busy);
  }
}

void Device::keep(const SessionRecord& record, const char* who, int message, const std::string& text) {
  if (world_.evidence.level() != EvidenceLevel::full) return;
  world_.evidence.keep(name_ + "-" + std::to_string(record.number) + "-" + std::to_string(message) + "-" + who + ".xml", text);
}

}  // namespace greengate::sim::mdm
