// Whatever a Windows device posts: the reader, and a session that answers it. What was read is written and read again.
#include "adapters/mdm/dm_session.h"
#include "adapters/mdm/nodes.h"
#include "adapters/mdm/syncml.h"
#include "tests/fuzz/targets/check.h"

#include <cstdint>
#include <string_view>

using namespace greengate;
using namespace greengate::adapters;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const SyncmlLimits limits;
  const auto message = read_syncml(text, limits);
  if (!message) return 0;
  const auto again = read_syncml(write_syncml(*message), limits);
  // Escaping may make it longer than a message may be; nothing else may go wrong.
  fuzz::must(again || std::string_view(again.error().code) == "mdm.too_large", "what was read can be written and read again");

  DmMessage first = *message;
  first.header.message_id = 1;
  DmSession session(DmSessionRules{}, first.header, {}, "", SteadyTime{});
  const auto taken = session.take(first, SteadyTime{});
  fuzz::must(taken.has_value(), "a first message opens a session");
  session.queue({1, get_node("./DevDetail/SwV")});
  SyncmlLimits wide;
  wide.bytes_max = 16u << 20;
  wide.elements_max = wide.commands_max = 1u << 20;
  const auto reply = read_syncml(session.reply(), wide);
  fuzz::must(reply.has_value(), "the reply is a message itself");
  // The same message as the answer to ours: statuses and results of a stranger's making.
  DmMessage second = first;
  second.header.message_id = 2;
  if (!session.over()) fuzz::must(session.take(second, SteadyTime{}).has_value(), "the next message is taken");
  return 0;
}
