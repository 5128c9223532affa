#include "agent/files/sender.h"

#include "agent/collectors/limits.h"
#include "agent/collectors/text.h"
#include "agent/trees/encoding.h"
#include "core/random.h"
#include "greengate/v1/report.pb.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace greengate::agent {
namespace {

using std::chrono::milliseconds;

constexpr const char* note_name = "file-transfer";
constexpr std::uint64_t note_version = 1;
constexpr std::size_t path_bytes_max = 4'096;
constexpr std::size_t waiting_max = 64;
constexpr std::uint64_t chunk_bytes_max = 16 << 20;
constexpr std::uint64_t chunks_max = 128;
// What a gateway could never complete shall not lie there for ever.
constexpr std::uint32_t chunk_ttl_s = 30 * 24 * 3'600;
// Should the word that the outbox changed ever fail to come.
constexpr milliseconds look_again{60'000};

// An empty file is one empty chunk.
std::uint64_t chunks_of(std::uint64_t size, std::uint64_t chunk_bytes) {
  return std::max<std::uint64_t>(1, size / chunk_bytes + (size % chunk_bytes != 0));
}

std::pair<std::string, std::string> folder_and_name(const std::string& whole) {
  const std::size_t slash = whole.rfind('/') + 1;
  return {whole.substr(0, slash), whole.substr(slash)};
}

}  // namespace

std::string FileSender::Transfer::encode() const {
  Encoder out;
  out.number(note_version).number(id).text(place.folder).text(place.below);
  out.number(standing.size).number(standing.inode);
  out.signed_number(standing.modified_ns).signed_number(standing.changed_ns);
  out.text(sha256).number(chunk_bytes).number(count).number(next).text(hash.put_aside());
  out.number(incarnation).number(first_sequence).number(last_sequence);
  out.number(static_cast<std::uint64_t>(restarts)).number(waiting.size());
  for (const std::uint64_t sequence : waiting) out.number(sequence);
  return to_hex(out.bytes());
}

std::optional<FileSender::Transfer> FileSender::Transfer::decode(const std::string& note) {
  const std::string bytes = from_hex(note);
  Decoder in(bytes);
  Transfer transfer;
  if (in.number() != note_version) return std::nullopt;
  transfer.id = in.number();
  transfer.place.folder = in.text(path_bytes_max);
  transfer.place.below = in.text(path_bytes_max);
  transfer.standing = {in.number(), in.number(), in.signed_number(), in.signed_number()};
  transfer.sha256 = in.text(Sha256::size);
  transfer.chunk_bytes = in.number();
  transfer.count = in.number();
  transfer.next = in.number();
  const bool taken_up = transfer.hash.take_up(in.text(1'024));
  transfer.incarnation = in.number();
  transfer.first_sequence = in.number();
  transfer.last_sequence = in.number();
  transfer.restarts = static_cast<int>(std::min<std::uint64_t>(in.number(), 1'000));
  const std::size_t waiting = in.count(waiting_max);
  for (std::size_t i = 0; i < waiting && in.good(); ++i) transfer.waiting.push_back(in.number());
  const bool sensible =
      in.at_end() && taken_up && transfer.chunk_bytes > 0 &&
      transfer.chunk_bytes <= chunk_bytes_max && transfer.next <= transfer.count &&
      transfer.count == chunks_of(transfer.standing.size, transfer.chunk_bytes);
  if (!sensible) return std::nullopt;
  return transfer;
}

FileSender::FileSender(FileSenderConfig config, Outbox& outbox, const Clock& clock)
    : config_(std::move(config)),
      outbox_(outbox),
      clock_(clock),
      ledger_(FileLedger::load(config_.ledger_file)),
      next_(clock.steady()),
      not_before_(clock.steady()) {
  const std::string note = outbox_.note(note_name);
  if (note.empty()) return;
  current_ = Transfer::decode(note);
  // Sequences of another incarnation mean other reports.
  if (current_ && current_->incarnation != outbox_.incarnation()) current_.reset();
  if (!current_) forget_note();
}

std::string FileSender::progress_text(Outbox& outbox) {
  const auto transfer = Transfer::decode(outbox.note(note_name));
  if (!transfer) return "";
  return escaped_name(transfer->place.whole()) + ", " + std::to_string(transfer->next) + " of " +
         std::to_string(transfer->count) + " chunks put";
}

void FileSender::take(FilePlan plan) {
  std::map<std::string, SentFile> known;
  queue_.clear();
  for (PlannedFile& file : plan.files) {
    const std::string whole = file.place.whole();
    if (auto sent = ledger_.files.extract(whole)) {
      // Only its times changed, perhaps.
      if (!file.changed) sent.mapped().standing = file.standing;
      known.insert(std::move(sent));
    }
    if (file.changed) queue_.push_back(std::move(file));
  }
  // What no longer matches is forgotten, unless the plan could not name everything.
  const bool whole = plan.left == 0 && plan.unsettled == 0 && plan.unreadable == 0;
  if (!whole && known.size() + ledger_.files.size() <= FileLedger::files_max / 2)
    known.merge(ledger_.files);
  ledger_.files = std::move(known);
  save_ledger();
  again_ = plan.unsettled > 0;
  files_ = bytes_ = 0;
  busy_ = true;
  if (current_ && !own_) {
    const auto same =
        std::find_if(queue_.begin(), queue_.end(), [&](const PlannedFile& file) {
          return file.place == current_->place && file.standing == current_->standing &&
                 file.sha256 == current_->sha256;
        });
    if (same == queue_.end()) {
      drop("it is no longer the file it was", false);
    } else {
      std::rotate(queue_.begin(), same, same + 1);
      queue_.pop_front();
    }
  }
  next_ = clock_.steady();
}

void FileSender::send_own(PlannedFile file) {
  next_own_ = std::move(file);
  next_ = std::min(next_, not_before_);
}

SteadyTime FileSender::next_due() const {
  return busy() ? next_ : SteadyTime::max();
}

void FileSender::begin(const PlannedFile& file) {
  Transfer transfer;
  transfer.id = random_u64();
  transfer.place = file.place;
  transfer.standing = file.standing;
  transfer.sha256 = file.sha256;
  // A gateway holds all chunks of a file in its hands at once: not too many.
  transfer.chunk_bytes = std::max<std::uint64_t>(
      config_.chunk_bytes, (file.standing.size + chunks_max - 1) / chunks_max);
  transfer.count = chunks_of(file.standing.size, transfer.chunk_bytes);
  transfer.incarnation = outbox_.incarnation();
  current_ = std::move(transfer);
}

// What still waits of a transfer that can never be whole need not travel.
void FileSender::withdraw() {
  if (current_->incarnation != outbox_.incarnation()) return;  // the numbers are others' by now
  for (const std::uint64_t sequence : current_->waiting) {
    if (outbox_.fate(sequence) != Fate::waiting) continue;
    auto gone = outbox_.settled(sequence, sequence, "dropped", "files.broken",
                                "Its file transfer was given up.", to_millis(clock_.wall()));
    if (!gone) return;  // then it travels, and the gateway finds that it is incomplete
  }
}

void FileSender::restart() {
  const int restarts = current_->restarts + 1;
  log_.warn("file transfer broken", kv("path", escaped_name(current_->place.whole())),
            kv("why", "chunks were lost before the gateway had them"));
  if (restarts > config_.restarts_max) return drop("it was lost too often", true);
  withdraw();
  begin({current_->place, current_->standing, current_->sha256, true});
  current_->restarts = restarts;
  forget_note();
}

void FileSender::drop(const char* why, bool again) {
  log_.warn("file transfer given up", kv("path", escaped_name(current_->place.whole())),
            kv("why", why));
  if (own_) {
    own_over_ = false;
  } else {
    again_ = again_ || again;
  }
  withdraw();
  current_.reset();
  own_ = false;
  forget_note();
}

void FileSender::forget_note() {
  if (auto forgotten = outbox_.keep_note({note_name, ""}); !forgotten) {
    // A note too many is found out later: its file is planned again, or it is not.
    log_.warn("outbox cannot be written", kv("code", forgotten.error().code),
              kv("why", forgotten.error().message));
  }
}

void FileSender::save_ledger() {
  if (auto saved = ledger_.save(config_.ledger_file); !saved) {
    log_.error("sent files not noted", kv("code", saved.error().code),
               kv("why", saved.error().message),
               kv("consequence", "they may be sent once more"));
  }
}

void FileSender::rejected(std::uint64_t first, std::uint64_t last) {
  const std::size_t before = ledger_.files.size();
  std::erase_if(ledger_.files, [&](const auto& entry) {
    const SentFile& sent = entry.second;
    return sent.incarnation == outbox_.incarnation() && sent.last_sequence >= first &&
           sent.first_sequence <= last;
  });
  if (ledger_.files.size() != before) save_ledger();
  outbox_changed();
}

FileSender::Chunks FileSender::look_at_chunks() {
  if (current_->next > 0 && current_->incarnation != outbox_.incarnation()) return Chunks::lost;
  auto& waiting = current_->waiting;
  for (std::size_t i = 0; i < waiting.size();) {
    switch (outbox_.fate(waiting[i])) {
      case Fate::waiting:
        ++i;
        break;
      case Fate::kept:
        waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      case Fate::rejected:
        return Chunks::rejected;
      case Fate::lost:
        return Chunks::lost;
    }
  }
  return waiting.empty() ? Chunks::kept : Chunks::waiting;
}

Result<void> FileSender::complete() {
  if (own_) {
    own_ = false;
    own_over_ = true;
    current_.reset();
    return outbox_.keep_note({note_name, ""});
  }
  SentFile& sent = ledger_.files[current_->place.whole()];
  sent.standing = current_->standing;
  sent.sha256 = current_->sha256;
  sent.incarnation = current_->incarnation;
  sent.first_sequence = current_->first_sequence;
  sent.last_sequence = current_->last_sequence;
  log_.debug("file sent", kv("path", escaped_name(current_->place.whole())),
             kv("bytes", current_->standing.size));
  save_ledger();
  ++files_;
  bytes_ += current_->standing.size;
  current_.reset();
  return outbox_.keep_note({note_name, ""});
}

Result<FileSender::Progress> FileSender::work() {
  auto progress = work_on();
  if (progress) progress->own_over = std::exchange(own_over_, std::nullopt);
  return progress;
}

Result<FileSender::Progress> FileSender::work_on() {
  Progress progress;
  if (!busy() || clock_.steady() < next_) return progress;
  next_ = clock_.steady() + look_again;
  // Each round ends a transfer or leaves; a restarted one goes on at once.
  while (current_ || next_own_ || !queue_.empty()) {
    if (!current_ && next_own_) {
      begin(*std::exchange(next_own_, std::nullopt));
      own_ = true;
    } else if (!current_) {
      begin(queue_.front());
      queue_.pop_front();
    }
    const Chunks chunks = look_at_chunks();
    if (chunks == Chunks::rejected) {
      drop("the gateway rejected a chunk", false);
      continue;
    }
    if (chunks == Chunks::lost) {
      restart();
      continue;
    }
    if (all_put()) {
      if (chunks == Chunks::waiting) return progress;
      if (auto completed = complete(); !completed) return pass(completed);
      continue;
    }
    if (!busy_ && !own_) return progress;  // half-sent, and no plan yet says that it is still the same
    const OutboxCount lane = outbox_.count(v1::LANE_FILES);
    const bool room = lane.reports < config_.window_reports &&
                      (lane.reports == 0 || lane.bytes < config_.window_bytes);
    if (!room) return progress;
    if (clock_.steady() < not_before_) {
      next_ = not_before_;
      return progress;
    }
    auto put = put_chunk();
    if (!put) return pass(put);
    if (!*put) continue;  // given up
    progress.put = **put;
    next_ = not_before_;
    return progress;
  }
  if (!busy_) return progress;
  busy_ = false;
  progress.run_over = true;
  progress.again = again_;
  progress.files = files_;
  progress.bytes = bytes_;
  return progress;
}

// Nothing when the file is no longer the planned one; `why` then says so.
std::optional<std::string> FileSender::read_chunk(Sha256& hash, const char*& why) const {
  const Transfer& transfer = *current_;
  struct stat about {};
  const Descriptor folder = open_folder(transfer.place.folder);
  const Descriptor file =
      folder ? open_regular(folder.get(), transfer.place.below, about) : Descriptor();
  why = file ? "it changed meanwhile" : "it cannot be opened any more";
  if (!file || standing_of(about) != transfer.standing) return std::nullopt;
  const std::uint64_t from = transfer.next * transfer.chunk_bytes;
  std::string data(static_cast<std::size_t>(std::min(
                       transfer.chunk_bytes, transfer.standing.size - from)),
                   '\0');
  for (std::size_t at = 0; at < data.size();) {
    const ssize_t got =
        pread(file.get(), data.data() + at, data.size() - at, static_cast<off_t>(from + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    at += static_cast<std::size_t>(got);
  }
  if (fstat(file.get(), &about) != 0 || standing_of(about) != transfer.standing)
    return std::nullopt;
  hash.add(data);
  // Times may be set back and a disk may lie; the hash decides before the whole is called whole.
  if (transfer.next + 1 == transfer.count && hash.digest() != transfer.sha256) {
    why = "its content is not what was hashed";
    return std::nullopt;
  }
  return data;
}

Result<std::optional<std::uint64_t>> FileSender::put_chunk() {
  Transfer next = *current_;
  const char* why = "";
  auto data = read_chunk(next.hash, why);
  if (!data) {
    drop(why, true);
    return std::optional<std::uint64_t>();
  }
  const std::size_t size = data->size();
  std::string body;
  {
    v1::FileChunk chunk;
    const auto [folder, name] = folder_and_name(next.place.whole());
    chunk.set_transfer(next.id);
    chunk.set_index(static_cast<std::uint32_t>(next.next));
    chunk.set_count(static_cast<std::uint32_t>(next.count));
    chunk.set_name(escaped_name(name, limits::file_name_bytes));
    chunk.set_path(escaped_name(folder));
    chunk.set_size(next.standing.size);
    chunk.set_modified_ms(next.standing.modified_ns / 1'000'000);
    chunk.set_sha256(next.sha256);
    chunk.set_data(std::move(*data));
    body = chunk.SerializeAsString();
  }
  ++next.next;
  auto put = outbox_.put(v1::LANE_FILES, v1::KIND_FILE_CHUNK, body, to_millis(clock_.wall()),
                         chunk_ttl_s, [&](std::uint64_t sequence) {
                           if (next.first_sequence == 0) next.first_sequence = sequence;
                           next.last_sequence = sequence;
                           next.waiting.push_back(sequence);
                           return OutboxNote{note_name, next.encode()};
                         });
  if (!put && put.error().remedy == Remedy::reject) {
    drop("a chunk does not fit in the outbox", false);
    return std::optional<std::uint64_t>();
  }
  if (!put) {
    next_ = clock_.steady();
    return pass(put);
  }
  current_ = std::move(next);
  if (config_.bytes_per_second > 0) {
    not_before_ = clock_.steady() + milliseconds(size * 1'000 / config_.bytes_per_second);
  }
  return std::optional(*put);
}

}  // namespace greengate::agent
