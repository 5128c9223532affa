#pragma once

#include <chrono>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace greengate {

/// What the caller may do about a failure: the first question anybody asks of one.
enum class Remedy {
  retry,   ///< The same input may succeed later (network, full disk): postpone.
  reject,  ///< The same input will always fail (bad XML, wrong signature): bury it, with the reason.
  halt,    ///< We are shutting down: put the item back untouched.
};

/// A failure as a value. `code` is for metrics and tests, `message` for people.
struct Error {
  Remedy remedy = Remedy::reject;
  const char* code = "";                    ///< Stable, low in number, a literal: "http.refused", "queue.full".
  std::string message;                      ///< One sentence, no secrets, no trailing newline.
  std::chrono::milliseconds retry_after{};  ///< The peer's own wish; 0 leaves it to us.
};

/// Value or Error. Tomorrow std::expected; today tl::expected, made impossible to ignore.
template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result(tl::expected<T, Error> base) : tl::expected<T, Error>(std::move(base)) {}
};

inline tl::unexpected<Error> fail(Remedy remedy, const char* code, std::string message,
                                  std::chrono::milliseconds retry_after = {}) {
  return tl::unexpected<Error>(Error{remedy, code, std::move(message), retry_after});
}

/// Passes a failure up unchanged: `if (!x) return pass(x);`
template <class T>
tl::unexpected<Error> pass(Result<T>& failed) {
  return tl::unexpected<Error>(std::move(failed.error()));
}

}  // namespace greengate
