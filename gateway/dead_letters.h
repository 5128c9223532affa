#pragma once

#include "core/ids.h"
#include "core/result.h"
#include "gateway/admin_call.h"
#include "gateway/replayer.h"
#include "store/device_registry.h"
#include "store/report_queue.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace greengate::gateway {

/// What a report would be sent to the site as: XML, UTF-8. Fails with what stands in its way.
using MessageOf = std::function<Result<std::string>(const store::LeasedReport&)>;

/// The dead letters' part of the admin API: list, show, export, replay, discard.
///
/// Limits    10,000 letters a list; 1 MiB of protobuf text and of XML a letter.
/// Threads   As Admin::answer().
/// Errors    queue.no_letter 404, admin.bad_request 400, replay.busy and replay.none 409.
/// Source    docs/reference/dead-letters.md
class DeadLetters {
 public:
  /// `replayer` may be null: then replaying is refused.
  DeadLetters(store::DeviceRegistry& devices, store::ReportQueue& reports, Replayer* replayer, MessageOf message_of)
      : devices_(devices), reports_(reports), replayer_(replayer), message_of_(std::move(message_of)) {}

  /// `path` is the call's, split; `agent` the one its query names. Nothing: not something that can be asked.
  std::optional<AdminReply> answer(const AdminCall& call, const std::vector<std::string>& path, const std::optional<AgentId>& agent);

 private:
  Result<store::DeadLetterFilter> filter_of(const std::string& target, const std::optional<AgentId>& agent) const;
  AdminReply list(const store::DeadLetterFilter& filter, std::uint32_t count_max);
  AdminReply show(ItemId id, bool with_body);
  AdminReply replay(const AdminCall& call, const std::optional<AgentId>& agent);
  AdminReply discard(const std::string& body);

  store::DeviceRegistry& devices_;
  store::ReportQueue& reports_;
  Replayer* const replayer_;
  const MessageOf message_of_;
};

}  // namespace greengate::gateway
