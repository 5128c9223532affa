#pragma once

#include "adapters/mp/message.h"

#include <map>
#include <string>
#include <string_view>

namespace greengate::test {

/// A file of tests/data/mp, whole.
std::string sample(const std::string& name);

/// The strings of sign-vectors.json by path: "vectors.ClientIDSignature.signature_reversed_hex".
/// Numbers as text.
const std::map<std::string, std::string>& vectors();

std::string bytes_of_hex(std::string_view hex);

/// The key of the vectors, which give n, e and d only: p and q are found from them.
adapters::SigningKey vector_key();

/// The identity, settings and times with which the samples were made.
adapters::MpIdentity sample_identity();
adapters::MpSettings sample_settings();
adapters::ReportFacts sample_facts();

/// A message taken apart again with nothing of the product but its multipart parser.
struct Opened {
  std::string header;   ///< <Msg>, UTF-8
  std::string payload;  ///< As sent
  std::string stream;   ///< Inflated by zlib
};
Opened open(const adapters::OutgoingMessage& message);

/// The text in Body's range as UTF-8, without its NUL.
std::string body_text(const Opened& opened);

/// The number or text in `attribute="…"` of the first <element …>.
std::string attribute(std::string_view xml, const std::string& element, const std::string& name);
/// What stands between <element> and </element>, the first time.
std::string inside(std::string_view xml, const std::string& element);

}  // namespace greengate::test
