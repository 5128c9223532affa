#include "agent/conversation.h"

#include "core/check.h"

#include <algorithm>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t protocol_version = 1;
constexpr std::size_t asks_max = 16;

// What the gateway may ask of us, within reason: a wrong number must neither flood it nor silence
// us for good.
constexpr std::size_t frame_bytes_least = 1 << 10, frame_bytes_most = 16 << 20;
constexpr std::size_t in_flight_most = 4'096;
constexpr std::size_t frame_overhead_bytes = 16;  // around a Publish
constexpr std::size_t report_overhead_bytes =
    64;                                  // around a body: at most this for the other fields
constexpr milliseconds lasting{30'000};  // a connection that stood so long was a good one
constexpr milliseconds wait_most = std::chrono::hours(24);

milliseconds bounded(std::uint32_t wait_ms) {
  return std::min<milliseconds>(milliseconds(wait_ms), wait_most);
}

Error as_error(const char* code, std::string message) {
  return Error{Remedy::retry, code, std::move(message), {}};
}

}  // namespace

Conversation::Conversation(ConversationConfig config, const Clock& clock)
    : config_(std::move(config)),
      clock_(clock),
      backoff_(config_.reconnect, config_.seed),
      enrolled_(config_.enrolled) {
  GREENGATE_CHECK(config_.endpoints > 0, "an agent has at least one gateway");
}

void Conversation::start() {
  due_ = clock_.steady();
  state_ = State::waiting;
  tick();
}

std::vector<Decision> Conversation::take_decisions() {
  return std::exchange(decisions_, {});
}

void Conversation::enter(State state, const std::string& told, const std::string& code,
                         const std::string& message) {
  state_ = state;
  decisions_.push_back(StateChanged{told, code, message});
}

void Conversation::send(v1::Frame frame) {
  last_sent_ = clock_.steady();
  ++frames_sent_;
  decisions_.push_back(SendFrame{std::move(frame)});
}

// ---- connections ----

void Conversation::connected() {
  if (state_ != State::connecting) return;
  linked_ = true;
  last_received_ = last_sent_ = connected_at_ = clock_.steady();
  pong_due_.reset();
  if (enrolled_) {
    say_hello();
  } else {
    ask_to_enrol();
  }
}

void Conversation::connection_lost(const Error& why) {
  if (state_ == State::waiting || state_ == State::idle) return;
  if (why.remedy == Remedy::reject) {
    // This key, or this address, will not do however often we try.
    leave(config_.refused_pause, "refused", why);
    return;
  }
  // A connection that worked comes back to the same gateway after its slot; one that did not, tries
  // the next.
  const bool worked = state_ == State::publishing || state_ == State::pending;
  if (!worked) endpoint_ = (endpoint_ + 1) % config_.endpoints;
  leave(worked ? comeback(reconnect_slot_) : backoff_.next(), "disconnected", why);
}

// When to come back after a connection that worked. The gateway's slot counts; but one that drops
// us again and again is given time.
milliseconds Conversation::comeback(milliseconds slot) {
  if (slot < milliseconds(0) || clock_.steady() < connected_at_ + lasting)
    return std::max(slot, backoff_.next());
  backoff_.reset();
  return slot;
}

void Conversation::leave(milliseconds wait, const std::string& told, const Error& why) {
  decisions_.push_back(CloseLink{});
  linked_ = false;
  in_flight_.clear();
  in_flight_bytes_ = 0;
  one_by_one_ = false;
  pong_due_.reset();
  lose_asks();
  due_ = clock_.steady() + wait;
  enter(State::waiting, told, why.code, why.message);
}

void Conversation::say_hello() {
  lose_asks();
  v1::Frame frame;
  v1::Hello& hello = *frame.mutable_hello();
  hello.set_protocol_version(protocol_version);
  hello.set_agent_version(config_.agent_version);
  hello.set_host_name(config_.host_name);
  hello.set_fqdn(config_.fqdn);
  hello.set_operating_system(config_.operating_system);
  hello.set_incarnation(config_.incarnation);
  due_ = clock_.steady() + config_.answer_patience;
  enter(State::greeting, "greeting");
  send(std::move(frame));
}

