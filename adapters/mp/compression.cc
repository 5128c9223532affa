#include "adapters/mp/compression.h"

#include "core/check.h"

#include <isa-l/igzip_lib.h>
#include <libdeflate.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace greengate::adapters {
namespace {

constexpr std::size_t large_bytes = 1u << 20;  ///< Up to here each thread keeps the room it compresses into.

struct FreeCompressor {
  void operator()(libdeflate_compressor* c) const { libdeflate_free_compressor(c); }
};
struct FreeDecompressor {
  void operator()(libdeflate_decompressor* d) const { libdeflate_free_decompressor(d); }
};

/// Compresses `plain` into `room`; 0 when it does not fit.
using Compress = std::size_t (*)(std::string_view plain, int level, std::span<char> room);

// Level 1 is where almost all of the time of a large message went, and ISA-L is five times as fast there; it has nothing better to offer.
std::size_t compress_fast(std::string_view plain, int, std::span<char> room) {
  GREENGATE_CHECK(plain.size() <= UINT32_MAX && room.size() <= UINT32_MAX, "messages are bounded far below that");
  thread_local std::vector<std::uint8_t> working(ISAL_DEF_LVL1_DEFAULT);
  isal_zstream stream;
  isal_deflate_stateless_init(&stream);
  stream.level = 1;
  stream.level_buf = working.data();
  stream.level_buf_size = static_cast<std::uint32_t>(working.size());
  stream.gzip_flag = IGZIP_ZLIB;
  stream.end_of_stream = 1;
  stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(plain.data()));  // it only reads there
  stream.avail_in = static_cast<std::uint32_t>(plain.size());
  stream.next_out = reinterpret_cast<std::uint8_t*>(room.data());
  stream.avail_out = static_cast<std::uint32_t>(room.size());
  return isal_deflate_stateless(&stream) == COMP_OK ? stream.total_out : 0;
}

std::size_t compress_small(std::string_view plain, int level, std::span<char> room) {
  thread_local std::unique_ptr<libdeflate_compressor, FreeCompressor> kept;
  thread_local int kept_level = -1;
  if (kept_level != level) {  // the level is a setting, so the compressor is made once
    kept.reset(libdeflate_alloc_compressor(level));
    kept_level = level;
  }
  GREENGATE_CHECK(kept, "the compression level was checked with the settings");
  return libdeflate_zlib_compress(kept.get(), plain.data(), plain.size(), room.data(), room.size());
}

/// Room enough for bytes that do not compress: both libraries then store them, in blocks of 65,535 bytes at most and 10,000 at least.
std::size_t bound_of(std::size_t plain_bytes) { return plain_bytes + (plain_bytes / 5'000 + 2) * 5 + 64; }

/// The second byte only hints at the effort spent. Every public client sends the default's (M 1.4), so we do too.
std::string with_the_usual_header(std::string stream) {
  stream[1] = static_cast<char>(0x9C);
  return stream;
}

/// A large text: into a quarter of its size first, which any XML fits many times over, so that the room costs little beside the text.
std::string compress_large(Compress compress, std::string_view plain, int level) {
  std::string out(plain.size() / 4, '\0');
  std::size_t length = compress(plain, level, out);
  if (length == 0) {  // not a text: a collected file, most likely
    out.resize(bound_of(plain.size()));
    length = compress(plain, level, out);
  }
  GREENGATE_CHECK(length > 2, "the bound is large enough for any input");
  if (length < out.size() / 2) return std::string(out.data(), length);
  out.resize(length);
  return out;
}

}  // namespace

std::string compress_zlib(std::string_view plain, int level) {
  const Compress compress = level == 1 ? compress_fast : compress_small;
  if (plain.size() > large_bytes) return with_the_usual_header(compress_large(compress, plain, level));
  // Room for the worst case is far more than what comes out, so it is kept, and only the result is made anew.
  thread_local std::vector<char> room;
  if (room.size() < bound_of(plain.size())) room.resize(bound_of(plain.size()));
  const std::size_t length = compress(plain, level, room);
  GREENGATE_CHECK(length > 2, "the bound is large enough for any input");
  return with_the_usual_header(std::string(room.data(), length));
}

Result<std::string> inflate_zlib(std::string_view stream, std::size_t plain_bytes_max) {
  const std::unique_ptr<libdeflate_decompressor, FreeDecompressor> with(
      libdeflate_alloc_decompressor());
  GREENGATE_CHECK(with, "memory for a decompressor");
  // The length is not known beforehand: a first guess, then doubled. All tries together cost at
  // most twice the last.
  std::size_t room = std::min(plain_bytes_max, std::max<std::size_t>(16 * 1024, stream.size() * 6));
  for (;;) {
    std::string out(room, '\0');
    std::size_t used = 0, made = 0;
    switch (libdeflate_zlib_decompress_ex(with.get(), stream.data(), stream.size(), out.data(),
                                          out.size(), &used, &made)) {
      case LIBDEFLATE_SUCCESS:
        if (used != stream.size())
          return fail(Remedy::reject, "mp.inflate",
                      "There are bytes behind the end of the compressed stream.");
        out.resize(made);
        return out;
      case LIBDEFLATE_INSUFFICIENT_SPACE:
        if (room >= plain_bytes_max)
          return fail(Remedy::reject, "mp.inflate_too_large",
                      "The compressed stream holds more than " + std::to_string(plain_bytes_max) +
                          " bytes.");
        room = std::min(plain_bytes_max, room * 2);
        break;
      default:
        return fail(Remedy::reject, "mp.inflate", "The bytes are not a whole zlib stream.");
    }
  }
}

}  // namespace greengate::adapters
