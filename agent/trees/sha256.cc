#include "agent/trees/sha256.h"

#include <sodium/crypto_hash_sha256.h>

#include <cstring>

namespace greengate::agent {
namespace {

using State = crypto_hash_sha256_state;

// libsodium comes with libzmq: its pages are in memory already.
State opened(const std::string& bytes) {
  State state;
  std::memcpy(&state, bytes.data(), sizeof state);
  return state;
}
std::string closed(const State& state) {
  return {reinterpret_cast<const char*>(&state), sizeof state};
}
const unsigned char* raw(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

Sha256::Sha256() {
  State state;
  std::memset(&state, 0, sizeof state);  // the part not yet used is saved too
  crypto_hash_sha256_init(&state);
  state_ = closed(state);
}

void Sha256::add(std::string_view piece) {
  State state = opened(state_);
  crypto_hash_sha256_update(&state, raw(piece), piece.size());
  state_ = closed(state);
}

std::string Sha256::digest() const {
  State state = opened(state_);
  std::string digest(size, '\0');
  crypto_hash_sha256_final(&state, reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

bool Sha256::take_up(std::string_view state) {
  if (state.size() != sizeof(State)) return false;
  state_ = std::string(state);
  return true;
}

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.digest();
}

}  // namespace greengate::agent
