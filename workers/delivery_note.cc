#include "workers/delivery_note.h"

#include <cstdio>

namespace greengate::workers {

std::string write_note(const DeliveryNote& note) {
  return "1 " + note.message_id + " " + std::to_string(to_millis(note.made_at)) + " " +
         std::to_string(note.version_major) + " " + std::to_string(note.version_minor) + " " +
         std::to_string(note.first_serial) + " " + std::to_string(note.baseline_major) + " " + std::to_string(note.baseline_minor) +
         (note.policy_date ? " " + std::to_string(to_millis(*note.policy_date)) : "");
}

Result<DeliveryNote> read_note(const std::string& text) {
  DeliveryNote note;
  char id[40] = {};
  long long made_at = 0, policy_date = 0;
  unsigned long long serial = 0, baseline_major = 0, baseline_minor = 0;
  // Where the fifth, seventh and eighth field end: notes without a baseline were written before there were any.
  int short_end = -1, end = -1, dated_end = -1;
  const int fields = std::sscanf(text.c_str(), "1 %39s %lld %u %u %llu%n %llu %llu%n %lld%n", id, &made_at, &note.version_major,
                                 &note.version_minor, &serial, &short_end, &baseline_major, &baseline_minor, &end, &policy_date, &dated_end);
  const int whole = fields == 8 ? dated_end : fields == 7 ? end : fields == 5 ? short_end : -1;
  if (fields == 8) note.policy_date = from_millis(policy_date);
  if (whole != static_cast<int>(text.size())) {
    return fail(Remedy::reject, "note.unreadable", "the delivery note kept with these reports cannot be read.");
  }
  note.message_id = id;
  note.made_at = from_millis(made_at);
  note.first_serial = serial;
  note.baseline_major = baseline_major;
  note.baseline_minor = baseline_minor;
  return note;
}

}  // namespace greengate::workers
