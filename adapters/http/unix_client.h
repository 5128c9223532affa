#pragma once

#include "adapters/http/messages.h"
#include "core/result.h"

#include <chrono>
#include <string>

namespace greengate::adapters {

/// One exchange over a server's Unix socket: how greengatectl asks. Waits; any thread.
/// Limits    headers 64 KiB, reply 64 MiB, one deadline.
/// Errors    http.connect, http.timeout, http.closed, http.protocol, http.reply_too_large (retry),
/// http.request (reject).
Result<HttpResponse> unix_request(const std::string& socket_path, const std::string& method,
                                  const std::string& target, const std::string& body,
                                  std::chrono::milliseconds deadline);

}  // namespace greengate::adapters
