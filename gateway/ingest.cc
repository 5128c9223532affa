#include "gateway/ingest.h"

#include "gateway/ingest_loop.h"

#include <utility>

namespace greengate::gateway {

Ingest::Ingest(AgentsConfig config, store::ReportQueue& queue, store::DeviceRegistry& devices,
               const Clock& clock, Metrics& metrics)
    : loop_(std::make_unique<Loop>(std::move(config), queue, devices, clock, metrics)) {}
Ingest::~Ingest() { loop_->stop(); }

void Ingest::listen(PresenceListener& listener) { loop_->presence.listen(listener); }
void Ingest::on_task_result(TaskResultListener listener) {
  loop_->task_result = std::move(listener);
}
void Ingest::on_ask(AskListener listener) { loop_->ask = std::move(listener); }
const Presence& Ingest::presence() const { return loop_->presence; }
std::string Ingest::endpoint() const { return loop_->endpoint; }
std::string Ingest::public_key() const { return loop_->public_key; }

bool Ingest::send_notification(const AgentId& agent, const v1::Notification& notification) {
  v1::Frame frame;
  *frame.mutable_notification() = notification;
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

bool Ingest::send_receipt(const AgentId& agent, const v1::Receipt& receipt) {
  return loop_->send({agent, {}, receipt});
}

bool Ingest::ask_full_state(const AgentId& agent, const std::string& reason) {
  v1::Frame frame;
  frame.mutable_full_state_wanted()->set_reason(reason);
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

bool Ingest::send_answer(const AgentId& agent, const v1::Answer& answer) {
  v1::Frame frame;
  *frame.mutable_answer() = answer;
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

bool Ingest::send_directions(const AgentId& agent, const v1::Directions& directions) {
  v1::Frame frame;
  *frame.mutable_directions() = directions;
  return loop_->send({agent, frame.SerializeAsString(), std::nullopt});
}

void Ingest::on_state_changed(const AgentId& agent) { loop_->state_changed(agent); }

Result<void> Ingest::start() { return loop_->start(); }
void Ingest::drain(SteadyTime until) { loop_->drain(until); }
void Ingest::stop() { loop_->stop(); }

}  // namespace greengate::gateway
