// Our codec behind standard input and output, so that an independent model in another language can be held against it. Not shipped.
//
//   profile JSON      → ok, or error CODE
//   encode KIND UNIX_SECONDS PUSH_ID TASK_ID TASK_TYPE RETURN_CODE TEXT×6   → ok HEX, or error CODE
//   decode HEX        → more BYTES, bad CODE, or ok BYTES KIND MISMATCH MEMBERS UNIX_SECONDS PUSH_ID … as above
//
// Texts are ClientID, ClientType, ClientVersion, MessageVersion, TaskGUID, TaskParam in hex, "-" when empty; MEMBERS is a bit set.
#include "adapters/bgb/frame_codec.h"
#include "adapters/bgb/message_schema.h"
#include "adapters/bgb/profile.h"

#include <iostream>
#include <optional>
#include <sstream>
#include <string>

namespace {

using namespace greengate;
using namespace greengate::adapters::bgb;

std::string from_hex(const std::string& hex) {
  std::string out;
  if (hex == "-") return out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

std::string to_hex(std::string_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out.push_back(digits[static_cast<unsigned char>(c) >> 4]);
    out.push_back(digits[static_cast<unsigned char>(c) & 15]);
  }
  return out.empty() ? "-" : out;
}

std::optional<Kind> kind_of(const std::string& name) {
  for (std::size_t i = 0; i < kind_count; ++i)
    if (kind_name(static_cast<Kind>(i)) == name) return static_cast<Kind>(i);
  return std::nullopt;
}

class Console {
 public:
  std::string answer(const std::string& line) {
    const auto space = line.find(' ');
    const std::string word = line.substr(0, space), rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (word == "profile") return take_profile(rest);
    if (!codec_) return "error no profile";
    if (word == "encode") return encode(rest);
    if (word == "decode") return decode(from_hex(rest));
    return "error no such call";
  }

 private:
  std::string take_profile(const std::string& json) {
    auto profile = parse_profile(json, "the test's");
    if (!profile) return std::string("error ") + profile.error().code + " " + profile.error().message;
    codec_.emplace(*profile);
    schema_.emplace(*profile);
    return "ok";
  }

  std::string encode(const std::string& call) const {
    std::istringstream in(call);
    std::string kind, text[6];
    Message m;
    in >> kind >> m.unix_seconds >> m.push_id >> m.task_id >> m.task_type >> m.return_code;
    for (auto& one : text) in >> one;
    const auto known = kind_of(kind);
    if (!in || !known) return "error call";
    m.kind = *known;
    std::string* const into[] = {&m.client_id, &m.client_type, &m.client_version, &m.message_version, &m.task_guid, &m.task_param};
    for (std::size_t i = 0; i < 6; ++i) *into[i] = from_hex(text[i]);
    std::string xml, bytes;
    auto done = schema_->write(m, xml);
    if (done) done = codec_->encode(m.kind, codec_->profile().versions.front(), xml, bytes);
    if (!done) return std::string("error ") + done.error().code;
    return "ok " + to_hex(bytes);
  }

  std::string decode(const std::string& bytes) const {
    std::string scratch;
    const auto decoded = codec_->decode(std::as_bytes(std::span(bytes)), scratch);
    if (decoded.status == Decoded::Status::need_more) return "more " + std::to_string(decoded.bytes);
    if (decoded.status == Decoded::Status::bad) return std::string("bad ") + decoded.code;
    const auto parsed = schema_->parse(decoded.frame);
    if (!parsed) return std::string("bad ") + parsed.error().code;
    const Message& m = parsed->message;
    unsigned members = 0;
    for (std::size_t i = 0; i < member_count; ++i) members |= m.present.has(static_cast<Member>(i)) ? 1u << i : 0u;
    std::ostringstream out;
    out << "ok " << decoded.bytes << ' ' << kind_name(m.kind) << ' ' << parsed->kind_mismatch << ' ' << members << ' ' << m.unix_seconds
        << ' ' << m.push_id << ' ' << m.task_id << ' ' << m.task_type << ' ' << m.return_code;
    for (const std::string* text : {&m.client_id, &m.client_type, &m.client_version, &m.message_version, &m.task_guid, &m.task_param})
      out << ' ' << to_hex(*text);
    return out.str();
  }

  std::optional<FrameCodec> codec_;
  std::optional<MessageSchema> schema_;
};

}  // namespace

int main() {
  Console console;
  for (std::string line; std::getline(std::cin, line);) std::cout << console.answer(line) << std::endl;
  return 0;
}
