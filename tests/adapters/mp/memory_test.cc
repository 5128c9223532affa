// Goal: what a large message costs in memory while it is made is bounded by its text. Method: every allocation of this program is counted.
#include "adapters/mp/file_collection.h"
#include "adapters/mp/software_inventory.h"
#include "greengate/v1/report.pb.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> held{0}, peak{0};

void* counted(std::size_t bytes) {
  void* made = std::malloc(bytes);
  if (!made) std::abort();
  const std::size_t now = held += malloc_usable_size(made);
  std::size_t before = peak;
  while (now > before && !peak.compare_exchange_weak(before, now)) {
  }
  return made;
}

void given_back(void* memory) {
  if (!memory) return;
  held -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void operator delete(void* memory) noexcept { given_back(memory); }
void operator delete(void* memory, std::size_t) noexcept { given_back(memory); }

namespace greengate::test {
namespace {

using namespace greengate::adapters;

class Memory : public testing::Test {
 protected:
  Memory() {
    settings_.site_code = "P01";
    static const auto key = SigningKey::generate();
    identity_.key = *key;
    identity_.sms_id = SmsId("GUID:5A1B7C3D-0000-4000-8000-00000000A001");
    identity_.netbios_name = "LNX-A001";
    facts_.made_at = from_millis(1'768'472'430'000);
  }
  /// The most that was held at once while `make` ran, beyond what was held before, in bytes of text made.
  template <class Make>
  double peak_beside_text(Make make) {
    const std::size_t before = held;
    peak = before;
    const Result<OutgoingMessage> message = make();
    EXPECT_TRUE(message) << (message ? "" : message.error().message);
    return message ? static_cast<double>(peak - before) / static_cast<double>(message->xml_bytes) : 0;
  }

  MpSettings settings_;
  MpIdentity identity_;
  ReportFacts facts_;
};

// The worst is just after the text had to move: half of it again as room, and where it was. Beside it a worker holds the report itself, a
// fifth of the text at most; together less than four times the text.
TEST_F(Memory, OfAnInventoryInTheMakingIsLessThanThreeTimesItsText) {
  for (const InventoryLayout layout : {InventoryLayout::inline_body, InventoryLayout::attach, InventoryLayout::captured}) {
    settings_.inventory_layout = layout;
    for (const int files : {4'000, 7'000, 13'000, 20'000}) {
      v1::SoftwareFile file;
      file.set_path("/usr/lib/x86_64-linux-gnu/");
      file.set_product_name("package");
      const double times = peak_beside_text([&] {
        SoftwareInventoryWriter writer(settings_, identity_, facts_, InventoryKind::full);
        for (int i = 0; i < files; ++i) {
          file.set_name("file" + std::to_string(i));
          file.set_size(static_cast<std::uint64_t>(i) * 7919);
          EXPECT_TRUE(writer.file(file, InstanceContent::added));
        }
        return writer.finish();
      });
      EXPECT_GT(times, 1) << "something was not counted";
      EXPECT_LT(times, 3) << files << " files";
    }
  }
}

TEST_F(Memory, OfACollectedFileIsLessThanThreeTimesTheFileEvenWhenItDoesNotCompress) {
  std::string noise;
  for (std::uint32_t i = 0, x = 1; i < 8'000'000; ++i) noise.push_back(static_cast<char>((x = x * 1'664'525 + 1'013'904'223) >> 24));
  const double times = peak_beside_text([&] {
    FileCollectionWriter writer(settings_, identity_, facts_);
    EXPECT_TRUE(writer.begin({"core", "/var/", noise.size(), 0}));
    EXPECT_TRUE(writer.data(noise));
    return writer.finish();
  });
  EXPECT_GT(times, 1);
  EXPECT_LT(times, 3);
}

}  // namespace
}  // namespace greengate::test
