#include "adapters/mp/message_type.h"

#include "adapters/mp/message.h"

namespace greengate::adapters {

std::string_view name_of(MessageType type) {
  switch (type) {
    case MessageType::discovery:
      return "discovery";
    case MessageType::hardware_inventory:
      return "hardware_inventory";
    case MessageType::software_inventory:
      return "software_inventory";
    case MessageType::files:
      return "files";
    case MessageType::state:
      return "state";
    case MessageType::requests:
      return "requests";
  }
  return "";
}

MessageType message_type_of(const OutgoingMessage& message) {
  if (message.expects_reply) return MessageType::requests;
  if (message.endpoint == "MP_DdrEndpoint") return MessageType::discovery;
  if (message.endpoint == "MP_HinvEndpoint") return MessageType::hardware_inventory;
  if (message.endpoint == "MP_SinvEndpoint") return MessageType::software_inventory;
  if (message.endpoint == "MP_SinvCollFileEndpoint") return MessageType::files;
  return MessageType::state;
}

}  // namespace greengate::adapters
