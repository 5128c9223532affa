// Goal: an inventory in flight takes at most four times its own XML in memory. Method: every allocation of this program is counted; a server's
// inventory of 600 packages, 200 processes and 150 services is planned, written, compressed and signed, whole and as a delta.
#include "tests/support/memory_store.h"
#include "tests/workers/site_of_one.h"

#include "greengate/v1/frame.pb.h"
#include "greengate/v1/report.pb.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::int64_t> in_use{0}, peak{0};

void* counted(std::size_t bytes) {
  void* got = std::malloc(bytes);
  if (got == nullptr) throw std::bad_alloc();
  const std::int64_t now = in_use += static_cast<std::int64_t>(malloc_usable_size(got));
  for (std::int64_t seen = peak; now > seen && !peak.compare_exchange_weak(seen, now);) continue;
  return got;
}
void uncounted(void* what) noexcept {
  if (what != nullptr) in_use -= static_cast<std::int64_t>(malloc_usable_size(what));
  std::free(what);
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void operator delete(void* what) noexcept { uncounted(what); }
void operator delete[](void* what) noexcept { uncounted(what); }
void operator delete(void* what, std::size_t) noexcept { uncounted(what); }
void operator delete[](void* what, std::size_t) noexcept { uncounted(what); }

namespace greengate::test {
namespace {

using namespace workers;

v1::InventoryClass& table(v1::HardwareInventory& state, const char* name, int columns) {
  v1::InventoryClass& one = *state.add_classes();
  one.set_name(name);
  one.add_key_properties(0);
  for (int i = 0; i < columns; ++i) one.add_properties("Property" + std::to_string(i) + "OfClass");
  return one;
}

// `changed`: so many of each class differ.
v1::HardwareInventory server(int changed) {
  v1::HardwareInventory state;
  const auto fill = [&](const char* name, int rows, int columns, int texts) {
    v1::InventoryClass& one = table(state, name, columns);
    for (int row = 0; row < rows; ++row) {
      v1::InventoryInstance& made = *one.add_instances();
      for (int column = 0; column < columns; ++column) {
        v1::Value& value = *made.add_values();
        const std::string text = std::string(name) + "-" + std::to_string(row) + (column == 1 && row < changed ? "-changed" : "");
        if (column < texts) value.set_text(text + " of some length");
        else value.set_unsigned_integer(static_cast<std::uint64_t>(row) * 1'000 + static_cast<std::uint64_t>(column));
      }
    }
  };
  fill("Package", 600, 5, 5);
  fill("Process", 200, 23, 6);
  fill("Service", 150, 15, 10);
  return state;
}

struct Measured {
  double peak_bytes = 0, xml_bytes = 0;
};

// From the leased batch to the signed message, as a worker does it.
Measured measure(const store::Batch& batch, const InventoryPlanner& planner, const adapters::MpIdentity& identity, const MemoryStore& store) {
  const Plan plan = plan_messages(batch, {});
  malloc_trim(0);
  const std::int64_t before = in_use;
  peak = before;
  auto made = planner.plan(batch.agent, identity.sms_id, plan.messages.at(0), {}, [&](const std::string& name) { return store.counter(name); },
                           batch.until);
  EXPECT_TRUE(made) << made.error().message;
  auto prepared = std::move(*made).write(planner.settings(), identity);
  EXPECT_TRUE(prepared) << prepared.error().message;
  return {static_cast<double>(peak - before), static_cast<double>(prepared->message.xml_bytes)};
}

TEST(InventoryMemory, AnInventoryInFlightTakesAtMostFourTimesItsXml) {
  SiteOfOne world({{"Package", {"Property0OfClass"}}, {"Process", {"Property0OfClass"}}, {"Service", {"Property0OfClass"}}});
  InventoryPlanner planner({}, world.settings, *world.store, world.metrics);
  const auto identity = world.identity();
  ASSERT_TRUE(identity);
  // Once beforehand: what a thread keeps for all its messages is not an inventory's.
  world.report(v1::KIND_HARDWARE_INVENTORY, server(0));
  ASSERT_TRUE(world.run());

  world.store->lose_baselines();
  world.report(v1::KIND_HARDWARE_INVENTORY, server(0));
  const auto whole_batch = *world.store->lease(store::LaneSet::all(), 256, 32u << 20, {});
  const Measured whole = measure(*whole_batch, planner, *identity, *world.store);
  std::cout << "whole: XML " << whole.xml_bytes << " bytes, peak " << whole.peak_bytes / whole.xml_bytes << " times that\n";
  EXPECT_GT(whole.xml_bytes, 500'000);
  EXPECT_LE(whole.peak_bytes, 4 * whole.xml_bytes);

  ASSERT_TRUE(world.run());
  world.report(v1::KIND_HARDWARE_INVENTORY, server(20));
  const auto delta_batch = *world.store->lease(store::LaneSet::all(), 256, 32u << 20, {});
  const Measured delta = measure(*delta_batch, planner, *identity, *world.store);
  std::cout << "delta: XML " << delta.xml_bytes << " bytes, peak " << delta.peak_bytes / whole.xml_bytes << " times the whole one's\n";
  EXPECT_LE(delta.peak_bytes, 4 * whole.xml_bytes);

  // The worst: a resync or a gap with both states in hand.
  world.report(v1::KIND_HARDWARE_INVENTORY, server(600));
  const auto large_batch = *world.store->lease(store::LaneSet::all(), 256, 32u << 20, {});
  const Measured large = measure(*large_batch, planner, *identity, *world.store);
  std::cout << "large: XML " << large.xml_bytes << " bytes, peak " << large.peak_bytes / whole.xml_bytes << " times the whole one's\n";
  EXPECT_LE(large.peak_bytes, 4 * whole.xml_bytes);
}

}  // namespace
}  // namespace greengate::test
