#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace greengate::adapters {

/// Overwrites a text's bytes before it is freed or used again.
void wipe(std::string& text);

/// A token or client secret: in memory alone, wiped when it is replaced or no longer used (wns-mdm-push R-9). Never printed, logged or copied
/// by accident.
class Secret {
 public:
  Secret() = default;
  /// Takes the text and wipes where it came from.
  explicit Secret(std::string&& text);
  ~Secret();
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;

  /// For the one place that sends it.
  std::string_view reveal() const { return {bytes_.get(), size_}; }
  bool empty() const { return size_ == 0; }

 private:
  void clear();
  std::unique_ptr<char[]> bytes_;
  std::size_t size_ = 0;
};

}  // namespace greengate::adapters
