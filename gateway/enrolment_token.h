#pragma once

#include <string>
#include <string_view>

namespace greengate::gateway {

/// A token as made, before only its hash remains.
struct NewToken {
  std::string id;      ///< Eight hex digits, for lists.
  std::string secret;  ///< "gg-" and 32 lower-case base-32 characters: 160 random bits.
  std::string hash;    ///< SHA-256 of the secret, 32 bytes.
};
NewToken make_token();

/// SHA-256, 32 bytes. White space around the token, as a copied line has it, is not part of it.
std::string token_hash(std::string_view secret);

}  // namespace greengate::gateway
