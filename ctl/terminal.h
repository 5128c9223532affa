#pragma once

#include <string>
#include <string_view>

namespace greengate::ctl {

enum class Lines { keep, flatten };  ///< Whether a line's end and a tab pass.

/// A text that may hold a stranger's words, fit for an operator's terminal: every control character, C0, DEL and the C1 ones UTF-8 has
/// ("\xC2\x9B" opens a command as ESC [ does), becomes a question mark.
std::string tamed(std::string_view text, Lines lines);

}  // namespace greengate::ctl
