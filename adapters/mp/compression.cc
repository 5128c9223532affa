#include "adapters/mp/compression.h"

#include "core/check.h"

#include <libdeflate.h>

#include <algorithm>
#include <memory>
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

/// This thread's compressor for `level`; the level is a setting, so it is made once.
libdeflate_compressor* compressor(int level) {
  thread_local std::unique_ptr<libdeflate_compressor, FreeCompressor> kept;
  thread_local int kept_level = -1;
  if (kept_level != level) {
    kept.reset(libdeflate_alloc_compressor(level));
    kept_level = level;
  }
  GREENGATE_CHECK(kept, "the compression level was checked with the settings");
  return kept.get();
}

/// The second byte only hints at the effort spent. Every public client sends the default's (M 1.4), so we do too.
std::string with_the_usual_header(std::string stream) {
  stream[1] = static_cast<char>(0x9C);
  return stream;
}

/// A large text: into a quarter of its size first, which any XML fits many times over, so that the room costs little beside the text.
std::string compress_large(libdeflate_compressor* with, std::string_view plain) {
  std::string out(plain.size() / 4, '\0');
  std::size_t length = libdeflate_zlib_compress(with, plain.data(), plain.size(), out.data(), out.size());
  if (length == 0) {  // not a text: a collected file, most likely
    out.resize(libdeflate_zlib_compress_bound(with, plain.size()));
    length = libdeflate_zlib_compress(with, plain.data(), plain.size(), out.data(), out.size());
  }
  GREENGATE_CHECK(length > 2, "the bound is large enough for any input");
  if (length < out.size() / 2) return std::string(out.data(), length);
  out.resize(length);
  return out;
}

}  // namespace

std::string compress_zlib(std::string_view plain, int level) {
  libdeflate_compressor* with = compressor(level);
  if (plain.size() > large_bytes) return with_the_usual_header(compress_large(with, plain));
  // Room for the worst case is far more than what comes out, so it is kept, and only the result is
  // made anew.
  thread_local std::vector<char> room;
  const std::size_t bound = libdeflate_zlib_compress_bound(with, plain.size());
  if (room.size() < bound) room.resize(bound);
  const std::size_t length =
      libdeflate_zlib_compress(with, plain.data(), plain.size(), room.data(), room.size());
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
