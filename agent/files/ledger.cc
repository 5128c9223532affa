#include "agent/files/ledger.h"

#include "agent/trees/encoding.h"
#include "agent/trees/sealed_file.h"
#include "agent/trees/sha256.h"

namespace greengate::agent {
namespace {

constexpr std::string_view kind = "greengate sent files 1\n";
constexpr std::size_t path_bytes_max = 4'096;
constexpr std::size_t ledger_bytes_max = 16 << 20;

}  // namespace

FileLedger FileLedger::load(const std::string& file) {
  const auto content = read_sealed(file, kind, ledger_bytes_max);
  if (!content) return {};
  Decoder in(*content);
  FileLedger ledger;
  const std::size_t files = in.count(files_max);
  for (std::size_t i = 0; i < files && in.good(); ++i) {
    std::string path(in.text(path_bytes_max));
    SentFile sent;
    sent.standing = {in.number(), in.number(), in.signed_number(), in.signed_number()};
    sent.sha256 = in.text(Sha256::size);
    sent.incarnation = in.number();
    sent.first_sequence = in.number();
    sent.last_sequence = in.number();
    ledger.files.emplace(std::move(path), std::move(sent));
  }
  return in.at_end() ? std::move(ledger) : FileLedger();
}

Result<void> FileLedger::save(const std::string& file) const {
  Encoder out;
  out.number(files.size());
  for (const auto& [path, sent] : files) {
    out.text(path).number(sent.standing.size).number(sent.standing.inode);
    out.signed_number(sent.standing.modified_ns).signed_number(sent.standing.changed_ns);
    out.text(sent.sha256).number(sent.incarnation);
    out.number(sent.first_sequence).number(sent.last_sequence);
  }
  return write_sealed(file, kind, out.bytes());
}

}  // namespace greengate::agent
