#include "workers/delivery_note.h"

#include <cstdio>

namespace greengate::workers {

std::string write_note(const DeliveryNote& note) {
  return "1 " + note.message_id + " " + std::to_string(to_millis(note.made_at)) + " " +
         std::to_string(note.version_major) + " " + std::to_string(note.version_minor) + " " +
         std::to_string(note.first_serial) + (note.policy_date ? " " + std::to_string(to_millis(*note.policy_date)) : "");
}

Result<DeliveryNote> read_note(const std::string& text) {
  DeliveryNote note;
  char id[40] = {};
  long long made_at = 0;
  unsigned long long serial = 0;
  long long policy_date = 0;
  int end = -1, dated_end = -1;
  const int fields = std::sscanf(text.c_str(), "1 %39s %lld %u %u %llu%n %lld%n", id, &made_at, &note.version_major,
                                 &note.version_minor, &serial, &end, &policy_date, &dated_end);
  if (fields == 6 && dated_end == static_cast<int>(text.size())) {
    note.policy_date = from_millis(policy_date);
  } else if (fields != 5 || end != static_cast<int>(text.size())) {
    return fail(Remedy::reject, "note.unreadable", "the delivery note kept with these reports cannot be read.");
  }
  note.message_id = id;
  note.made_at = from_millis(made_at);
  note.first_serial = serial;
  return note;
}

}  // namespace greengate::workers
