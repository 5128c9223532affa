#pragma once

#include <boost/json/fwd.hpp>

#include <string>

namespace greengate::ctl {

/// What every command takes.
struct Options {
  std::string socket = "/run/greengate/admin.sock";
  bool as_json = false;
};

/// The gateway's answer: JSON, or why there is none, with the gateway's own code where it refused.
struct Answer {
  std::string json;
  std::string code, message;  ///< Empty when answered; ctl.no_gateway, ctl.no_json, or the gateway's.
  bool ok() const { return code.empty(); }
};
Answer answer_of(const Options& options, const std::string& method, const std::string& target, const std::string& body);
/// Asks, prints the answer (`show` makes it readable, unless --json) or on stderr what went wrong; the exit code.
int ask(const Options& options, const std::string& method, const std::string& target, const std::string& body,
        std::string (*show)(const boost::json::value&));
/// On stderr; the exit code.
int complain(const Answer& refusal);

/// A name in a URL's path or query: letters, digits and a few marks pass, the rest is percent-encoded.
std::string in_path(const std::string& name);

}  // namespace greengate::ctl
