#pragma once

#include <string>
#include <string_view>

namespace greengate::agent {

/// SHA-256 of what is added, piece by piece; what was added so far can be put aside and taken up
/// again, by another process too.
class Sha256 {
 public:
  static constexpr std::size_t size = 32;
  Sha256();
  void add(std::string_view piece);
  /// Of everything added so far; adding may go on.
  std::string digest() const;

  std::string put_aside() const { return state_; }
  /// False when these bytes were not put aside by the same library.
  bool take_up(std::string_view state);

 private:
  std::string state_;
};

std::string sha256(std::string_view bytes);

}  // namespace greengate::agent
