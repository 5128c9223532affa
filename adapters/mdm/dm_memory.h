#pragma once

#include "adapters/mdm/pfn_procedure.h"
#include "core/clock.h"

#include <cstdint>
#include <string>
#include <vector>

namespace greengate::adapters {

/// Work whose end the device itself shows, in a later session.
struct DmWatch {
  std::uint64_t notification = 0;
  std::string node, before;        ///< What it said before the work began.
  WallTime since;
  bool operator==(const DmWatch&) const = default;
};

/// What is kept of one device between two sessions, durably: one text.
struct DmMemory {
  PfnRecord pfn;
  std::vector<std::uint64_t> sent_once;  ///< Ids of restarts and wipes that may have reached the device; the newest 64.
  std::vector<DmWatch> watches;          ///< The newest 64.
  std::string manufacturer, model, version;
  WallTime last_session;
  std::uint32_t last_messages = 0, last_tasks = 0;
  std::string last_end;                  ///< done, aborted, silent, replaced, refused
  bool unenrolled = false;               ///< Its user said so.
  bool operator==(const DmMemory&) const = default;
};

std::string write_memory(const DmMemory& memory);
/// A text that cannot be read is an empty memory: the device tells most of it again. `whole` says whether it could be.
DmMemory read_memory(const std::string& text, bool& whole);

}  // namespace greengate::adapters
