#pragma once

#include "core/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// What a device may send us is judged against these before anything is built from it.
struct SyncmlLimits {
  std::size_t bytes_max = 256 * 1024;
  std::size_t depth_max = 16;
  std::size_t elements_max = 8'192;
  std::size_t attributes_max = 8;     ///< Of one element.
  std::size_t commands_max = 512;     ///< Of a message, members of Atomic and Sequence counted.
  std::size_t items_max = 2'048;      ///< Of a message.
  std::size_t name_bytes_max = 2'048; ///< A LocURI, a type, a user's name.
};

enum class DmVerb : std::uint8_t { unknown, add, alert, atomic, exec, get, remove, replace, results, sequence, status };
/// As the element is named: "Delete" for remove.
std::string_view verb_name(DmVerb verb);

/// The children of Meta that management uses.
struct DmMeta {
  std::string format, type, mark, next_nonce;
  bool empty() const { return format.empty() && type.empty() && mark.empty() && next_nonce.empty(); }
  bool operator==(const DmMeta&) const = default;
};

struct DmItem {
  std::string target, source;       ///< LocURIs.
  DmMeta meta;
  std::optional<std::string> data;
  bool operator==(const DmItem&) const = default;
};

struct DmCred {
  DmMeta meta;
  std::string data;
  bool operator==(const DmCred&) const = default;
};

/// Any element of a SyncBody but Final. Which members mean something depends on the verb.
struct DmCommand {
  DmVerb verb = DmVerb::unknown;
  std::string name;                        ///< The element's name; only of an unknown one.
  std::uint32_t id = 0;                    ///< CmdID.
  std::uint32_t message_ref = 0, command_ref = 0;
  std::string command;                     ///< Status: what was asked, as "Get".
  std::vector<std::string> target_refs, source_refs;
  std::optional<DmMeta> challenge;         ///< Status: Chal.
  std::string data;                        ///< Status and Alert: the code.
  DmMeta meta;
  std::vector<DmItem> items;
  std::vector<DmCommand> members;          ///< Atomic, Sequence.
  bool operator==(const DmCommand&) const = default;
};

struct DmHeader {
  std::string session_id;                  ///< Decimal or hex digits, as the device writes it.
  std::uint32_t message_id = 0;
  std::string target, source, source_name;
  std::optional<DmCred> credential;
  std::uint32_t message_bytes_max = 0;     ///< The device's MaxMsgSize; 0: it told none.
  bool operator==(const DmHeader&) const = default;
};

/// One SyncML 1.2 document of the DM 1.2 protocol.
struct DmMessage {
  DmHeader header;
  std::vector<DmCommand> commands;
  bool final = false;
  bool operator==(const DmMessage&) const = default;
};

/// Reads a document from outside: UTF-8, namespaces by their names and not their prefixes, no document type, no entity but XML's own five.
/// Unknown elements are passed over, except that an unknown command with a CmdID is kept to be answered.
/// Errors    mdm.too_large, mdm.syncml (reject): the sentence says what, never repeats what stood there.
Result<DmMessage> read_syncml(std::string_view utf8, const SyncmlLimits& limits);

/// On one line, without a declaration, in the order the DTD has.
std::string write_syncml(const DmMessage& message);

}  // namespace greengate::adapters
