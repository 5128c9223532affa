#include "agent/software/cache.h"

#include "agent/trees/encoding.h"
#include "agent/trees/sealed_file.h"

namespace greengate::agent {
namespace {

constexpr std::string_view kind = "greengate software cache 1\n";
constexpr std::size_t name_bytes_max = 255;
constexpr std::size_t path_bytes_max = 4'096;
constexpr std::size_t text_bytes_max = 1'024;
constexpr std::size_t things_max = 1'000'000;

void encode(Encoder& out, const SeenFile& file) {
  out.text(file.name).number(file.standing.size).number(file.standing.inode);
  out.signed_number(file.standing.modified_ns).signed_number(file.standing.changed_ns);
  out.number(file.owner);
}

SeenFile decode_file(Decoder& in, std::size_t owners) {
  SeenFile file;
  file.name = in.text(name_bytes_max);
  file.standing.size = in.number();
  file.standing.inode = in.number();
  file.standing.modified_ns = in.signed_number();
  file.standing.changed_ns = in.signed_number();
  file.owner = static_cast<std::uint32_t>(in.number());
  if (file.owner >= owners) in.spoil();
  return file;
}

SoftwareCache decode(Decoder& in) {
  SoftwareCache cache;
  cache.fingerprint = in.text(text_bytes_max);
  cache.package_stamp = in.text(text_bytes_max);
  const std::size_t owners = in.count(things_max);
  for (std::size_t i = 0; i < owners && in.good(); ++i) {
    Owner owner;
    owner.name = in.text(text_bytes_max);
    owner.version = in.text(text_bytes_max);
    owner.vendor = in.text(text_bytes_max);
    cache.owners.push_back(std::move(owner));
  }
  const std::size_t folders = in.count(things_max);
  for (std::size_t i = 0; i < folders && in.good(); ++i) {
    SeenFolder& folder = cache.folders[std::string(in.text(path_bytes_max))];
    folder.device = in.number();
    folder.inode = in.number();
    folder.changed_ns = in.signed_number();
    folder.read_at_ms = in.signed_number();
    const std::size_t files = in.count(things_max);
    for (std::size_t f = 0; f < files && in.good(); ++f)
      folder.files.push_back(decode_file(in, cache.owners.size()));
    const std::size_t below = in.count(things_max);
    for (std::size_t f = 0; f < below && in.good(); ++f)
      folder.folders.emplace_back(in.text(name_bytes_max));
  }
  return cache;
}

}  // namespace

SoftwareCache SoftwareCache::load(const std::string& file) {
  const auto content = read_sealed(file, kind, cache_bytes_max);
  if (!content) return {};
  Decoder in(*content);
  SoftwareCache cache = decode(in);
  return in.at_end() ? std::move(cache) : SoftwareCache();
}

Result<void> SoftwareCache::save(const std::string& file) const {
  Encoder out;
  out.text(fingerprint).text(package_stamp).number(owners.size() - 1);
  for (std::size_t i = 1; i < owners.size(); ++i)
    out.text(owners[i].name).text(owners[i].version).text(owners[i].vendor);
  out.number(folders.size());
  for (const auto& [path, folder] : folders) {
    out.text(path).number(folder.device).number(folder.inode);
    out.signed_number(folder.changed_ns).signed_number(folder.read_at_ms);
    out.number(folder.files.size());
    for (const SeenFile& seen : folder.files) encode(out, seen);
    out.number(folder.folders.size());
    for (const std::string& name : folder.folders) out.text(name);
    if (out.bytes().size() > cache_bytes_max) {
      return fail(Remedy::reject, "software.cache_too_large",
                  "What the software scan saw does not fit in its cache.");
    }
  }
  return write_sealed(file, kind, out.bytes());
}

}  // namespace greengate::agent
