#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::agent {

/// A place in a file that grows, and that is sometimes put aside as FILE.1 for a new one.
struct TailPosition {
  std::uint64_t inode = 0;  ///< 0: there was no file; when one appears, all of it is new.
  std::uint64_t offset = 0;
  /// A sum over the first bytes, so that a new file under an old number is noticed.
  std::uint64_t mark = 0;
  std::uint32_t mark_bytes = 0;

  std::string text() const;
  /// Nothing when `text` is no position.
  static std::optional<TailPosition> from_text(std::string_view text);
};

/// What comes next.
struct TailPiece {
  std::string bytes;   ///< Empty: nothing new, though the position may have moved to a new file.
  bool last = false;   ///< Of a file that was put aside: what is half at its end will never be whole.
  bool gap = false;    ///< The old file is gone: between it and this something may be missing.
  bool more = false;   ///< There is more at once.
  std::uint64_t inode = 0, start = 0;
  std::string head;  ///< The file's first bytes.
};

/// Reads a log or an accounting file from where it stopped, over restarts and over one rotation, by renaming or by copying.
///
/// Promise   Never waits: anything but a regular file is as absent. What the caller did not advance over comes again.
/// Limits    One piece is at most `bytes_max`.
/// Threads   One.
class Tail {
 public:
  explicit Tail(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  /// Where it ends now.
  TailPosition end() const;
  /// Where FILE.1, or else FILE, begins.
  TailPosition beginning() const;
  /// Nothing when there is nothing to read and nowhere to move.
  std::optional<TailPiece> next(const TailPosition& from, std::size_t bytes_max) const;
  /// The position after `used` bytes of `piece`.
  static TailPosition after(const TailPiece& piece, std::size_t used);
  /// It is there but may not be read.
  bool forbidden() const;

 private:
  std::string path_;
};

}  // namespace greengate::agent
