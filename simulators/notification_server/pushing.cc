// Pushing: makes the tasks, owes each to its clients until it is answered or expired, and sends
// them with the faults that were asked for.
#include "simulators/notification_server/engine.h"

#include "core/random.h"
#include "simulators/notification_server/engine_words.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
using std::chrono::milliseconds;

namespace {

constexpr milliseconds split_pause{5};  // so that the halves arrive apart
constexpr milliseconds held_frames_limit{500};

std::string make_guid() {
  std::string bytes = random_bytes(16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text = hex(std::as_bytes(std::span(bytes)));
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const std::size_t at : {8U, 13U, 18U, 23U}) text.insert(at, "-");
  return text;
}

}  // namespace

Result<NotifyEngine::Push*> NotifyEngine::make_push(std::uint32_t type, std::string param,
                                                    std::string guid) {
  forget_old_pushes();
  if (static_cast<std::int64_t>(pushes_.size()) >= config_.pushes_max)
    return fail(Remedy::retry, "notify.pushes_full", "Too many pushes are still open.");
  Push push;
  push.id = next_push_++;
  push.task_guid = guid.empty() ? make_guid() : std::move(guid);
  auto [task, is_new] = task_ids_.try_emplace(push.task_guid, next_task_);
  if (is_new) next_task_ += 2;
  push.task_id = task->second;
  push.task_type = type;
  push.task_param = std::move(param);
  push.made = clock_.wall();
  const milliseconds life(type == 15 ? config_.script_task_life_ms : config_.task_life_ms);
  push.expires = now() + life;
  const std::uint64_t id = push.id;
  remind(life, Due::push_expiry, id);
  ++counts_["pushes"];
  return &pushes_.emplace(id, std::move(push)).first->second;
}

bool NotifyEngine::owe(Push& push, ClientNumber number) {
  if (deliveries_ >= config_.deliveries_max) return false;
  if (!push.deliveries.try_emplace(number).second) return true;
  ++deliveries_;
  clients_[number].waiting.push_back(push.id);
  return true;
}

void NotifyEngine::enqueue(Push& push, ClientNumber number) {
  Delivery& delivery = push.deliveries.at(number);
  if (delivery.queued) return;
  delivery.queued = true;
  send_queue_.emplace_back(push.id, number);
}

void NotifyEngine::pump() {
  while (!send_queue_.empty()) {
    if (config_.throttle_sends > 0) {
      const SteadyTime when = now();
      const milliseconds slice(config_.throttle_slice_ms);
      if (when - slice_since_ >= slice) {
        slice_since_ = when;
        slice_sends_ = 0;
      }
      if (slice_sends_ >= config_.throttle_sends) {
        if (!slice_due_) {
          slice_due_ = true;
          agenda_.push({slice_since_ + slice, Due::slice});
          arm();
        }
        return;
      }
    }
    const auto [id, number] = send_queue_.front();
    send_queue_.pop_front();
    const auto push = pushes_.find(id);
    if (push == pushes_.end()) continue;
    Delivery& delivery = push->second.deliveries.at(number);
    delivery.queued = false;
    if (delivery.state == Delivered::answered || delivery.state == Delivered::expired) continue;
    if (clients_[number].sessions.empty()) continue;  // it waits for the next sign-in
    const SessionPtr session = find_session(clients_[number].sessions.back());
    if (!session || session->phase != Phase::online || session->leaving) continue;
    if (delivery.state == Delivered::sent && delivery.session == session->id) continue;
    ++slice_sends_;
    deliver(session, push->second, number, delivery);
  }
}

void NotifyEngine::send_pending(const SessionPtr& session) {
  if (session->client == nobody || session->leaving) return;
  const auto waiting = clients_[session->client].waiting;
  for (const std::uint64_t id : waiting) {
    const auto push = pushes_.find(id);
    if (push == pushes_.end()) {
      std::erase(clients_[session->client].waiting, id);
      continue;
    }
    Delivery& delivery = push->second.deliveries.at(session->client);
    if (session->phase == Phase::unconfirmed) {
      deliver(session, push->second, session->client, delivery);  // the fault: before confirmation
      if (session->phase == Phase::closed) return;
    } else {
      enqueue(push->second, session->client);
    }
  }
  pump();
}

void NotifyEngine::deliver(const SessionPtr& session, Push& push, ClientNumber number,
                           Delivery& delivery) {
  FaultRule* rule = pick(Moment::push, clients_[number].sms_id);
  RequestFields fields{.push_id = push.id,
                       .task_id = push.task_id,
                       .task_guid = push.task_guid,
                       .task_type = push.task_type,
                       .task_param = push.task_param,
                       .leave_out = {},
                       .extra = {}};
  if (rule != nullptr && rule->fault == Fault::missing_fields) fields.leave_out = rule->fields;
  if (rule != nullptr &&
      (rule->fault == Fault::unknown_elements || rule->fault == Fault::unknown_task_type))
    fields.extra = "<Future a=\"1\">x</Future>";  // sample 14
  if (rule != nullptr && rule->fault == Fault::unknown_task_type) fields.task_type = 999;

  if (delivery.session != session->id) {
    delivery.session = session->id;
    delivery.sends_here = delivery.answers_here = 0;
  }
  const bool twice = rule != nullptr && rule->fault == Fault::duplicate_push;
  // A frame that the client must answer all the same keeps its clock running.
  const bool answerable = rule == nullptr || twice || rule->fault == Fault::unknown_elements ||
                          rule->fault == Fault::unknown_task_type ||
                          rule->fault == Fault::byte_per_write || rule->fault == Fault::clock_skew ||
                          rule->fault == Fault::tls_key_update ||
                          rule->fault == Fault::split_every_byte;
  delivery.state = Delivered::sent;
  delivery.fault = answerable ? nullptr : fault_name(rule->fault);
  delivery.expect_failure = rule != nullptr && rule->fault == Fault::unknown_task_type;
  delivery.late = false;
  delivery.sent = now();
  delivery.sent_at = clock_.wall();
  const std::uint64_t push_id = push.id;
  const std::string xml = request_xml(seconds_under(rule), fields);
  for (int copy = 0; copy < (twice ? 2 : 1); ++copy) {
    ++delivery.sends;
    ++delivery.sends_here;
    ++counts_["sends"];
    send_frame(session, Kind::request, xml, rule);
    if (session->phase == Phase::closed) return;
  }
  if (answerable)
    remind(milliseconds(config_.response_limit_ms), Due::response_late, push_id, number);
}

