#pragma once

#include "store/device_registry.h"
#include "store/report_queue.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::gateway {

/// The words operators read for states, lanes and kinds; the admin API's values.
const char* name_of(store::DeviceState state);
const char* name_of(store::IdentityState state);
const char* name_of(store::Lane lane);
/// "waiting", "leased", or how it ended.
const char* name_of(const store::ReportTrace& trace);

/// "hardware inventory"; "kind 99" for one that is not known.
std::string kind_name(std::uint32_t kind);
/// The kind of that name, with '-' or '_' for a blank; nothing for another word.
std::optional<std::uint32_t> kind_of(std::string_view name);

/// A report's body as protobuf text, at most `bytes_max` of it; a sentence when it is not what its kind says.
std::string body_text(std::uint32_t kind, const std::string& body, std::size_t bytes_max);

}  // namespace greengate::gateway
