#include "gateway/keeper.h"

#include "core/check.h"
#include "gateway/admission.h"

namespace greengate::gateway {

Keeper::Keeper(store::ReportQueue& queue, const Clock& clock, std::function<void()> woken)
    : queue_(queue),
      clock_(clock),
      woken_(std::move(woken)),
      inbox_(std::make_shared<Inbox>()) {}

void Keeper::add(adapters::RoutingId route, std::uint64_t session_serial,
                 store::NewReport report) {
  if (waiting_.empty() || waiting_.back().reports.size() >= batch_reports_max ||
      waiting_.back().about.cost_bytes >= batch_bytes_max)
    waiting_.emplace_back();
  Waiting& batch = waiting_.back();

  auto& runs = batch.about.runs;
  if (runs.empty() || runs.back().route != route || runs.back().session_serial != session_serial ||
      runs.back().incarnation != report.name.incarnation)
    runs.push_back({report.name.agent, route, session_serial, report.name.incarnation, 0});
  runs.back().entries += 1;

  const std::int64_t cost = report_cost_bytes(report.body.size());
  batch.about.entries.push_back({report.name.sequence, cost});
  batch.about.cost_bytes += cost;
  held_bytes_ += cost;
  batch.reports.push_back(std::move(report));
}

void Keeper::flush() {
  while (!waiting_.empty() && on_their_way_ < batches_max) {
    Waiting batch = std::move(waiting_.front());
    waiting_.pop_front();
    on_their_way_ += 1;
    batch.about.handed_over_at = clock_.steady();
    // Shared, because std::function wants to be copyable.
    auto about = std::make_shared<KeptBatch>(std::move(batch.about));
    queue_.keep(std::move(batch.reports),
                [inbox = inbox_, woken = woken_, about](Result<std::vector<store::KeepResult>> results) {
                  about->results = std::move(results);
                  const bool room = inbox->settled.try_push(std::move(*about));
                  GREENGATE_CHECK(room, "no more batches settle than were handed over");
                  woken();
                });
  }
}

std::vector<KeptBatch> Keeper::settled() {
  auto batches = inbox_->settled.drain();
  for (const KeptBatch& batch : batches) {
    on_their_way_ -= 1;
    held_bytes_ -= batch.cost_bytes;
    GREENGATE_CHECK(!batch.results || batch.results->size() == batch.entries.size(),
                    "the queue answers once for each report");
  }
  return batches;
}

}  // namespace greengate::gateway
