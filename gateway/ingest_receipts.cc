#include "gateway/ingest_loop.h"

#include <algorithm>
#include <array>

namespace greengate::gateway {
namespace {

using namespace std::chrono_literals;
using adapters::RoutingId;
using adapters::Sent;

constexpr auto tell_again_interval = 10'000ms;  // to one that was cut off and keeps talking
constexpr auto store_retry_min = 2'000ms;

std::string_view outcome_name(store::Kept kept) {
  switch (kept) {
    case store::Kept::stored: return "stored";
    case store::Kept::duplicate: return "duplicate";
    case store::Kept::out_of_order: return "out_of_order";
    case store::Kept::full: return "full";
  }
  return "stored";
}

}  // namespace

void Ingest::Loop::settle() {
  for (KeptBatch& batch : keeper_.settled()) {
    probe_.keep_took(now_ - batch.handed_over_at);
    std::size_t entry = 0;
    for (const KeptRun& run : batch.runs) {
      settle_run(batch, run, entry);
      entry += run.entries;
    }
    if (!batch.results) {
      probe_.reports("failed", batch.entries.size());
      warn(batch.results.error().code, batch.results.error().message, nullptr);
      continue;
    }
    std::array<std::size_t, 4> counts{};
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < batch.entries.size(); ++i) {
      const store::Kept kept = (*batch.results)[i].kept;
      counts[static_cast<std::size_t>(kept)] += 1;
      if (kept == store::Kept::stored)
        bytes += batch.entries[i].cost_bytes - report_cost_bytes(0);
    }
    for (std::size_t i = 0; i < counts.size(); ++i)
      if (counts[i] != 0) probe_.reports(outcome_name(static_cast<store::Kept>(i)), counts[i]);
    if (bytes != 0) probe_.report_bytes(bytes);
  }
}

void Ingest::Loop::settle_run(const KeptBatch& batch, const KeptRun& run, std::size_t first_entry) {
  // Credits go back to the session that spent them; the receipts to whoever now speaks for the agent's same outbox.
  if (Session* spender = sessions_.find_serial(run.route, run.session_serial)) {
    spender->account.in_flight -= static_cast<std::uint32_t>(run.entries);
    for (std::size_t i = first_entry; i < first_entry + run.entries; ++i)
      spender->account.in_flight_bytes -= batch.entries[i].cost_bytes;
  }
  Session* session = sessions_.find_agent(run.agent);
  if (session == nullptr || session->standing != Standing::active ||
      session->incarnation != run.incarnation)
    return;

  const std::uint64_t last_entry = first_entry + run.entries - 1;
  if (!batch.results) {
    const Error& error = batch.results.error();
    if (error.remedy == Remedy::halt) return;  // going down: the agent keeps what has no receipt
    throttle(*session, batch.entries[first_entry].sequence, batch.entries[last_entry].sequence,
             {error.code, error.message,
              std::max(error.retry_after, std::chrono::milliseconds(store_retry_min))});
    return;
  }
  for (std::size_t i = first_entry; i <= last_entry; ++i) {
    const KeptEntry& entry = batch.entries[i];
    const store::KeepResult& result = (*batch.results)[i];
    switch (result.kept) {
      case store::Kept::stored:
      case store::Kept::duplicate:
        if (entry.sequence >= session->throttled_from) session->throttled_from = 0;
        note(*session, {run.incarnation, entry.sequence, entry.sequence,
                        v1::RECEIPT_STATUS_STORED, "", "", 0ms, 0});
        break;
      case store::Kept::full:
        throttle(*session, entry.sequence, entry.sequence,
                 {"queue.full", "The gateway has no room in this report's lane.",
                  config_.full_queue_retry});
        break;
      case store::Kept::out_of_order: {
        // After a throttled report everything is out of order; saying RESEND would only bring it back too early.
        const bool follows_throttled = session->throttled_from > result.last_sequence &&
                                       session->throttled_from < entry.sequence &&
                                       now_ < session->throttled_until;
        if (follows_throttled) {
          const auto rest = std::chrono::ceil<std::chrono::milliseconds>(session->throttled_until - now_);
          note(*session, {run.incarnation, entry.sequence, entry.sequence,
                          v1::RECEIPT_STATUS_THROTTLED, session->throttled_code,
                          "Earlier reports have to come first.", rest, 0});
        } else {
          note(*session, {run.incarnation, result.last_sequence + 1, entry.sequence,
                          v1::RECEIPT_STATUS_RESEND, "flow.gap",
                          "Earlier reports are missing.", 0ms, 0});
        }
        break;
      }
    }
  }
}

