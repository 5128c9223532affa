// What is said before a request's body.
#pragma once

#include "adapters/http/messages.h"
#include "core/result.h"

#include <string>

namespace greengate::adapters {

/// Request line and headers. Fails http.request when something in it could be taken for another
/// line.
Result<std::string> head_of(const HttpRequest& request);

}  // namespace greengate::adapters
