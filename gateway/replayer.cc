#include "gateway/replayer.h"

#include <boost/json.hpp>

#include <algorithm>

namespace greengate::gateway {
namespace {

constexpr std::uint32_t page = 10'000;
constexpr std::size_t letters_max = 1'000'000;
constexpr std::size_t at_once_max = 256;

}  // namespace

Replayer::Replayer(store::ReportQueue& reports, double per_second, const Clock& clock, Metrics& metrics)
    : reports_(reports),
      per_second_(per_second),
      clock_(clock),
      replayed_(metrics.counter("greengate_dead_letters_replayed_total", "Dead letters put back into their lanes.")) {}

Result<std::vector<ItemId>> Replayer::matching(store::DeadLetterFilter filter) {
  std::vector<ItemId> ids;
  while (ids.size() < letters_max) {
    auto letters = reports_.dead_letters(filter, page);
    if (!letters) return pass(letters);
    for (const store::DeadLetter& letter : *letters) {
      filter.above = letter.id.raw();
      if (letter.has_body) ids.push_back(letter.id);
    }
    if (letters->size() < page) break;
  }
  return ids;
}

Result<void> Replayer::begin(std::vector<ItemId> letters, double per_second) {
  if (letters.empty()) return fail(Remedy::reject, "replay.none", "no dead letter with a body is meant by that.");
  std::lock_guard lock(mutex_);
  if (done_ < letters_.size()) {
    return fail(Remedy::reject, "replay.busy", "a replay is under way; `greengatectl dead-letters replay --progress` shows how far it is.");
  }
  letters_ = std::move(letters);
  done_ = 0;
  put_back_ = 0;
  rate_ = per_second > 0 ? per_second : per_second_;
  allowance_ = 1;  // the first goes at once
  started_at_ = clock_.wall();
  last_tick_ = clock_.steady();
  last_code_.clear();
  log_.info("replay began", kv("reports", letters_.size()));
  return {};
}

void Replayer::tick() {
  std::vector<ItemId> next;
  {
    std::lock_guard lock(mutex_);
    const SteadyTime now = clock_.steady();
    const double passed = std::chrono::duration<double>(now - last_tick_).count();
    last_tick_ = now;
    if (done_ >= letters_.size()) return;
    allowance_ = std::min(allowance_ + passed * rate_, std::max(1.0, rate_));
    const auto count = std::min({static_cast<std::size_t>(allowance_), letters_.size() - done_, at_once_max});
    if (count == 0) return;
    next.assign(letters_.begin() + static_cast<std::ptrdiff_t>(done_), letters_.begin() + static_cast<std::ptrdiff_t>(done_ + count));
    allowance_ -= static_cast<double>(count);
  }
  // Not under the mutex: it waits for the disk.
  auto put_back = reports_.replay(next);
  std::lock_guard lock(mutex_);
  if (!put_back) {
    last_code_ = put_back.error().code;
    if (put_back.error().remedy == Remedy::retry) return;  // the same again with the next tick
    log_.error("replay ended early", kv("code", put_back.error().code), kv("why", put_back.error().message));
    done_ = letters_.size();
    return;
  }
  put_back_ += *put_back;
  replayed_.add(static_cast<double>(*put_back));
  done_ += next.size();
  if (done_ >= letters_.size()) log_.info("replay ended", kv("reports", put_back_));
}

boost::json::value Replayer::progress() const {
  std::lock_guard lock(mutex_);
  return boost::json::object{{"running", done_ < letters_.size()},
                             {"letters", letters_.size()},
                             {"done", done_},
                             {"put_back", put_back_},
                             {"per_second", rate_},
                             {"started_at_ms", letters_.empty() ? boost::json::value(nullptr) : boost::json::value(to_millis(started_at_))},
                             {"last_code", last_code_}};
}

}  // namespace greengate::gateway
