#pragma once

#include "store/report_queue.h"
#include "workers/courier.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace greengate::workers {

/// Says which lanes a worker may lease from: only those whose messages the budget and a management point have room for now.
///
/// Promise   Nobody leases what could not go: a lane is open when each of its types has a message left in the budget, and fewer workers are at
///           it than the management points take at once. At least a quarter of several workers, and of the places, stays for control and
///           state. What a ticket sets aside counts against all others until it is given back, so n workers never take more than there is.
/// Threads   Any; reserve() never waits.
class Pacer {
 public:
  Pacer(std::uint32_t workers, Courier& courier);

  /// Lanes that share a pace. Control and state are small and wanted soon; the others are bulk.
  enum Flow : std::uint8_t { steady, discovery, inventory, files };
  static constexpr std::size_t flows = 4;

  /// What one worker has set aside; given back when it goes.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept { *this = std::move(other); }
    Ticket& operator=(Ticket&& other) noexcept;
    ~Ticket() { give_back(); }

    store::LaneSet lanes() const { return lanes_; }
    /// When a lane that is closed now may have opened.
    std::chrono::milliseconds look_again() const { return look_again_; }
    /// The batch came from this lane: what the others had set aside goes back.
    void keep_only(store::Lane lane);

   private:
    friend class Pacer;
    void give_back();
    Pacer* pacer_ = nullptr;
    std::array<bool, flows> open_{};
    bool seated_ = false, bulk_seated_ = false;
    store::LaneSet lanes_;
    std::chrono::milliseconds look_again_{};
  };
  Ticket reserve();

  /// Until the ticket says to look again, or somebody has given something back.
  void wait(const Ticket& ticket);
  /// Ends every wait(); for stopping.
  void wake();

 private:
  void release(Flow flow);

  const std::uint32_t bulk_workers_max_;
  Courier& courier_;
  std::mutex mutex_;  // guards everything below
  std::condition_variable given_back_;
  std::array<std::uint32_t, flows> at_flow_{};
  std::uint32_t seated_ = 0, bulk_seated_ = 0;
  std::uint64_t changes_ = 0;
};

}  // namespace greengate::workers
