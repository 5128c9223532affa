// The contract's new calls before they are built; goes away with them.
#include "store/embedded/report_queue.h"

namespace greengate::store {
namespace {
tl::unexpected<Error> unbuilt() { return fail(Remedy::reject, "queue.disk", "not built yet."); }
}  // namespace
Result<ItemId> EmbeddedReportQueue::keep_own(NewReport) { return unbuilt(); }
void EmbeddedReportQueue::on_expired(std::function<void(const std::vector<ReportName>&)>) {}
Result<std::vector<DeadLetter>> EmbeddedReportQueue::dead_letters(const DeadLetterFilter&, std::uint32_t) { return unbuilt(); }
Result<LeasedReport> EmbeddedReportQueue::dead_letter(ItemId) { return unbuilt(); }
Result<std::uint32_t> EmbeddedReportQueue::replay(const std::vector<ItemId>&) { return unbuilt(); }
Result<std::uint32_t> EmbeddedReportQueue::discard(const std::vector<ItemId>&) { return unbuilt(); }
}  // namespace greengate::store