void Conversation::ask_to_enrol() {
  v1::Frame frame;
  v1::Enrol& enrol = *frame.mutable_enrol();
  enrol.set_protocol_version(protocol_version);
  enrol.set_token(config_.token);
  enrol.set_host_name(config_.host_name);
  enrol.set_fqdn(config_.fqdn);
  enrol.set_operating_system(config_.operating_system);
  enrol.set_agent_version(config_.agent_version);
  due_ = clock_.steady() + config_.answer_patience;
  enter(State::enrolling, "enrolling");
  send(std::move(frame));
}

// ---- what comes in ----

void Conversation::received(const v1::Frame& frame) {
  if (!linked_) return;
  last_received_ = clock_.steady();
  pong_due_.reset();  // whatever came proves that somebody is there
  switch (frame.kind_case()) {
    case v1::Frame::kWelcome:
      return on_welcome(frame.welcome());
    case v1::Frame::kEnrolResult:
      return on_enrol_result(frame.enrol_result());
    case v1::Frame::kReceipts:
      for (const v1::Receipt& receipt : frame.receipts().receipts()) on_receipt(receipt);
      return;
    case v1::Frame::kNotification:
      // A gateway asks only whom it has welcomed.
      if (state_ == State::publishing) decisions_.push_back(TaskAsked{frame.notification()});
      return;
    case v1::Frame::kDrain:
      return leave(
          comeback(bounded(frame.drain().reconnect_slot_ms())), "drained",
          as_error("link.drained", "The gateway is going away: " + frame.drain().reason()));
    case v1::Frame::kRefused:
      return on_refused(frame.refused());
    case v1::Frame::kFullStateWanted:
      decisions_.push_back(SendFullState{frame.full_state_wanted().reason()});
      return;
    case v1::Frame::kAnswer:
      return on_answer(frame.answer());
    case v1::Frame::kDirections:
      if (state_ == State::publishing) decisions_.push_back(Directed{frame.directions()});
      return;
    default:
      return;  // Pong has done its work above; kinds newer than this agent are ignored
  }
}

void Conversation::on_welcome(const v1::Welcome& welcome) {
  if (state_ != State::greeting) return;
  frame_bytes_max_ = std::clamp<std::size_t>(
      welcome.frame_bytes_max() ? welcome.frame_bytes_max() : frame_bytes_most, frame_bytes_least,
      frame_bytes_most);
  in_flight_max_ = std::clamp<std::size_t>(welcome.in_flight_max(), 1, in_flight_most);
  reconnect_slot_ = bounded(welcome.reconnect_slot_ms());
  ping_interval_ =
      std::min<milliseconds>(std::chrono::seconds(welcome.ping_interval_s()), wait_most);
  if (welcome.last_stored_sequence() > given_) {
    decisions_.push_back(RenewIncarnation{});
    return leave(
        backoff_.next(), "disconnected",
        as_error(
            "outbox.behind",
            "The gateway has more reports of this outbox than were ever made: it is an old copy."));
  }
  cursor_ = sent_through_ = welcome.last_stored_sequence();
  in_flight_.clear();
  in_flight_bytes_ = 0;
  one_by_one_ = false;
  publish_from_ = clock_.steady();
  enter(State::publishing, "connected");
  if (cursor_ > 0) decisions_.push_back(ReportsStored{1, cursor_, welcome.gateway_time_ms()});
  decisions_.push_back(Welcomed{welcome.agent_id(), welcome});
  if (welcome.full_state_wanted()) decisions_.push_back(SendFullState{"welcome"});
}

