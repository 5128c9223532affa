#include "workers/baseline_form.h"

#include "adapters/mp/compression.h"
#include "core/check.h"

namespace greengate::workers {
namespace {

constexpr char form_version = 1;
constexpr std::size_t head_bytes = 1 + 3 * 8 + 1;  // without the identity
constexpr std::size_t client_bytes_max = 255;
constexpr int compression_level = 1;  // a baseline is written with every message and read with every report

void append_number(std::string& to, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) to.push_back(static_cast<char>(value >> shift & 0xFF));
}

std::uint64_t number_at(std::string_view bytes, std::size_t place) {
  std::uint64_t value = 0;
  for (std::size_t i = 8; i-- > 0;) value = value << 8 | static_cast<std::uint8_t>(bytes[place + i]);
  return value;
}

}  // namespace

std::string write_baseline(const BaselineForm& form, std::string_view plain) {
  GREENGATE_CHECK(form.client.size() <= client_bytes_max, "an identity's name is short");
  const std::string stream = adapters::compress_zlib(plain, compression_level);
  std::string bytes;
  bytes.reserve(head_bytes + form.client.size() + stream.size());
  bytes.push_back(form_version);
  append_number(bytes, form.incarnation);
  append_number(bytes, form.sequence);
  append_number(bytes, plain.size());
  bytes.push_back(static_cast<char>(form.client.size()));
  bytes += form.client;
  return bytes += stream;
}

Result<BaselineForm> read_baseline(std::string_view bytes) {
  const auto unreadable = [](const char* why) { return fail(Remedy::reject, "baseline.unreadable", why); };
  if (bytes.size() < head_bytes) return unreadable("the baseline is too short.");
  if (bytes[0] != form_version) return unreadable("the baseline has a form this version does not know.");
  const std::uint64_t plain_bytes = number_at(bytes, 17);
  if (plain_bytes > baseline_plain_bytes_max) return unreadable("the baseline claims to be larger than any that is written.");
  const std::size_t client_bytes = static_cast<std::uint8_t>(bytes[25]);
  if (bytes.size() < head_bytes + client_bytes) return unreadable("the baseline is too short.");
  auto plain = adapters::inflate_zlib(bytes.substr(head_bytes + client_bytes), static_cast<std::size_t>(plain_bytes));
  if (!plain || plain->size() != plain_bytes) return unreadable("the baseline's bytes are damaged.");
  return BaselineForm{number_at(bytes, 1), number_at(bytes, 9), std::string(bytes.substr(head_bytes, client_bytes)), std::move(*plain)};
}

}  // namespace greengate::workers