void NotifyEngine::send_frame(const SessionPtr& session, Kind kind, const std::string& xml,
                              FaultRule* rule) {
  if (session->phase == Phase::closed || session->phase == Phase::black_hole) return;
  FrameTwist twist;
  FrameRules rules = rules_;
  if (session->http) rules.header_size_is_xml = true;
  std::string text = xml;
  bool must_leave = false;
  if (rule != nullptr) {
    must_leave = true;
    switch (rule->fault) {
      case Fault::payload_size_zero:
        twist.payload_size = FrameTwist::Size::zero;
        break;
      case Fault::payload_size_huge:
        twist.payload_size = FrameTwist::Size::huge;
        break;
      case Fault::payload_size_larger:
        twist.payload_size = FrameTwist::Size::larger;
        must_leave = false;  // it cannot know: the rest may still come
        break;
      case Fault::wrong_header_size:
        twist.wrong_header_size = true;
        break;
      case Fault::other_encoding:
        rules = with_encoding(rules, !rule->encoding.empty() ? std::string_view(rule->encoding)
                                     : rules.utf16           ? "utf-8"
                                                             : "utf-16le");
        must_leave = false;  // a client may read what is plain to see (8.2 rule 5)
        break;
      case Fault::malformed_xml:
        text.resize(text.size() - 3);
        break;
      case Fault::entity:
        text.insert(text.find('>') + 1, "<Extra>&outside;</Extra>");
        break;
      case Fault::dtd:
        text.insert(0,
                    "<!DOCTYPE x [<!ENTITY outside \"aaaaaaaaaa\">"
                    "<!ENTITY more \"&outside;&outside;&outside;&outside;\">]>");
        break;
      default:
        must_leave = false;
        break;
    }
  }
  std::string xml_header;
  if (session->http && config_.http_reply_header == "xml") {
    FrameRules plain = rules;
    plain.zlib = false;
    xml_header = write_text(plain, "<BgbMessageHeaderHttp><SourceID>" + sms_id_of(*session) +
                                       "</SourceID><SourceType>" + config_.client_type + "</SourceType><Hooks></Hooks></BgbMessageHeaderHttp>");
  }
  std::string frame = write_frame(rules, kind, text.empty() ? "" : write_text(rules, text), twist, xml_header);
  ++session->frames_out;
  const Header header = read_header(rules, std::as_bytes(std::span(frame)));
  write_frame_line(*session, false, kind, &header, text, "sent", {},
                   rule != nullptr ? std::as_bytes(std::span(frame)) : std::span<const std::byte>{},
                   rule != nullptr ? fault_name(rule->fault) : nullptr);
  if (must_leave) expect_leave(*session, true);
  if (rule == nullptr) return push_chunk(session, {std::move(frame)});

  switch (rule->fault) {
    case Fault::black_hole:
      return go_dark(session);
    case Fault::close_mid_frame:
      frame.resize(frame.size() / 2);
      return push_chunk(session, {.bytes = std::move(frame), .close_after = true});
    case Fault::byte_per_write:
      return push_chunk(session, {.bytes = std::move(frame), .byte_by_byte = true});
    case Fault::split_every_byte: {
      if (rule->split_at >= frame.size()) rule->split_at = 1;
      const std::size_t at = rule->split_at++;
      push_chunk(session, {frame.substr(0, at)});
      return push_chunk(session, {.bytes = frame.substr(at), .wait = split_pause});
    }
    case Fault::mass_disconnect:
      return cut_everybody();
    case Fault::tls_key_update:
    case Fault::tls_renegotiation:
      shake_tls(*session, rule->fault);
      return push_chunk(session, {std::move(frame)});
    case Fault::many_frames_per_write:
      session->held += frame;
      if (++session->held_frames < rule->frames)
        return remind(held_frames_limit, Due::held_frames, session->id);
      session->held_frames = 0;
      return push_chunk(session, {std::exchange(session->held, {})});
    default:
      return push_chunk(session, {std::move(frame)});
  }
}

void NotifyEngine::expire(Push& push) {
  push.expired = true;
  for (auto& [number, delivery] : push.deliveries) {
    if (delivery.state == Delivered::answered) continue;
    delivery.state = Delivered::expired;
    std::erase(clients_[number].waiting, push.id);
  }
}

void NotifyEngine::forget_old_pushes() {
  for (auto push = pushes_.begin();
       push != pushes_.end() && static_cast<std::int64_t>(pushes_.size()) >= config_.pushes_max;) {
    const Push& one = push->second;
    if (!one.report_due && (one.expired || one.answered == one.deliveries.size())) {
      deliveries_ -= static_cast<std::int64_t>(one.deliveries.size());
      task_ids_.erase(one.task_guid);
      push = pushes_.erase(push);
    } else {
      ++push;
    }
  }
}

}  // namespace greengate::sim