void Conversation::on_enrol_result(const v1::EnrolResult& result) {
  if (state_ != State::enrolling && state_ != State::pending) return;
  switch (result.state()) {
    case v1::ENROL_STATE_ACTIVE:
      enrolled_ = true;
      decisions_.push_back(EnrolmentEnded{result.state(), result.agent_id(), "", ""});
      return say_hello();
    case v1::ENROL_STATE_PENDING:
      decisions_.push_back(EnrolmentEnded{result.state(), result.agent_id(), "", result.message()});
      due_ = clock_.steady() +
             std::max<milliseconds>(bounded(result.retry_after_ms()), config_.reconnect.base);
      return enter(State::pending, "pending", "", result.message());
    case v1::ENROL_STATE_REFUSED: {
      decisions_.push_back(EnrolmentEnded{result.state(), "", result.code(), result.message()});
      const milliseconds wait = result.retry_after_ms()
                                    ? std::max(bounded(result.retry_after_ms()), backoff_.next())
                                    : config_.refused_pause;
      return leave(
          wait, "refused",
          Error{Remedy::retry, "enrol.refused", result.code() + ": " + result.message(), {}});
    }
    default:
      return leave(backoff_.next(), "disconnected",
                   as_error("link.protocol", "The gateway's answer to Enrol made no sense."));
  }
}

void Conversation::landed(std::uint64_t first, std::uint64_t last) {
  auto flight = in_flight_.lower_bound(first);
  while (flight != in_flight_.end() && flight->first <= last) {
    in_flight_bytes_ -= flight->second.bytes;
    flight = in_flight_.erase(flight);
  }
  if (in_flight_.empty()) one_by_one_ = false;
}

// Everything after `last_kept` is to be sent again.
void Conversation::rewind(std::uint64_t last_kept) {
  cursor_ = std::min(cursor_, last_kept);
  while (!in_flight_.empty() && in_flight_.rbegin()->first > cursor_) {
    in_flight_bytes_ -= in_flight_.rbegin()->second.bytes;
    in_flight_.erase(std::prev(in_flight_.end()));
  }
}

// What the gateway had before the flight of `first`: sequences skipped before it are skipped again.
std::uint64_t Conversation::before(std::uint64_t first) const {
  const auto flight = in_flight_.find(first);
  return flight == in_flight_.end() ? first - 1 : flight->second.before;
}

void Conversation::on_receipt(const v1::Receipt& receipt) {
  // A receipt for reports of an outbox long gone says nothing about ours.
  if (receipt.incarnation() != config_.incarnation) return;
  // Nothing can have become of what was not sent.
  const std::uint64_t first = receipt.first_sequence(),
                      last = std::min(receipt.last_sequence(), sent_through_);
  if (first == 0 || first > last || state_ != State::publishing) return;
  const auto settle = [&](const char* status) {
    landed(first, last);
    decisions_.push_back(
        ReportsSettled{first, last, status, receipt.code(), receipt.message(), receipt.at_ms()});
  };
  switch (receipt.status()) {
    case v1::RECEIPT_STATUS_STORED:
      landed(first, last);
      cursor_ = std::max(cursor_, last);  // when what was sent again turns out to have arrived
      backoff_.reset();
      decisions_.push_back(ReportsStored{first, last, receipt.at_ms()});
      return;
    case v1::RECEIPT_STATUS_DELIVERED:
      return settle("delivered");
    case v1::RECEIPT_STATUS_REJECTED:
      return settle("rejected");
    case v1::RECEIPT_STATUS_SUPERSEDED:
      return settle("superseded");
    case v1::RECEIPT_STATUS_EXPIRED:
      return settle("expired");
    case v1::RECEIPT_STATUS_THROTTLED: {
      const auto wait = std::max<milliseconds>(bounded(receipt.retry_after_ms()), milliseconds(10));
      publish_from_ = std::max(publish_from_, clock_.steady() + wait);
      return rewind(before(first));
    }
    case v1::RECEIPT_STATUS_RESEND:
      publish_from_ = std::max(publish_from_, clock_.steady() + bounded(receipt.retry_after_ms()));
      return rewind(first - 1);
    default:
      return;  // a status newer than this agent
  }
}

bool Conversation::tell(const v1::TaskResult& result) {
  if (state_ != State::publishing) return false;
  v1::Frame frame;
  *frame.mutable_task_result() = result;
  send(std::move(frame));
  return true;
}

