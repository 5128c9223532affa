#pragma once

#include <string_view>

namespace greengate::gateway {

/// What a reason code usually means and what helps, each in a sentence for an operator.
struct Diagnosis {
  const char* cause;
  const char* advice;
};
/// By the code, else by what it begins with; there is always an answer.
Diagnosis diagnose(std::string_view code);

}  // namespace greengate::gateway
