#include "adapters/wns/secret.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <utility>

namespace greengate::adapters {

void wipe(std::string& text) {
  text.resize(text.capacity());  // what was cut off before lies behind the end
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

Secret::Secret(std::string&& text) : bytes_(std::make_unique<char[]>(text.size() + 1)), size_(text.size()) {
  std::copy(text.begin(), text.end(), bytes_.get());
  wipe(text);
}

Secret::~Secret() { clear(); }

Secret::Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this == &other) return *this;
  clear();
  bytes_ = std::move(other.bytes_);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void Secret::clear() {
  if (bytes_) OPENSSL_cleanse(bytes_.get(), size_);
  bytes_.reset();
  size_ = 0;
}

}  // namespace greengate::adapters