void Conversation::on_refused(const v1::Refused& refused) {
  const std::string& code = refused.code();
  const milliseconds asked = bounded(refused.retry_after_ms());
  const Error why = as_error("gateway.refused", code + ": " + refused.message());
  if (code == "agent.revoked") return leave(std::max(asked, config_.refused_pause), "revoked", why);
  if (code == "agent.replaced") {
    // Another machine has this one's key: a clone. Taking turns at pushing each other out helps
    // nobody.
    return leave(std::max({asked, backoff_.next(), config_.replaced_pause}), "replaced", why);
  }
  if (code == "agent.hello_first" && state_ == State::publishing)
    return say_hello();  // it has forgotten this connection
  if (code == "agent.unknown") {
    // It may have been restored from a backup older than this agent, or this is another gateway:
    // enrol (again).
    enrolled_ = false;
    if (state_ == State::enrolling || state_ == State::pending) {
      return leave(std::max(asked, backoff_.next()), "disconnected", why);
    }
    in_flight_.clear();
    in_flight_bytes_ = 0;
    return ask_to_enrol();
  }
  if (code == "agent.pending") {
    enrolled_ = false;
    in_flight_.clear();
    in_flight_bytes_ = 0;
    due_ = clock_.steady() + std::max(asked, config_.reconnect.base);
    return enter(State::pending, "pending", code, refused.message());
  }
  if (state_ != State::publishing) {
    endpoint_ = (endpoint_ + 1) % config_.endpoints;
    return leave(std::max(asked, backoff_.next()), "disconnected", why);
  }
  if (code == "frame.kind_unexpected" && !asks_.empty()) {
    // A Publish is never of an unexpected kind: this gateway is older than Ask.
    v1::Answer answer;
    answer.set_nonce(asks_.front().nonce());
    answer.set_code("ask.unsupported");
    answer.set_message("This gateway cannot be asked.");
    return on_answer(answer);
  }
  if (code.starts_with("frame.")) return drop_offender(refused);
  // Anything else, also what is newer than this agent: nothing was taken; pause and offer it again.
  decisions_.push_back(StateChanged{"connected", code, refused.message()});
  publish_from_ = clock_.steady() + std::max(asked, backoff_.next());
  if (!in_flight_.empty()) rewind(in_flight_.begin()->second.before);
}

bool Conversation::ask(const v1::Ask& ask) {
  if (state_ != State::publishing || asks_.size() >= asks_max) return false;
  asks_.push_back(ask);
  if (asks_.size() == 1) send_ask();
  return true;
}

void Conversation::send_ask() {
  v1::Frame frame;
  *frame.mutable_ask() = asks_.front();
  ask_due_ = clock_.steady() + config_.ask_patience;
  send(std::move(frame));
}

void Conversation::on_answer(const v1::Answer& answer) {
  if (asks_.empty() || asks_.front().nonce() != answer.nonce()) return;  // of an earlier connection, or given up
  asks_.pop_front();
  decisions_.push_back(Answered{answer});
  if (!asks_.empty()) send_ask();
}

void Conversation::lose_asks() {
  if (asks_.empty()) return;
  asks_.clear();
  decisions_.push_back(AsksLost{});
}

// The answer does not say which frame was refused, so what is in flight goes again one by one,
// until one report stands alone with it.
void Conversation::drop_offender(const v1::Refused& refused) {
  decisions_.push_back(StateChanged{"connected", refused.code(), refused.message()});
  if (in_flight_.empty()) return;
  const std::uint64_t first = in_flight_.begin()->first;
  if (in_flight_.size() > 1) {
    one_by_one_ = true;
    return rewind(before(first));
  }
  rewind(before(first));
  decisions_.push_back(ReportsSettled{first, first, "rejected", refused.code(), refused.message(),
                                      to_millis(clock_.wall())});
}

// ---- what goes out ----

std::optional<Conversation::Wanted> Conversation::wanted() const {
  if (state_ != State::publishing || clock_.steady() < publish_from_) return std::nullopt;
  const std::size_t places = one_by_one_ ? 1 : in_flight_max_;
  if (in_flight_.size() >= places || in_flight_bytes_ >= config_.in_flight_bytes_max)
    return std::nullopt;
  const std::size_t bytes =
      std::min({config_.batch_bytes_max, frame_bytes_max_ - frame_overhead_bytes,
                config_.in_flight_bytes_max - in_flight_bytes_});
  return Wanted{cursor_, std::min(places - in_flight_.size(), config_.batch_reports_max), bytes};
}

