// Chunks of collected files in any order. First byte: how small the bounds are, and whether the batch is alone; then, for each chunk, six
// bytes: which transfer, index, count, the file's size, the chunk's own bytes, and what is wrong with it.
#include "tests/fuzz/targets/check.h"
#include "workers/file_assembly.h"

#include "greengate/v1/report.pb.h"

#include <map>
#include <set>

using namespace greengate;
using fuzz::must;

namespace {

using Chunks = std::vector<const store::LeasedReport*>;

store::LeasedReport report_of(const std::uint8_t* six, std::size_t place) {
  store::LeasedReport report;
  report.name.incarnation = 1u + (six[0] >> 4 & 1u);
  report.name.sequence = place + 1;
  report.kept_at = from_millis(1'768'472'430'000 + static_cast<std::int64_t>(place) * 50);
  v1::FileChunk chunk;
  chunk.set_transfer(six[0] & 3u);
  chunk.set_index(six[1] == 0xFF ? 0xFFFFFFFFu : six[1]);
  chunk.set_count(six[2] == 0xFF ? 0xFFFFFFFFu : six[2]);
  chunk.set_size(six[3] == 0xFF ? ~std::uint64_t{0} : six[3]);
  chunk.set_data(std::string(six[4], 'x'));
  chunk.set_name((six[5] & 1) != 0 ? "other" : "a.conf");
  chunk.set_path("/etc/");
  chunk.set_sha256(std::string((six[5] & 2) != 0 ? 31 : 32, '\1'));
  report.body = (six[5] & 0xFC) == 0xFC ? std::string(8, '\xFF') : chunk.SerializeAsString();
  return report;
}

v1::FileChunk chunk_of(const store::LeasedReport& report) {
  v1::FileChunk chunk;
  must(chunk.ParseFromString(report.body), "only chunks are put together");
  return chunk;
}

void check_run(const Chunks& run) {
  std::uint32_t index = 0;
  const auto first = chunk_of(*run.front());
  for (const auto* report : run) {
    const auto chunk = chunk_of(*report);
    must(chunk.index() == index++ && chunk.transfer() == first.transfer() && report->name.incarnation == run.front()->name.incarnation &&
             chunk.name() == first.name() && chunk.count() == first.count() && chunk.size() == first.size(),
         "a file's chunks are its own, in order");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  workers::FileLimits limits;
  limits.reports_max = (data[0] & 1) != 0 ? 4 : 256;
  limits.bytes_max = (data[0] & 2) != 0 ? 600 : 32 << 20;
  const bool alone = (data[0] & 4) != 0;
  std::vector<store::LeasedReport> reports;
  for (std::size_t at = 1; at + 6 <= size && reports.size() < 300; at += 6) reports.push_back(report_of(data + at, reports.size()));
  Chunks chunks;
  for (const auto& report : reports) chunks.push_back(&report);

  const auto plan = workers::plan_files(chunks, limits, alone);
  std::set<const store::LeasedReport*> seen;
  const auto once = [&](const Chunks& some) {
    must(!some.empty(), "nothing is planned without chunks");
    for (const auto* report : some) must(seen.insert(report).second, "every chunk is in the plan once");
  };
  for (const auto& file : plan.whole) {
    once(file);
    check_run(file);
    std::uint64_t bytes = 0;
    for (const auto* report : file) bytes += chunk_of(*report).data().size();
    const auto first = chunk_of(*file.front());
    must(file.size() == first.count() && bytes == first.size(), "a whole file is whole");
    must(file.size() <= limits.reports_max && bytes <= static_cast<std::uint64_t>(limits.bytes_max), "a whole file is within the bounds");
  }
  for (const auto& waiting : plan.wait) {
    once(waiting.reports);
    check_run(waiting.reports);
    must(waiting.missing > 0 && waiting.missing + waiting.reports.size() == chunk_of(*waiting.reports.front()).count(), "what waits lacks its rest");
    const auto patience = workers::wait_for_rest(waiting, from_millis(1'768'472'500'000));
    must(patience >= std::chrono::seconds(2) && patience <= std::chrono::minutes(1), "one looks again after 2 s to 1 min");
  }
  for (const auto& hopeless : plan.hopeless) {
    once(hopeless.reports);
    must(hopeless.reason.remedy == Remedy::reject && !std::string_view(hopeless.reason.code).empty(), "what is hopeless has a reason");
  }
  must(seen.size() == chunks.size(), "every chunk is in the plan");

  // Transfers do not disturb one another: each alone comes out as it did among the others.
  if (alone) return 0;
  std::map<std::pair<std::uint64_t, unsigned>, Chunks> each;
  for (const auto& report : reports) {
    v1::FileChunk chunk;
    if (chunk.ParseFromString(report.body)) each[{report.name.incarnation, static_cast<unsigned>(chunk.transfer())}].push_back(&report);
  }
  std::size_t files = 0, waits = 0;
  for (const auto& [name, some] : each) {
    const auto own = workers::plan_files(some, limits, false);
    files += own.whole.size();
    waits += own.wait.size();
  }
  must(files == plan.whole.size() && waits == plan.wait.size(), "transfers do not disturb one another");
  return 0;
}
