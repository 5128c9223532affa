#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace greengate::adapters {

struct OutgoingMessage;

/// What a message is to the site's workload: each type has a budget and a pace of its own.
enum class MessageType : std::uint8_t {
  discovery,
  hardware_inventory,
  software_inventory,
  files,
  state,     ///< With status, metering and MIF: small, and wanted soon.
  requests,  ///< What is asked and answered: registration, policy, location; documents by GET.
};
constexpr std::size_t message_types = 6;
constexpr std::array<MessageType, message_types> all_message_types = {
    MessageType::discovery, MessageType::hardware_inventory, MessageType::software_inventory,
    MessageType::files,     MessageType::state,              MessageType::requests};

/// "hardware_inventory": as in settings, metrics and logs.
std::string_view name_of(MessageType type);
/// By its endpoint; whatever else wants no answer counts as state.
MessageType message_type_of(const OutgoingMessage& message);

}  // namespace greengate::adapters
