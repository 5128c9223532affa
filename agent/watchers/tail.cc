#include "agent/watchers/tail.h"

#include "agent/collectors/text.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace greengate::agent {
namespace {

constexpr std::size_t head_bytes = 256;

// FNV-1a: told apart by accident is what matters here, nobody gains by deceiving it.
std::uint64_t sum_of(std::string_view bytes) {
  std::uint64_t sum = 14'695'981'039'346'656'037ull;
  for (const char c : bytes) sum = (sum ^ static_cast<unsigned char>(c)) * 1'099'511'628'211ull;
  return sum;
}

class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)) {
    struct stat facts {};
    if (fd_ < 0) return;
    if (fstat(fd_, &facts) != 0 || !S_ISREG(facts.st_mode)) {
      close(fd_);
      fd_ = -1;
      return;
    }
    inode = facts.st_ino;
    size = static_cast<std::uint64_t>(facts.st_size);
    head = read_at(0, head_bytes);
  }
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  explicit operator bool() const { return fd_ >= 0; }
  std::string read_at(std::uint64_t offset, std::size_t bytes_max) const {
    std::string bytes(bytes_max, '\0');
    std::size_t have = 0;
    while (have < bytes_max) {
      const ssize_t got = pread(fd_, bytes.data() + have, bytes_max - have, static_cast<off_t>(offset + have));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      have += static_cast<std::size_t>(got);
    }
    bytes.resize(have);
    return bytes;
  }
  // The file that `position` is in, perhaps under another number.
  bool holds(const TailPosition& position, bool same_number) const {
    if (size < position.offset || head.size() < position.mark_bytes) return false;
    if (same_number && inode != position.inode) return false;
    if (position.mark_bytes == 0) return inode == position.inode;
    return sum_of(std::string_view(head).substr(0, position.mark_bytes)) == position.mark;
  }

  std::uint64_t inode = 0, size = 0;
  std::string head;

 private:
  int fd_ = -1;
};

TailPiece piece_of(const OpenFile& file, std::uint64_t start, std::size_t bytes_max) {
  TailPiece piece;
  piece.inode = file.inode;
  piece.start = start;
  piece.head = file.head;
  piece.bytes = file.read_at(start, static_cast<std::size_t>(std::min<std::uint64_t>(bytes_max, file.size - start)));
  piece.more = start + piece.bytes.size() < file.size;
  return piece;
}

}  // namespace

std::string TailPosition::text() const {
  return std::to_string(inode) + " " + std::to_string(offset) + " " + std::to_string(mark_bytes) + " " + std::to_string(mark);
}

std::optional<TailPosition> TailPosition::from_text(std::string_view text) {
  TailPosition position;
  std::uint64_t numbers[4] = {};
  for (std::uint64_t& number : numbers) {
    const auto read = to_number(next_word(text));
    if (!read) return std::nullopt;
    number = *read;
  }
  if (numbers[2] > head_bytes) return std::nullopt;
  return TailPosition{numbers[0], numbers[1], numbers[3], static_cast<std::uint32_t>(numbers[2])};
}

TailPosition Tail::end() const {
  const OpenFile file(path_);
  if (!file) return {};
  TailPiece piece;
  piece.inode = file.inode;
  piece.start = file.size;
  piece.head = file.head;
  return after(piece, 0);
}

TailPosition Tail::beginning() const {
  for (const std::string& path : {path_ + ".1", path_}) {
    if (const OpenFile file(path); file) return {file.inode, 0, 0, 0};
  }
  return {};
}

std::optional<TailPiece> Tail::next(const TailPosition& from, std::size_t bytes_max) const {
  const OpenFile now(path_);
  if (from.inode == 0) {
    if (!now || now.size == 0) return std::nullopt;
    return piece_of(now, 0, bytes_max);
  }
  if (now && now.holds(from, true)) {
    if (now.size == from.offset) return std::nullopt;
    return piece_of(now, from.offset, bytes_max);
  }
  const OpenFile aside(path_ + ".1");
  const bool found = aside && aside.holds(from, false);
  if (found && aside.size > from.offset) {
    TailPiece piece = piece_of(aside, from.offset, bytes_max);
    piece.last = !piece.more;
    piece.more = true;  // the new file is next
    return piece;
  }
  if (!now) return std::nullopt;  // in the middle of being put aside
  TailPiece piece = piece_of(now, 0, bytes_max);
  piece.gap = !found;
  return piece;
}

TailPosition Tail::after(const TailPiece& piece, std::size_t used) {
  TailPosition position;
  position.inode = piece.inode;
  position.offset = piece.start + used;
  position.mark_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(position.offset, piece.head.size()));
  position.mark = sum_of(std::string_view(piece.head).substr(0, position.mark_bytes));
  return position;
}

bool Tail::forbidden() const {
  struct stat facts {};
  return stat(path_.c_str(), &facts) == 0 && access(path_.c_str(), R_OK) != 0;
}

}  // namespace greengate::agent
