#pragma once

#include <string>

namespace greengate::gateway {

/// One request of an operator's tool.
struct AdminCall {
  std::string method;  ///< "GET", "POST", "DELETE"
  std::string target;  ///< Path and query: "/v1/agents/db01/reports?count=20"
  std::string body;    ///< JSON, or empty
};

/// Its answer: JSON, or {"code": …, "message": …} with a status of 400 and above.
struct AdminReply {
  unsigned status = 200;
  std::string json;
};

}  // namespace greengate::gateway
