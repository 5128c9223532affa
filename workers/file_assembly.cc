#include "workers/file_assembly.h"

#include "core/check.h"

#include "greengate/v1/report.pb.h"

#include <openssl/evp.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace greengate::workers {
namespace {

using std::chrono::milliseconds;
using Reports = std::vector<const store::LeasedReport*>;

constexpr std::size_t sha256_bytes = 32;
constexpr milliseconds look_again_min{2'000}, look_again_max{60'000};

Error broken(const char* why) {
  return Error{Remedy::reject, "files.broken", std::string("the chunks do not make a file: ") + why + ".", {}};
}

/// What every chunk says of the whole.
struct Whole {
  std::uint32_t count = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ms = 0;
  std::string name, path, sha256;

  explicit Whole(const v1::FileChunk& chunk)
      : count(chunk.count()), size(chunk.size()), modified_ms(chunk.modified_ms()), name(chunk.name()), path(chunk.path()),
        sha256(chunk.sha256()) {}
  bool operator==(const Whole&) const = default;
};

/// One transfer on its way through the batch.
struct Transfer {
  Whole whole;
  Reports reports;
  std::uint64_t bytes = 0;
  std::optional<Error> trouble;

  bool complete() const { return !trouble && reports.size() == whole.count; }
};

/// Could this transfer ever lie in one batch?
std::optional<Error> cannot_fit(const Whole& whole, std::size_t overhead, const FileLimits& limits) {
  if (whole.count == 0 || whole.sha256.size() != sha256_bytes) return broken("they do not say how many they are, or their hash");
  const auto most = static_cast<std::uint64_t>(limits.bytes_max);
  if (whole.count > limits.reports_max || whole.size > most || whole.size + whole.count * std::uint64_t{overhead} > most) {
    return Error{Remedy::reject, "files.too_large",
                 "the file has " + std::to_string(whole.size) + " bytes in " + std::to_string(whole.count) +
                     " chunks; delivery.batch_bytes_max and delivery.batch_reports_max allow " + std::to_string(most) + " in " +
                     std::to_string(limits.reports_max) + ".",
                 {}};
  }
  return std::nullopt;
}

std::optional<Error> does_not_follow(const Transfer& transfer, const v1::FileChunk& chunk) {
  if (Whole(chunk) != transfer.whole) return broken("they speak of different files");
  if (chunk.index() != transfer.reports.size()) return broken("one is missing or there twice");
  const std::uint64_t bytes = transfer.bytes + chunk.data().size();
  if (bytes > transfer.whole.size) return broken("they hold more than the file has");
  if (chunk.index() + 1 == transfer.whole.count && bytes != transfer.whole.size) return broken("they hold less than the file has");
  return std::nullopt;
}

}  // namespace

FilePlan plan_files(std::span<const store::LeasedReport* const> chunks, const FileLimits& limits, bool alone) {
  FilePlan plan;
  std::vector<Transfer> transfers;                                             // in the order they began
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::size_t> place;        // incarnation and transfer → the last one of that number
  std::uint64_t batch_bytes = 0;
  v1::FileChunk chunk;
  for (const store::LeasedReport* report : chunks) {
    batch_bytes += report->body.size();
    if (!chunk.ParseFromString(report->body)) {
      plan.hopeless.push_back({{report}, Error{Remedy::reject, "report.malformed", "the report's body is not a FileChunk message.", {}}});
      continue;
    }
    const auto [at, is_new] = place.try_emplace({report->name.incarnation, chunk.transfer()}, transfers.size());
    // The same number again from its start is another transfer: a dead letter that is tried again beside its kin, or an agent that begins anew.
    if (is_new || (chunk.index() == 0 && (transfers[at->second].trouble || transfers[at->second].complete()))) {
      at->second = transfers.size();
      transfers.push_back({Whole(chunk), {}, 0, {}});
      Transfer& begun = transfers.back();
      begun.trouble = cannot_fit(begun.whole, report->body.size() - chunk.data().size(), limits);
      if (!begun.trouble && chunk.index() != 0) begun.trouble = broken("their beginning is missing");
    }
    Transfer& transfer = transfers[at->second];
    if (transfer.complete()) {
      plan.hopeless.push_back({{report}, broken("one comes after the last")});
      continue;
    }
    if (!transfer.trouble) transfer.trouble = does_not_follow(transfer, chunk);
    transfer.reports.push_back(report);
    transfer.bytes += chunk.data().size();
  }

  for (Transfer& transfer : transfers) {
    if (transfer.trouble) {
      plan.hopeless.push_back({std::move(transfer.reports), std::move(*transfer.trouble)});
    } else if (transfer.complete()) {
      plan.whole.push_back(std::move(transfer.reports));
    } else {
      const auto missing = transfer.whole.count - static_cast<std::uint32_t>(transfer.reports.size());
      plan.wait.push_back({std::move(transfer.reports), missing});
    }
  }
  // A file that fits is whole in a full batch unless others lie in it too; when all of them wait, the oldest was given up by its agent.
  const bool full = chunks.size() >= limits.reports_max || batch_bytes >= static_cast<std::uint64_t>(limits.bytes_max) / 2;
  if (alone && full && plan.whole.empty() && plan.hopeless.empty() && plan.wait.size() > 1) {
    plan.hopeless.push_back({std::move(plan.wait.front().reports), broken("their rest did not come while others filled the queue behind them")});
    plan.wait.erase(plan.wait.begin());
  }
  return plan;
}

milliseconds wait_for_rest(const Waiting& waiting, WallTime now) {
  const WallTime first = waiting.reports.front()->kept_at, last = waiting.reports.back()->kept_at;
  const auto came = static_cast<std::int64_t>(waiting.reports.size());
  const auto spent = std::chrono::duration_cast<milliseconds>(last - first).count();
  const auto at_this_pace = came > 1 ? spent / (came - 1) * waiting.missing : 0;
  const auto silence = std::chrono::duration_cast<milliseconds>(now - last).count();
  return std::clamp(milliseconds(std::max<std::int64_t>(at_this_pace, silence)), look_again_min, look_again_max);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  GREENGATE_CHECK(context_ && EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr) == 1, "SHA-256 is there");
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void Sha256::add(std::string_view bytes) {
  GREENGATE_CHECK(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size()) == 1, "hashing cannot fail");
}

std::string Sha256::digest() {
  std::string out(sha256_bytes, '\0');
  GREENGATE_CHECK(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), reinterpret_cast<unsigned char*>(out.data()), nullptr) == 1,
                  "hashing cannot fail");
  return out;
}

}  // namespace greengate::workers
