// JSON from scripts, commands and files: a custom inventory's classes, questions and answers through the agent's door, a class's shape for
// greengatectl. First byte: which.
#include "agent/ask.h"
#include "agent/collectors/custom_class.h"
#include "ctl/mof_command.h"
#include "tests/fuzz/targets/check.h"
#include "workers/inventory_state.h"

#include <google/protobuf/arena.h>

#include <algorithm>

using namespace greengate;
using fuzz::must;

namespace {

void classes(std::string_view text) {
  auto read = agent::read_custom_classes(text);
  if (!read) return must(std::string_view(read.error().code).starts_with("custom."), "a script's mistake has its code");
  must(read->size() <= 16, "at most 16 classes of one script");
  for (const auto& one : *read) {
    must(one.instances_size() <= 2'000 && one.properties_size() <= 128 && one.key_properties_size() > 0, "a class is bounded and has keys");
    for (const auto& row : one.instances())
      for (const auto& value : row.values()) {
        must(fuzz::is_clean(value.text()) && value.text().size() <= 255, "a text is clean and short");
        must(value.list().items_size() <= 64, "a list is short");
      }
    // What an agent takes of a script, its gateway takes of the agent.
    v1::HardwareInventory report;
    *report.add_classes() = one;
    google::protobuf::Arena arena;
    const auto taken = workers::parse_hardware(report.SerializeAsString(), arena);
    must(taken && taken->state->classes(0).properties_size() == one.properties_size(), "a gateway takes what an agent took");
  }
}

void question(std::string_view line) {
  const auto ask = agent::ask_from_json(line);
  if (!ask) return must(std::string_view(ask.error().code) == "ask.malformed", "what is no question is refused");
  const auto again = agent::ask_from_json(agent::ask_to_json(*ask));
  must(again && again->SerializeAsString() == ask->SerializeAsString(), "a question is read as it was written");
}

void answer(std::string_view line) {
  const auto said = agent::answer_from_json(line);
  if (!said) return must(std::string_view(said.error().code) == "ask.malformed", "what is no answer is refused");
  const auto again = agent::answer_from_json(agent::answer_to_json(*said));
  must(again && again->SerializeAsString() == said->SerializeAsString(), "an answer is read as it was written");
  // It goes to a terminal: nothing but lines of clean text.
  const std::string shown = agent::answer_text(*said);
  for (std::string_view rest = shown; !rest.empty();) must(fuzz::is_clean(fuzz::piece(rest, '\n')), "what people see is clean");
}

void shape(std::string_view text) {
  const auto found = ctl::shape_from_json(text, "Contoso_Thing");
  if (!found) return must(std::string_view(found.error().code).starts_with("mof."), "what is no shape is refused");
  const auto mof = adapters::mof_text(*found);
  if (!mof) return must(fuzz::is_clean(mof.error().message), "a class is refused in plain words");
  must(std::all_of(mof->begin(), mof->end(), [](char c) { return (c >= 0x20 && c < 0x7F) || c == '\r' || c == '\n'; }), "the text is ASCII");
  must(std::count(mof->begin(), mof->end(), '{') == 1 && std::count(mof->begin(), mof->end(), '}') == 1, "a name opens no second class");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = fuzz::text_of(data + 1, size - 1);
  switch (data[0] % 4) {
    case 0: classes(text); break;
    case 1: question(text); break;
    case 2: answer(text); break;
    default: shape(text);
  }
  return 0;
}
