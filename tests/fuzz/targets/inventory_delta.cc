// Two states of a device: what changed, said as a delta, makes of the first what the site is to have. First byte: hardware, software, or a
// baseline's bytes; then, for two states, two bytes that say where the second begins.
#include "tests/fuzz/targets/check.h"
#include "workers/baseline_form.h"
#include "workers/inventory_delta.h"
#include "workers/inventory_state.h"

#include "greengate/v1/report.pb.h"

#include <google/protobuf/arena.h>

#include <map>
#include <set>
#include <span>
#include <string>

using namespace greengate;
using namespace greengate::workers;
using fuzz::must;
using google::protobuf::Arena;

namespace {

const Churn& churn() {
  static const Churn made({"Win32_LogicalDisk.FreeSpace", "A.b"});
  return made;
}

std::set<std::string> keys_in(const v1::InventoryClass& of, const auto& rows) {
  const std::vector<int> columns = key_columns(of);
  std::set<std::string> keys;
  for (const auto& row : rows) {
    if constexpr (std::is_pointer_v<std::decay_t<decltype(row)>>) {
      must(keys.insert(key_of(columns, *row)).second, "a delta names a row once");
    } else {
      must(keys.insert(key_of(columns, row)).second, "a state names a row once");
    }
  }
  return keys;
}

// As a site applies a delta: rows are taken out, replaced and put in by their keys.
void apply(const ClassChanges& changes) {
  must(changes.is != nullptr, "a delta knows its class");
  if (key_columns(*changes.is).empty()) return must(changes.deleted.empty(), "a row without keys is never deleted");
  std::set<std::string> site = changes.was ? keys_in(*changes.was, changes.was->instances()) : std::set<std::string>();
  if (changes.was)
    for (const auto& key : keys_in(*changes.was, changes.deleted)) must(site.erase(key) == 1, "only what the site has is deleted");
  for (const auto& key : keys_in(*changes.is, changes.updated)) must(site.contains(key), "only what the site has is updated");
  for (const auto& key : keys_in(*changes.is, changes.added)) must(site.insert(key).second, "only what the site lacks is added");
  must(site == keys_in(*changes.is, changes.is->instances()), "a delta leads to the new state");
}

void hardware(std::string_view first, std::string_view second) {
  Arena arena;
  const auto was = parse_hardware(first, arena), is = parse_hardware(second, arena);
  if (!was || !is) return;
  const auto same = compare(*is->state, *is->state, churn());
  must(same.can_be_told && same.rows == 0, "a state is like itself");
  // A baseline in its canonical form is read as it was.
  const std::string kept = is->state->SerializeAsString();
  const auto read = parse_hardware(kept, arena, StateOrigin::baseline), judged = parse_hardware(kept, arena);
  must(read && judged && judged->as_it_came, "a state that was parsed is in its canonical form");
  must(compare(*is->state, *read->state, Churn()).rows == 0, "a state survives being kept");

  const auto changes = compare(*was->state, *is->state, churn());
  if (!changes.can_be_told) return;
  std::size_t rows = 0;
  for (const auto& one : changes.classes) {
    apply(one);
    rows += one.deleted.size() + one.updated.size() + one.added.size();
  }
  must(rows == changes.rows, "the rows are counted right");
  must(rows <= rows_of(*was->state) + rows_of(*is->state), "a delta is no longer than both states");
  if (!fits_together(*was->state, *is->state)) return;

  // What the site has after the delta: from there to the state that came is nothing to be sent, and the next delta starts from it.
  v1::HardwareInventory& site = *Arena::CreateMessage<v1::HardwareInventory>(&arena);
  site = *is->state;
  keep_unspoken(*was->state, site);
  keep_unsent(*was->state, site, churn());
  must(site.classes_size() <= inventory_classes_max, "what is kept is bounded");
  const auto rest = compare(site, *is->state, churn());
  must(rest.can_be_told && rest.rows == 0, "after a delta nothing is left to be told");
  const std::string baseline = site.SerializeAsString();
  must(parse_hardware(baseline, arena, StateOrigin::baseline).has_value(), "what is kept can be read again");
}

void software(std::string_view first, std::string_view second) {
  Arena arena;
  const auto was = parse_software(first, arena), is = parse_software(second, arena);
  if (!was || !is) return;
  must(compare(*is->state, *is->state, churn()).rows == 0, "a file list is like itself");
  std::map<std::string, std::string> site, wanted;
  for (const auto& file : was->state->files()) must(site.emplace(key_of(file), file.SerializeAsString()).second, "a file is there once");
  for (const auto& file : is->state->files()) must(wanted.emplace(key_of(file), file.SerializeAsString()).second, "a file is there once");
  const auto changes = compare(*was->state, *is->state, churn());
  for (const auto* file : changes.deleted) must(site.erase(key_of(*file)) == 1, "only what the site has is deleted");
  for (const auto* file : changes.updated) {
    must(site.contains(key_of(*file)), "only what the site has is updated");
    site[key_of(*file)] = file->SerializeAsString();
  }
  for (const auto* file : changes.added) must(site.emplace(key_of(*file), file->SerializeAsString()).second, "only what the site lacks is added");
  must(site.size() == wanted.size(), "a delta leads to the new list");
  for (const auto& [key, file] : site) must(wanted.contains(key), "a delta leads to the new list");
}

void baseline(std::string_view bytes) {
  const auto form = read_baseline(bytes);
  if (!form) return must(std::string_view(form.error().code) == "baseline.unreadable", "a damaged baseline is refused by its code");
  must(form->plain.size() <= baseline_plain_bytes_max, "a baseline is bounded");
  const auto again = read_baseline(write_baseline(*form, form->plain));
  must(again && again->plain == form->plain && again->client == form->client && again->sequence == form->sequence &&
           again->incarnation == form->incarnation,
       "a baseline is read as it was written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::string_view rest = fuzz::text_of(data + 3, size - 3);
  const std::size_t cut = std::min<std::size_t>(rest.size(), data[1] | data[2] << 8);
  switch (data[0] % 3) {
    case 0: hardware(rest.substr(0, cut), rest.substr(cut)); break;
    case 1: software(rest.substr(0, cut), rest.substr(cut)); break;
    default: baseline(fuzz::text_of(data + 1, size - 1));
  }
  return 0;
}