void Ingest::Loop::note(Session& session, ReceiptNote said) {
  if (session.receipts.empty()) with_receipts_.emplace_back(session.route, session.serial);
  said.at_ms = to_millis(clock_.wall());
  add_receipt(session.receipts, said);
}

void Ingest::Loop::throttle(Session& session, std::uint64_t first, std::uint64_t last,
                            const Refusal& why) {
  if (session.throttled_from == 0 || first < session.throttled_from || now_ >= session.throttled_until)
    session.throttled_from = first;
  session.throttled_until = now_ + why.retry_after;
  session.throttled_code = why.code;
  note(session, {session.incarnation, first, last, v1::RECEIPT_STATUS_THROTTLED, why.code,
                 why.message, why.retry_after, 0});
}

void Ingest::Loop::carry_out_messages() {
  for (Outgoing& message : outgoing_.drain()) {
    Session* session = sessions_.find_agent(message.agent);
    if (session == nullptr || session->standing != Standing::active) continue;
    if (!message.receipt) {
      send_bytes(*session, message.frame);
    } else if (message.receipt->incarnation() == session->incarnation) {
      if (session->receipts.empty())
        with_receipts_.emplace_back(session->route, session->serial);
      session->receipts.push_back(std::move(*message.receipt));
    }
  }
}

void Ingest::Loop::send_receipts() {
  std::size_t count = 0;
  for (const auto& [route, serial] : with_receipts_) {
    Session* session = sessions_.find_serial(route, serial);
    if (session == nullptr || session->receipts.empty()) continue;
    auto* frame = google::protobuf::Arena::CreateMessage<v1::Frame>(&arena_);
    auto& all = *frame->mutable_receipts()->mutable_receipts();
    all.Reserve(static_cast<int>(session->receipts.size()));
    for (v1::Receipt& receipt : session->receipts) *all.Add() = receipt;
    count += session->receipts.size();
    session->receipts.clear();
    send(*session, *frame);
    arena_.Reset();
  }
  with_receipts_.clear();
  if (count != 0) probe_.receipts_sent(count);
}

void Ingest::Loop::refuse(RoutingId route, Session* session, const Refusal& why) {
  probe_.frame_refused(why.code);
  const bool cut_off = session != nullptr && (session->standing == Standing::revoked ||
                                              session->standing == Standing::replaced);
  if (cut_off) {
    if (session->told_at != SteadyTime{} && now_ - session->told_at < tell_again_interval) return;
    session->told_at = now_;
  }
  warn(why.code, why.message, session);
  v1::Frame frame;
  v1::Refused& refused = *frame.mutable_refused();
  refused.set_code(why.code);
  refused.set_message(why.message);
  refused.set_retry_after_ms(millis(why.retry_after));
  frame.SerializeToString(&out_);
  if (session != nullptr)
    send_bytes(*session, out_);
  else
    socket_->send(route, out_);  // no session, nothing to keep true
}

void Ingest::Loop::want_full_state(Session& session, const char* reason) {
  if (session.full_state_ever_asked &&
      now_ - session.full_state_asked_at < config_.full_state_interval)
    return;
  session.full_state_ever_asked = true;
  session.full_state_asked_at = now_;
  v1::Frame frame;
  frame.mutable_full_state_wanted()->set_reason(reason);
  send(session, frame);
}

bool Ingest::Loop::send(Session& session, const v1::Frame& frame) {
  frame.SerializeToString(&out_);
  return send_bytes(session, out_);
}

bool Ingest::Loop::send_bytes(Session& session, std::string_view bytes) {
  if (socket_->send(session.route, bytes) == Sent::sent) return true;
  // Not now: callers still hold the session. An agent that comes back says Hello and learns where it stands.
  to_give_up_.emplace_back(session.route, session.serial);
  return false;
}

}  // namespace greengate::gateway
