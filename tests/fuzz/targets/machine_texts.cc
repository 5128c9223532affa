// What an agent reads of its machine, and of its own small files: MIF files, package managers' logs, process accounting, notes. First byte: which.
#include "agent/collectors/custom_inventory.h"
#include "agent/files/plan.h"
#include "agent/watchers/accounting.h"
#include "agent/watchers/mif_text.h"
#include "agent/watchers/package_log.h"
#include "agent/watchers/tail.h"
#include "tests/fuzz/targets/check.h"

using namespace greengate;
using namespace greengate::agent;
using fuzz::is_clean;
using fuzz::must;

namespace {

void mif(std::string_view text, bool header) {
  const auto facts = check_mif(text, header);
  if (!facts) return must(std::string_view(facts.error().code).starts_with("mif.") && is_clean(facts.error().message), "a MIF file is refused in plain words");
  must(facts->groups <= 1'000 && facts->attributes <= 10'000, "a MIF file's parts are bounded");
  must(check_mif(text, false).has_value(), "an IDMIF file is a MIF file");
}

void log(std::string_view text, const char* path) {
  const auto log = package_log_for(path);
  while (!text.empty()) {
    const auto event = log->line(fuzz::piece(text, '\n'));
    if (!event) continue;
    for (const std::string* word : {&event->name, &event->version, &event->previous_version, &event->architecture})
      must(is_clean(*word) && word->size() <= 200, "an event's words are clean and short");
    must((event->what == PackageEvent::What::upgraded) || event->previous_version.empty(), "only an upgrade has a version before");
  }
  const auto restarted = package_log_for(path);
  const std::string state = log->state();
  restarted->restore(state);
  must(restarted->state() == state, "what was begun survives a restart");
}

void accounting(std::string_view bytes) {
  for (; bytes.size() >= accounting_record_bytes; bytes.remove_prefix(accounting_record_bytes)) {
    const auto record = accounting_record(bytes.substr(0, accounting_record_bytes));
    if (!record) continue;
    must(!record->command.empty() && record->command.size() <= 16 && is_clean(record->command), "a command is a short name");
    must(record->began_ms >= 0 && record->ran_ms <= 315'360'000'000ull, "a process ran ten years at most");
  }
  must(!accounting_record(bytes), "half a record is none");
}

void notes(std::string_view text) {
  if (const auto position = TailPosition::from_text(text)) {
    const auto again = TailPosition::from_text(position->text());
    must(again && again->offset == position->offset && again->inode == position->inode && again->mark == position->mark &&
             again->mark_bytes == position->mark_bytes,
         "a position is read as it was written");
  }
  if (const auto name = package_name(text)) must(is_clean(name->name) && is_clean(name->version) && is_clean(name->architecture), "a name is clean");
  for (const auto& problem : problems_from_text(text))
    must(is_clean(problem.script) && is_clean(problem.code) && is_clean(problem.message) && problem.code.size() <= 64, "a problem is told in clean words");
}

void plan(std::string_view bytes) {
  const auto plan = FilePlan::decode(bytes);
  if (!plan) return;
  must(plan->files.size() <= FileLedger::files_max, "a plan is bounded");
  const std::string written = plan->encode();
  const auto again = FilePlan::decode(written);
  must(again && again->encode() == written, "a plan is read as it was written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  switch (data[0] % 7) {
    case 0: mif(text, false); break;
    case 1: mif(text, true); break;
    case 2: log(text, "/var/log/dpkg.log"); break;
    case 3: log(text, "/var/log/dnf.rpm.log"); break;
    case 4: accounting(text); break;
    case 5: notes(text); break;
    default: plan(text);
  }
  return 0;
}
