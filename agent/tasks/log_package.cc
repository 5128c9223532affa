#include "agent/tasks/log_package.h"

#include "agent/collectors/helper_process.h"
#include "agent/collectors/text.h"
#include "agent/trees/beneath.h"
#include "agent/trees/glob.h"
#include "agent/trees/sha256.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace greengate::agent {
namespace {

constexpr std::size_t files_max = 64;
constexpr std::size_t block = 512;  // of a tar archive
constexpr std::size_t name_bytes_max = 99;
constexpr std::chrono::milliseconds command_patience{60'000};
constexpr std::size_t least_bytes = 16 << 10;

// The end of the file, from the start of a line.
std::string tail_of(int file, std::uint64_t size, std::size_t bytes_max) {
  const std::uint64_t from = size > bytes_max ? size - bytes_max : 0;
  std::string text(static_cast<std::size_t>(size - from), '\0');
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t got = pread(file, text.data() + at, text.size() - at, static_cast<off_t>(from + at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    at += static_cast<std::size_t>(got);
  }
  text.resize(at);
  if (from > 0) text.erase(0, std::min(text.find('\n'), text.size() - 1) + 1);
  return text;
}

std::vector<std::string> matching(const std::string& pattern) {
  const std::size_t slash = pattern.rfind('/');
  const std::string folder = slash == 0 ? "/" : pattern.substr(0, slash);
  const std::string last = pattern.substr(slash + 1);
  if (!has_wildcard(last)) return {last};
  std::vector<std::string> names;
  Descriptor opened = open_folder(folder);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opened ? fdopendir(opened.get()) : nullptr, closedir);
  if (!stream) return names;
  (void)opened.release();  // the stream's now
  while (const dirent* entry = readdir(stream.get())) {
    if (glob_matches(last, entry->d_name)) names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void put_octal(char* field, std::size_t size, std::uint64_t value) {
  field[size - 1] = '\0';
  for (std::size_t i = size - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

// A POSIX ustar header.
std::string header_of(const LogPart& part) {
  std::string head(block, '\0');
  std::memcpy(head.data(), part.name.data(), std::min(part.name.size(), name_bytes_max));
  put_octal(&head[100], 8, 0600);
  put_octal(&head[108], 8, 0);
  put_octal(&head[116], 8, 0);
  put_octal(&head[124], 12, part.content.size());
  put_octal(&head[136], 12, static_cast<std::uint64_t>(std::max<std::int64_t>(part.modified_s, 0)));
  std::memset(&head[148], ' ', 8);
  head[156] = '0';
  std::memcpy(&head[257], "ustar\00000", 8);
  unsigned sum = 0;
  for (const char c : head) sum += static_cast<unsigned char>(c);
  put_octal(&head[148], 7, sum);
  return head;
}

class Gzip {
 public:
  Gzip() { good_ = deflateInit2(&stream_, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK; }
  ~Gzip() { deflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  void add(std::string_view bytes, bool last = false) {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream_.avail_in = static_cast<uInt>(bytes.size());
    std::array<char, 32 << 10> out;
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(out.data());
      stream_.avail_out = out.size();
      good_ = good_ && deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH) != Z_STREAM_ERROR;
      packed_.append(out.data(), out.size() - stream_.avail_out);
    } while (good_ && stream_.avail_out == 0);
  }
  std::string take() { return std::move(packed_); }

 private:
  z_stream stream_{};
  bool good_ = false;
  std::string packed_;
};

Result<void> write_whole(const std::string& file, const std::string& bytes) {
  unlink(file.c_str());
  const Descriptor out(open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  std::size_t at = 0;
  while (out && at < bytes.size()) {
    const ssize_t put = write(out.get(), bytes.data() + at, bytes.size() - at);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) break;
    at += static_cast<std::size_t>(put);
  }
  if (out && at == bytes.size()) return {};
  return fail(Remedy::retry, "logs.disk", file + " cannot be written: " + std::strerror(errno) + ".");
}

}  // namespace

std::vector<LogPart> gather_logs(const LogSettings& settings, bool may_run_commands, std::size_t bytes_max) {
  std::vector<LogPart> parts;
  for (const std::string& pattern : settings.files) {
    const std::size_t slash = pattern.rfind('/');
    const Descriptor folder = open_folder(slash == 0 ? "/" : pattern.substr(0, slash));
    if (!folder) continue;
    for (const std::string& name : matching(pattern)) {
      if (parts.size() >= files_max) return parts;
      struct stat about {};
      const Descriptor file = open_regular(folder.get(), name, about);
      if (!file) continue;
      parts.push_back({escaped_name(name, name_bytes_max), tail_of(file.get(), static_cast<std::uint64_t>(about.st_size), bytes_max), about.st_mtime});
    }
  }
  if (may_run_commands && !settings.command.empty()) {
    std::string printed;
    const std::vector<std::string> arguments(settings.command.begin() + 1, settings.command.end());
    (void)run_program({settings.command.front()}, arguments, command_patience, [&](std::string_view piece) {
      printed += piece;
      if (printed.size() > 2 * bytes_max) printed.erase(0, printed.size() - bytes_max);
      return true;
    });  // half of it is better than nothing
    if (printed.size() > bytes_max) printed.erase(0, printed.size() - bytes_max);
    if (!printed.empty()) parts.push_back({"command-output.txt", std::move(printed), time(nullptr)});
  }
  return parts;
}

std::string pack_logs(const std::vector<LogPart>& parts) {
  Gzip packed;
  for (const LogPart& part : parts) {
    packed.add(header_of(part));
    packed.add(part.content);
    packed.add(std::string((block - part.content.size() % block) % block, '\0'));
  }
  packed.add(std::string(2 * block, '\0'), true);
  return packed.take();
}

Result<std::string> write_log_package(const LogSettings& settings, bool may_run_commands, const std::vector<LogPart>& extra, const std::string& file) {
  // Logs pack to a tenth, usually; where they do not, less of each is taken.
  const auto bytes_max = static_cast<std::size_t>(settings.bytes_max);
  std::size_t of_each = bytes_max * 2;
  std::vector<LogPart> parts = gather_logs(settings, may_run_commands, of_each);
  if (parts.empty()) return fail(Remedy::reject, "logs.none", "There is no log to collect: logs.files and logs.command find none.");
  for (;; of_each /= 2) {
    std::vector<LogPart> all = extra;
    for (LogPart& part : parts) {
      if (part.content.size() > of_each) part.content.erase(0, part.content.size() - of_each);
      all.push_back(part);
    }
    const std::string packed = pack_logs(all);
    if (packed.size() > bytes_max && of_each > least_bytes) continue;
    if (packed.size() > bytes_max) return fail(Remedy::reject, "logs.none", "The logs do not fit into logs.bytes_max.");
    if (auto written = write_whole(file, packed); !written) return pass(written);
    return sha256(packed);
  }
}

}  // namespace greengate::agent
