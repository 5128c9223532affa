#include "agent/watchers/meter.h"

#include "agent/collectors/text.h"
#include "core/log.h"
#include "greengate/v1/report.pb.h"

#include <pwd.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <set>

namespace greengate::agent {
namespace {

constexpr std::size_t users_max = 512, live_max = 16'384, known_max = 65'536, accounting_piece_bytes = 1 << 20;
constexpr std::size_t short_name_characters = 15;  // TASK_COMM_LEN without its end
constexpr int accounting_pieces_at_once = 4;
constexpr const char* note_name = "metering";
constexpr std::int64_t just_started = 1;  // on the machine's clock: everything that runs has begun since

const Log& watch_log() {
  static const Log log("watch");
  return log;
}

std::string short_name_of(const std::string& path) {
  return std::string(last_component(path).substr(0, short_name_characters));
}

std::string resolved(const std::string& path) {
  char* real = realpath(path.c_str(), nullptr);
  std::string found = real ? real : path;
  std::free(real);
  return found;
}

}  // namespace

std::string system_user_name(std::uint32_t id) {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 16'384> room;
  if (getpwuid_r(id, &entry, room.data(), room.size(), &found) == 0 && found) return clean_text(found->pw_name, 255);
  return std::to_string(id);
}

Meter::Meter(MeterConfig config, Notebook& notebook, const Clock& clock)
    : config_(std::move(config)),
      notebook_(notebook),
      clock_(clock),
      table_(config_.process_root),
      accounting_(config_.accounting_file),
      due_(clock.steady()),
      save_due_(clock.steady() + config_.save_interval) {
  if (!config_.user_name) config_.user_name = system_user_name;
  if (config_.programs.empty()) due_ = SteadyTime::max();
  for (const std::string& path : config_.programs) programs_.push_back({path, path, short_name_of(path), short_name_of(path), false});
}

void Meter::resolve_programs() {
  for (Program& program : programs_) {
    program.real_path = resolved(program.path);  // an upgrade may lead it elsewhere
    program.real_short_name = short_name_of(program.real_path);
    std::array<char, 2> first{};
    std::ifstream(program.real_path, std::ios::binary).read(first.data(), first.size());
    program.is_script = first[0] == '#' && first[1] == '!';
  }
}

void Meter::begin() {
  begun_ = true;
  from_ms_ = wall_ms();
  counted_at_ = clock_.steady();
  if (!config_.accounting_file.empty()) accounting_position_ = accounting_.end();
  restore(notebook_.note(note_name));
}

void Meter::tick() {
  if (clock_.steady() < due_) return;
  if (!begun_) begin();
  resolve_programs();
  // Ends first: what both see is the accounting's.
  if (!config_.accounting_file.empty()) read_accounting();
  sample();
  due_ = clock_.steady() + config_.sample_interval;
  if (report_is_due() && report()) return;
  if (clock_.steady() >= save_due_) save();
}

void Meter::close() {
  if (!begun_ || programs_.empty()) return;
  if (!config_.accounting_file.empty()) read_accounting();
  sample();
  save();
}

// ---- who runs ----

int Meter::program_named(const std::string& command) const {
  for (std::size_t i = 0; i < programs_.size(); ++i) {
    if (command == programs_[i].short_name || command == programs_[i].real_short_name) return static_cast<int>(i);
  }
  return -1;
}

int Meter::program_of(const RunningProcess& process) const {
  const auto at_path = [&](const std::string& path) {
    for (std::size_t i = 0; i < programs_.size(); ++i) {
      if (path == programs_[i].path || path == programs_[i].real_path) return static_cast<int>(i);
    }
    return -1;
  };
  const std::string program = table_.program(process.process_id);
  const std::vector<std::string> words = table_.command_line(process.process_id);
  // A configured script first: its process is the interpreter's, and the script is the word behind it.
  if (words.size() > 1 && words[1].starts_with('/')) {
    const int script = at_path(words[1]);
    if (script >= 0 && programs_[static_cast<std::size_t>(script)].is_script) return script;
  }
  if (!program.empty()) return at_path(program);
  // Another user's process, and we are not root: what it calls itself has to do.
  if (!words.empty() && words[0].starts_with('/')) {
    const int called = at_path(words[0]);
    if (called >= 0) return called;
  }
  return program_named(process.command);
}

std::string Meter::name_of_user(std::uint32_t id) {
  const auto known = user_names_.find(id);
  if (known != user_names_.end()) return known->second;
  if (user_names_.size() >= known_max) user_names_.clear();
  return user_names_[id] = config_.user_name(id);
}

// ---- counting ----

Meter::Use& Meter::use_of(int program, const std::string& user) {
  const auto found = uses_.find({program, user});
  if (found != uses_.end()) return found->second;
  const auto users = static_cast<std::size_t>(std::distance(uses_.lower_bound({program, ""}), uses_.lower_bound({program + 1, ""})));
  return uses_[{program, users < users_max ? user : std::string()}];
}

void Meter::count(int program, const std::string& user, bool begun, std::uint64_t ran_ms, std::int64_t start_ms, std::int64_t end_ms) {
  Use& use = use_of(program, user);
  if (begun) ++use.runs;
  use.ran_ms += ran_ms;
  if (use.first_start_ms == 0 || start_ms < use.first_start_ms) use.first_start_ms = start_ms;
  use.last_end_ms = std::max(use.last_end_ms, end_ms);
}

void Meter::sample() {
  const auto boot = table_.since_boot_ms();
  if (!boot) return;
  const std::int64_t now_wall = wall_ms();
  const auto awake_ms = std::chrono::duration_cast<std::chrono::milliseconds>(clock_.steady() - counted_at_).count();
  const std::int64_t before = sampled_boot_ms_;
  elapsed_ms_ += before > just_started ? std::max<std::int64_t>(*boot - before, 0) : awake_ms;
  counted_at_ = clock_.steady();
  const std::int64_t ticks = table_.ticks_per_second();
  for (auto& [id, live] : live_) live.seen = false;
  std::size_t metered = 0;
  for (const auto& [id, live] : live_) metered += live.program >= 0 ? 1 : 0;

  for (const RunningProcess& process : table_.processes()) {
    auto known = live_.find(process.process_id);
    if (known != live_.end() && known->second.start_ticks != process.start_ticks) {
      live_.erase(known);  // the number has been given to another
      known = live_.end();
    }
    const std::int64_t started_boot = static_cast<std::int64_t>(process.start_ticks) * 1'000 / ticks;
    if (known == live_.end()) {
      if (live_.size() >= known_max) continue;
      Live live;
      live.start_ticks = process.start_ticks;
      live.program = program_of(process);
      if (live.program >= 0 && ++metered > live_max) live.program = -1;
      if (live.program >= 0) {
        const auto user = table_.user(process.process_id);
        if (!user) continue;  // gone meanwhile
        live.user = name_of_user(*user);
        // Seen by us before a restart: its run is counted, and its time up to then.
        const bool counted = first_sample_ && before > 0 && started_boot <= before;
        // At the very first look what runs already did not begin in this stretch.
        const bool first_look = before == 0;
        live.counted_to_boot_ms = counted ? before : first_look ? *boot : started_boot;
        if (!counted && !first_look) count(live.program, live.user, true, 0, now_wall - std::max<std::int64_t>(*boot - started_boot, 0), 0);
      }
      known = live_.emplace(process.process_id, std::move(live)).first;
    }
    Live& live = known->second;
    live.seen = true;
    if (live.program < 0) continue;
    const std::int64_t ran = std::max<std::int64_t>(*boot - live.counted_to_boot_ms, 0);
    const bool fresh = live.counted_to_boot_ms > before || before == 0;
    // The machine's own clock runs on while it sleeps; programs do not. Over a restart of ours there is only that clock to go by.
    const std::int64_t awake = fresh || first_sample_ ? ran : std::min(ran, awake_ms + 1'000);
    count(live.program, live.user, false, static_cast<std::uint64_t>(awake), now_wall - std::max<std::int64_t>(*boot - started_boot, 0), now_wall);
    live.counted_to_boot_ms = *boot;
  }
  std::erase_if(live_, [](const auto& entry) { return !entry.second.seen; });
  sampled_boot_ms_ = *boot;
  sampled_wall_ms_ = now_wall;
  first_sample_ = false;
}

void Meter::read_accounting() {
  for (int pieces = 0; pieces < accounting_pieces_at_once; ++pieces) {
    const auto piece = accounting_.next(accounting_position_, accounting_piece_bytes);
    if (!piece) {
      if (!complained_ && accounting_.forbidden()) {
        watch_log().warn("accounting file may not be read", kv("file", accounting_.path()), kv("consequence", "only samples count"));
        complained_ = true;
      }
      return;
    }
    if (piece->gap) watch_log().warn("accounting file was put aside unread", kv("file", accounting_.path()), kv("consequence", "runs in between may be missing"));
    std::size_t used = 0;
    for (; used + accounting_record_bytes <= piece->bytes.size(); used += accounting_record_bytes) {
      const auto record = accounting_record(std::string_view(piece->bytes).substr(used, accounting_record_bytes));
      if (!record) continue;
      const auto live = live_.find(record->process_id);
      if (live != live_.end() && live->second.program < 0) {
        live_.erase(live);  // another program of the same short name
        continue;
      }
      if (live != live_.end()) {
        // We watched it run: what is missing is its last piece.
        const std::int64_t started_boot = static_cast<std::int64_t>(live->second.start_ticks) * 1'000 / table_.ticks_per_second();
        const std::int64_t ended_boot = started_boot + static_cast<std::int64_t>(record->ran_ms);
        const std::int64_t missing = std::clamp<std::int64_t>(ended_boot - live->second.counted_to_boot_ms, 0,
                                                              static_cast<std::int64_t>(record->ran_ms));
        count(live->second.program, live->second.user, false, static_cast<std::uint64_t>(missing), record->began_ms,
              record->began_ms + static_cast<std::int64_t>(record->ran_ms));
        live_.erase(live);
        continue;
      }
      const int program = program_named(record->command);
      if (program < 0) continue;
      // What was running when we first looked, or before the stretch, did not begin in it.
      const std::int64_t ran = static_cast<std::int64_t>(record->ran_ms), ended = record->began_ms + ran;
      // And what a sample saw before a restart of ours is counted up to that sample.
      const bool sampled = first_sample_ && record->began_ms + 1'000 <= sampled_wall_ms_ && ended >= sampled_wall_ms_;
      const bool begun = !sampled && record->began_ms + 1'000 >= from_ms_;
      const std::int64_t since = sampled ? sampled_wall_ms_ : from_ms_;
      const auto in_stretch = static_cast<std::uint64_t>(begun ? ran : std::clamp<std::int64_t>(ended - since, 0, ran));
      count(program, name_of_user(record->user_id), begun, in_stretch, record->began_ms, ended);
    }
    if (piece->last) used = piece->bytes.size();
    accounting_position_ = Tail::after(*piece, used);
    if (!piece->more) return;
  }
}

// ---- reporting ----

bool Meter::report_is_due() const {
  return elapsed_ms_ >= config_.report_interval.count();
}

bool Meter::report() {
  const std::int64_t until = wall_ms();
  // The wall clock may have been set since: the length of the stretch is known, and `until` is now.
  const std::int64_t off = until - from_ms_ - elapsed_ms_;
  const std::int64_t from = off < -60'000 || off > 3'600'000 ? until - elapsed_ms_ : from_ms_;
  v1::MeteringData data;
  data.set_from_ms(from);
  data.set_until_ms(until);
  std::set<std::pair<int, std::string>> running;
  for (const auto& [id, live] : live_) {
    if (live.program >= 0) running.emplace(live.program, live.user);
  }
  for (std::size_t i = 0; i < programs_.size(); ++i) {
    v1::MeteredProgram* program = nullptr;
    for (auto use = uses_.lower_bound({static_cast<int>(i), ""}); use != uses_.end() && use->first.first == static_cast<int>(i); ++use) {
      if (!program) {
        program = data.add_programs();
        program->set_file_name(clean_text(last_component(programs_[i].path), 255));
        program->set_product_name(program->file_name());
        struct stat facts {};
        if (stat(programs_[i].path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode)) program->set_file_size(static_cast<std::uint64_t>(facts.st_size));
      }
      v1::MeteredUse& told = *program->add_uses();
      told.set_user(use->first.second);
      told.set_runs(use->second.runs);
      told.set_seconds((use->second.ran_ms + 500) / 1'000);
      told.set_first_start_ms(std::clamp(use->second.first_start_ms, from, until));
      told.set_last_end_ms(running.contains(use->first) ? 0 : std::clamp(use->second.last_end_ms, told.first_start_ms(), until));
    }
  }
  const auto uses = std::exchange(uses_, {});
  const auto stretch = std::pair(from_ms_, elapsed_ms_);
  from_ms_ = until;
  elapsed_ms_ = 0;
  std::vector<Finding> findings;
  if (data.programs_size() > 0) findings.push_back({v1::LANE_STATE, v1::KIND_METERING, data.SerializeAsString()});
  if (!notebook_.keep(findings, {{note_name, note_text()}})) {
    uses_ = uses;
    std::tie(from_ms_, elapsed_ms_) = stretch;
    return false;
  }
  save_due_ = clock_.steady() + config_.save_interval;
  if (!findings.empty()) watch_log().info("metering kept", kv("rows", data.programs_size()));
  return true;
}

// A first line for the stretch, then a line a use: "runs ran_ms first last path<tab>user".
std::string Meter::note_text() const {
  std::string text = std::to_string(from_ms_) + " " + std::to_string(elapsed_ms_) + " " + std::to_string(sampled_wall_ms_) + " " +
                     std::to_string(sampled_boot_ms_) + " " + table_.boot_id() + "\n" + accounting_position_.text() + "\n";
  for (const auto& [who, use] : uses_) {
    text += std::to_string(use.runs) + " " + std::to_string(use.ran_ms) + " " + std::to_string(use.first_start_ms) + " " +
            std::to_string(use.last_end_ms) + " " + programs_[static_cast<std::size_t>(who.first)].path + "\t" + who.second + "\n";
  }
  return text;
}

void Meter::restore(std::string_view note) {
  const auto line = [&] {
    std::string_view rest;
    const std::string_view one = cut_at(note, '\n', &rest);
    note = rest;
    return one;
  };
  std::string_view first = line();
  const auto from = to_signed(next_word(first)), elapsed = to_signed(next_word(first)), saved = to_signed(next_word(first)),
             sampled = to_signed(next_word(first));
  if (!from || !elapsed || !saved || !sampled) return;
  const std::string boot_id(next_word(first));
  from_ms_ = *from;
  elapsed_ms_ = std::max<std::int64_t>(*elapsed, 0);
  sampled_wall_ms_ = *saved;
  const auto boot = table_.since_boot_ms();
  const bool same_life = !boot_id.empty() && boot_id == table_.boot_id() && boot && *boot >= *sampled;
  if (same_life) {
    sampled_boot_ms_ = *sampled;
  } else {
    // The machine has started anew: everything that runs has begun since. How long it was off only the wall clock knows, and it
    // may lie: one whole stretch at most.
    sampled_boot_ms_ = just_started;
    elapsed_ms_ += std::clamp<std::int64_t>(wall_ms() - *saved, 0, config_.report_interval.count());
  }
  if (const auto position = TailPosition::from_text(line()); position && !config_.accounting_file.empty() && position->inode != 0)
    accounting_position_ = *position;
  while (!note.empty()) {
    std::string_view words = line();
    const auto runs = to_number(next_word(words)), ran = to_number(next_word(words));
    const auto start = to_signed(next_word(words)), end = to_signed(next_word(words));
    std::string_view user;
    const std::string path(trimmed(cut_at(words, '\t', &user)));
    const auto program = std::find_if(programs_.begin(), programs_.end(), [&](const Program& one) { return one.path == path; });
    if (!runs || !ran || !start || !end || *runs > 0xffffffffu || program == programs_.end()) continue;  // metered no more
    uses_[{static_cast<int>(program - programs_.begin()), std::string(user)}] = {static_cast<std::uint32_t>(*runs), *ran, *start, *end};
  }
}

void Meter::save() {
  save_due_ = clock_.steady() + config_.save_interval;
  notebook_.keep({}, {{note_name, note_text()}});
}

}  // namespace greengate::agent
