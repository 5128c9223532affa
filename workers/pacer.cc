#include "workers/pacer.h"

#include <algorithm>
#include <span>
#include <utility>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;
using store::Lane;

// How long a worker goes without looking what else it may do. Who waits for another worker's place is woken when that one is done.
constexpr milliseconds patience{500};
// A budget so large that the next message is due at once must not keep workers spinning.
constexpr milliseconds least{5};

constexpr MessageType steady_types[] = {MessageType::state};
constexpr MessageType discovery_types[] = {MessageType::discovery};
constexpr MessageType inventory_types[] = {MessageType::hardware_inventory, MessageType::software_inventory};
constexpr MessageType file_types[] = {MessageType::files};

std::span<const MessageType> types_of(Pacer::Flow flow) {
  switch (flow) {
    case Pacer::steady: return steady_types;
    case Pacer::discovery: return discovery_types;
    case Pacer::inventory: return inventory_types;
    case Pacer::files: return file_types;
  }
  return {};
}

Pacer::Flow flow_of(Lane lane) {
  switch (lane) {
    case Lane::control:
    case Lane::state: return Pacer::steady;
    case Lane::discovery: return Pacer::discovery;
    case Lane::inventory: return Pacer::inventory;
    case Lane::files: return Pacer::files;
  }
  return Pacer::steady;
}

}  // namespace

Pacer::Ticket& Pacer::Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  pacer_ = std::exchange(other.pacer_, nullptr);
  open_ = other.open_;
  seated_ = other.seated_;
  bulk_seated_ = other.bulk_seated_;
  lanes_ = other.lanes_;
  look_again_ = other.look_again_;
  return *this;
}

void Pacer::Ticket::keep_only(Lane lane) {
  if (!pacer_) return;
  const Flow kept = flow_of(lane);
  {
    std::lock_guard lock(pacer_->mutex_);
    for (std::size_t i = 0; i < flows; ++i) {
      if (i != kept && std::exchange(open_[i], false)) pacer_->release(static_cast<Flow>(i));
    }
    if (kept == steady && std::exchange(bulk_seated_, false)) --pacer_->bulk_seated_;
    ++pacer_->changes_;
  }
  pacer_->given_back_.notify_one();
}

void Pacer::Ticket::give_back() {
  if (!pacer_) return;
  {
    std::lock_guard lock(pacer_->mutex_);
    for (std::size_t i = 0; i < flows; ++i) {
      if (std::exchange(open_[i], false)) pacer_->release(static_cast<Flow>(i));
    }
    if (bulk_seated_) --pacer_->bulk_seated_;
    if (seated_) --pacer_->seated_;
    ++pacer_->changes_;
  }
  pacer_->given_back_.notify_one();
  pacer_ = nullptr;
}

Pacer::Pacer(std::uint32_t workers, Courier& courier)
    : bulk_workers_max_(workers > 1 ? workers - (workers + 3) / 4 : 1), courier_(courier) {}

void Pacer::release(Flow flow) {
  --at_flow_[flow];
  courier_.budget().give_back(types_of(flow));
}

Pacer::Ticket Pacer::reserve() {
  const CourierCapacity capacity = courier_.capacity();
  Ticket ticket;
  milliseconds look_again = patience;
  const auto closed_for = [&](milliseconds time) { look_again = std::min(look_again, std::max(time, least)); };
  std::lock_guard lock(mutex_);
  ticket.pacer_ = this;
  const bool bulk_is_full = bulk_seated_ >= std::min(bulk_workers_max_, capacity.bulk);
  for (std::size_t i = 0; i < flows; ++i) {
    const auto flow = static_cast<Flow>(i);
    std::uint32_t places = 0;
    milliseconds rest = milliseconds::max();
    for (const MessageType type : types_of(flow)) {
      // The lane is one queue for all its types: it goes on while any of them can.
      places = std::max(places, capacity.of_type[static_cast<std::size_t>(type)]);
      rest = std::min(rest, capacity.rest_left[static_cast<std::size_t>(type)]);
    }
    if (places == 0) {
      if (rest > milliseconds(0)) closed_for(rest);
    } else if (seated_ >= capacity.total || (flow != steady && bulk_is_full) || at_flow_[flow] >= places) {
      continue;
    } else if (const auto next = courier_.budget().reserve(types_of(flow)); next > milliseconds(0)) {
      closed_for(next);
    } else {
      ++at_flow_[flow];
      ticket.open_[flow] = true;
    }
  }
  if (ticket.open_[steady]) ticket.lanes_ = ticket.lanes_.with(Lane::control).with(Lane::state);
  if (ticket.open_[discovery]) ticket.lanes_ = ticket.lanes_.with(Lane::discovery);
  if (ticket.open_[inventory]) ticket.lanes_ = ticket.lanes_.with(Lane::inventory);
  if (ticket.open_[files]) ticket.lanes_ = ticket.lanes_.with(Lane::files);
  ticket.look_again_ = look_again;
  ticket.seated_ = !ticket.lanes_.empty();
  ticket.bulk_seated_ = ticket.open_[discovery] || ticket.open_[inventory] || ticket.open_[files];
  if (ticket.seated_) ++seated_;
  if (ticket.bulk_seated_) ++bulk_seated_;
  return ticket;
}

void Pacer::wait(const Ticket& ticket) {
  std::unique_lock lock(mutex_);
  given_back_.wait_for(lock, ticket.look_again(), [this, seen = changes_] { return changes_ != seen; });
}

void Pacer::wake() {
  {
    std::lock_guard lock(mutex_);
    ++changes_;
  }
  given_back_.notify_all();
}

}  // namespace greengate::workers
