#include "workers/site_budget.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t messages_max = 1'000'000'000;
constexpr milliseconds span_min{1'000}, span_max{31LL * 86'400'000};
// Sums of fractions fall short of the whole they stand for by less than this.
constexpr double rounding = 1e-6;

}  // namespace

Result<Budget> parse_budget(std::string_view text) {
  if (text == "unlimited" || text == "0") return Budget{};
  const auto wrong = [] {
    return fail(Remedy::reject, "budget.syntax", "it takes messages in a time from 1s to 31d, such as \"25000/240min\", or \"unlimited\"");
  };
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return wrong();
  Budget budget;
  const auto [end, error] = std::from_chars(text.data(), text.data() + slash, budget.messages);
  if (error != std::errc() || end != text.data() + slash || budget.messages > messages_max) return wrong();
  if (budget.messages == 0) {
    return fail(Remedy::reject, "budget.syntax", "no messages at all would keep reports for ever; write \"unlimited\", or at least 1");
  }
  const auto span = parse_duration(text.substr(slash + 1));
  if (!span || *span < span_min || *span > span_max) return wrong();
  budget.span = *span;
  return budget;
}

PacingConfig PacingConfig::unlimited() {
  PacingConfig config;
  config.budgets.fill("unlimited");
  return config;
}

std::vector<ConfigProblem> PacingConfig::problems() const {
  std::vector<ConfigProblem> found;
  for (const MessageType type : adapters::all_message_types) {
    const std::string& text = budgets[static_cast<std::size_t>(type)];
    const std::string key = "pacing." + std::string(adapters::name_of(type));
    if (auto budget = parse_budget(text); !budget) found.push_back({key, key + " is \"" + text + "\"; " + budget.error().message + "."});
  }
  if (burst < 1 || burst > 1'000'000) {
    found.push_back({"pacing.burst", "pacing.burst is " + std::to_string(burst) + "; it can be 1 to 1000000 (100 if left out)."});
  }
  return found;
}

SiteBudget::Bucket::Bucket(const PacingConfig& config, MessageType type, Metrics& metrics)
    : text(config.budgets[static_cast<std::size_t>(type)]),
      burst(std::max(config.burst, 1u)),
      left(burst),
      messages(metrics.counter("greengate_pacer_messages_total", "Messages charged to the site's budget.",
                               {{"type", std::string(adapters::name_of(type))}})),
      spent_seconds(metrics.counter("greengate_pacer_spent_seconds_total", "Time in which a type's budget was used up.",
                                    {{"type", std::string(adapters::name_of(type))}})),
      left_shown(metrics.gauge("greengate_pacer_budget_left_messages", "Messages the site's budget still has for now.",
                               {{"type", std::string(adapters::name_of(type))}})) {
  // What problems() complains of never gets here; without a limit is the safe reading for a report, which must not wait for ever.
  if (auto parsed = parse_budget(text)) budget = *parsed;
  left_shown.set(left);
}

void SiteBudget::Bucket::refill(SteadyTime now) {
  if (budget.unlimited() || now <= filled_at) return;
  if (filled_at != SteadyTime{}) {
    const double passed = std::chrono::duration<double, std::milli>(now - filled_at).count();
    if (left < 1) spent_seconds.add(std::min(passed, (1 - left) / per_ms()) / 1'000);
    left = std::min(burst, left + passed * per_ms());
  }
  filled_at = now;
  left_shown.set(left);
}

milliseconds SiteBudget::Bucket::one_in(double at_hand) const {
  if (budget.unlimited() || at_hand + rounding >= 1) return milliseconds(0);
  return milliseconds(std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil((1 - at_hand) / per_ms() - rounding))));
}

SiteBudget::SiteBudget(const PacingConfig& config, const Clock& clock, Metrics& metrics) : clock_(clock) {
  for (const MessageType type : adapters::all_message_types) buckets_.emplace_back(config, type, metrics);
}

milliseconds SiteBudget::reserve(std::span<const MessageType> types) {
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.steady();
  milliseconds wait{0};
  for (const MessageType type : types) {
    bucket(type).refill(now);
    const Bucket& asked = bucket(type);
    const auto next = asked.one_in(asked.free());
    wait = std::max(wait, next > milliseconds(0) && asked.left >= asked.burst ? milliseconds::max() : next);
  }
  if (wait > milliseconds(0)) return wait;
  for (const MessageType type : types) bucket(type).reserved += 1;
  return milliseconds(0);
}

void SiteBudget::give_back(std::span<const MessageType> types) {
  std::lock_guard lock(mutex_);
  for (const MessageType type : types) bucket(type).reserved -= 1;
}

milliseconds SiteBudget::shortage(MessageType type) {
  std::lock_guard lock(mutex_);
  Bucket& asked = bucket(type);
  asked.refill(clock_.steady());
  // Without what is set aside, or one's own reservation would stand in one's way.
  return asked.one_in(type == MessageType::requests ? asked.left : asked.left + asked.burst);
}

void SiteBudget::charge(MessageType type) {
  std::lock_guard lock(mutex_);
  Bucket& charged = bucket(type);
  charged.refill(clock_.steady());
  ++charged.sent;
  charged.messages.add();
  if (charged.budget.unlimited()) return;
  charged.left -= 1;
  charged.left_shown.set(charged.left);
}

std::vector<BudgetHealth> SiteBudget::health() {
  std::lock_guard lock(mutex_);
  const SteadyTime now = clock_.steady();
  std::vector<BudgetHealth> all;
  for (const MessageType type : adapters::all_message_types) {
    Bucket& asked = bucket(type);
    asked.refill(now);
    all.push_back({type, asked.text, asked.left, asked.one_in(asked.left), asked.sent});
  }
  return all;
}

}  // namespace greengate::workers
