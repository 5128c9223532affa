#include "gateway/diagnosis.h"

namespace greengate::gateway {
namespace {

struct Row {
  std::string_view code;  ///< Whole, or with a dot at its end: every code of that family.
  Diagnosis diagnosis;
};

// The first that matches counts: whole codes before families.
constexpr Row rows[] = {
    {"agent.revoked", {"The agent was revoked while this report waited.", "Nothing, if that was meant. Enrol the machine anew otherwise; its reports come again."}},
    {"report.malformed", {"The agent sent a body that is not what its kind says.", "Update the agent. Replaying does not help: the bytes stay the same."}},
    {"report.empty", {"The report says nothing.", "Update the agent; discard the letter."}},
    {"report.kind_unknown", {"The agent is newer than this gateway and sends a kind it does not know.", "Update the gateway, then replay."}},
    {"report.damaged", {"The record on disk no longer matches its checksum.", "Check the disk. The agent sends full state again by itself."}},
    {"note.unreadable", {"The numbering kept with the report cannot be read.", "Replay: it is numbered anew."}},
    {"files.broken", {"Pieces of a collected file are missing or do not fit together.", "Discard: the agent begins that file again."}},
    {"files.hash", {"A collected file arrived, but its content is not what the agent announced.", "Discard: the agent begins that file again. Often the file changed while it was read."}},
    {"files.", {"A collected file could not be put together.", "Discard: the agent begins that file again."}},
    {"mp.message_too_large", {"The message is larger than site.message_bytes_max.", "Raise it if the site takes more, then replay; or report less."}},
    {"mp.inventory_empty", {"A full inventory without any instance would delete what the site has.", "See on the machine why nothing was found: greengate-agent inventory."}},
    {"mp.inventory_", {"A class or property of the inventory cannot be written as the site wants it.", "Mend the custom inventory script that prints it, or update the agent."}},
    {"mp.state_", {"The state messages are empty or too many for one message.", "Update the agent."}},
    {"mp.bad_request", {"The management point answered 4xx: it does not accept this message's form.", "Compare `dead-letters diff` with docs/reference/compatibility.md; change the setting, then replay."}},
    {"mp.status", {"The management point answered with a status nobody expects.", "Look at its own logs, then replay."}},
    {"mp.key", {"The agent's key at the site cannot be used.", "greengatectl explain AGENT shows its identity; rotate its key, then replay."}},
    {"mp.", {"The message could not be made for the site, or the site did not take it.", "The message beside this says which; docs/reference/compatibility.md has the settings."}},
    {"seal.", {"The agent's sealed identity does not open with this machine's seal key.", "Restore gateway.seal_key_file from its backup, then replay."}},
    {"identity.", {"The agent has no usable identity at the site.", "greengatectl explain AGENT says where its registration stands."}},
    {"inventory.", {"The inventory could not be compared with what the site has.", "Replay: the next message carries the whole state."}},
};

}  // namespace

Diagnosis diagnose(std::string_view code) {
  for (const Row& row : rows) {
    const bool family = row.code.ends_with('.') || row.code.ends_with('_');
    if (family ? code.starts_with(row.code) : code == row.code) return row.diagnosis;
  }
  return {"This code has no longer explanation.", "The message beside it says what went wrong."};
}

}  // namespace greengate::gateway