bool Conversation::publish(std::vector<v1::Report> reports) {
  const auto want = wanted();
  if (!want) return false;
  v1::Frame frame;
  v1::Publish& publish = *frame.mutable_publish();
  std::size_t bytes = frame_overhead_bytes;
  const SteadyTime now = clock_.steady();
  for (v1::Report& report : reports) {
    if (report.sequence() <= cursor_ ||
        static_cast<std::size_t>(publish.reports_size()) == want->count_max)
      break;
    const std::size_t size = report.body().size() + report_overhead_bytes;
    if (size + frame_overhead_bytes > frame_bytes_max_) {
      if (publish.reports_size() > 0)
        break;  // its turn comes when those before it are on their way
      decisions_.push_back(ReportsSettled{report.sequence(), report.sequence(), "rejected",
                                          "report.too_large",
                                          "A report of " + std::to_string(report.body().size()) +
                                              " bytes does not fit in the gateway's frames of " +
                                              std::to_string(frame_bytes_max_) + ".",
                                          to_millis(clock_.wall())});
      return true;  // cursor_ stays: its sequence is skipped by the next report
    }
    if (publish.reports_size() > 0 && bytes + size > want->bytes_max) break;
    report.set_skipped(report.sequence() - 1 - cursor_);
    in_flight_[report.sequence()] = {cursor_, size, now};
    in_flight_bytes_ += size;
    cursor_ = report.sequence();
    sent_through_ = std::max(sent_through_, cursor_);
    bytes += size;
    *publish.add_reports() = std::move(report);
  }
  if (publish.reports_size() == 0) return false;
  send(std::move(frame));
  return true;
}

void Conversation::renewed(std::uint64_t incarnation) {
  config_.incarnation = incarnation;
  cursor_ = sent_through_ = 0;
}

// ---- time ----

void Conversation::tick() {
  const SteadyTime now = clock_.steady();
  switch (state_) {
    case State::idle:
      return;
    case State::waiting:
      if (now < due_) return;
      due_ = now + config_.connect_patience;
      enter(State::connecting, "connecting");
      decisions_.push_back(OpenLink{endpoint_});
      return;
    case State::connecting:
      if (now >= due_)
        connection_lost(as_error(
            "link.unreachable",
            "No connection came about in time; perhaps the gateway's name cannot be resolved."));
      return;
    case State::enrolling:
    case State::greeting:
      if (now >= due_)
        connection_lost(as_error("link.silent", "The gateway did not answer in time."));
      return;
    case State::pending:
      if (now >= due_) ask_to_enrol();
      return;
    case State::publishing:
      break;
  }
  if (pong_due_ && now >= *pong_due_) {
    return connection_lost(as_error("link.silent", "The gateway did not answer a Ping in time."));
  }
  if (!pong_due_ && ping_interval_.count() > 0 &&
      now >= std::min(last_sent_, last_received_) + ping_interval_) {
    v1::Frame frame;
    frame.mutable_ping()->set_nonce(next_nonce_++);
    pong_due_ = now + config_.answer_patience;
    send(std::move(frame));
  }
  if (!asks_.empty() && now >= ask_due_) {
    asks_.pop_front();
    if (!asks_.empty()) send_ask();
  }
  if (!in_flight_.empty() && now >= in_flight_.begin()->second.sent_at + config_.receipt_patience) {
    decisions_.push_back(
        StateChanged{"connected", "link.no_receipt", "No receipt came in time; sending again."});
    rewind(in_flight_.begin()->second.before);
  }
}

SteadyTime Conversation::next_due() const {
  if (state_ == State::idle) return SteadyTime::max();
  if (state_ != State::publishing) return due_;
  SteadyTime due = pong_due_.value_or(SteadyTime::max());
  if (!pong_due_ && ping_interval_.count() > 0)
    due = std::min(last_sent_, last_received_) + ping_interval_;
  if (!in_flight_.empty())
    due = std::min(due, in_flight_.begin()->second.sent_at + config_.receipt_patience);
  if (!asks_.empty()) due = std::min(due, ask_due_);
  if (publish_from_ > clock_.steady()) due = std::min(due, publish_from_);
  return due;
}

}  // namespace greengate::agent
