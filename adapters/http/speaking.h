// One request and its reply on one connection.
#pragma once

#include "adapters/http/client.h"
#include "adapters/http/connection.h"
#include "adapters/http/messages.h"

#include <boost/asio/awaitable.hpp>
#include <boost/system/error_code.hpp>

#include <string>

namespace greengate::adapters {

/// How one try on one connection ended.
struct Spoken {
  Spoken() = default;
  boost::system::error_code error;
  const char* doing = "";
  bool nothing_arrived = true;
  bool keep = false;
  HttpResponse reply;
};

/// Sends the request and reads the reply. Over a plain socket or TLS alike.
asio::awaitable<Spoken> speak(Connection& connection, const HttpClientConfig& config, const std::string& head, const HttpRequest& request);

}  // namespace greengate::adapters
