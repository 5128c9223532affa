#include "ctl/ask.h"

#include "adapters/http/unix_client.h"
#include "ctl/terminal.h"

#include <boost/json.hpp>

#include <cctype>
#include <cstdio>

namespace greengate::ctl {
namespace json = boost::json;

Answer answer_of(const Options& options, const std::string& method, const std::string& target, const std::string& body) {
  auto answer = adapters::unix_request(options.socket, method, target, body, std::chrono::seconds(30));
  if (!answer) return {{}, "ctl.no_gateway", "the gateway does not answer at " + options.socket + ": " + answer.error().message};
  boost::system::error_code broken;
  const json::value parsed = json::parse(answer->body, broken);
  if (broken) return {{}, "ctl.no_json", "the gateway's answer (status " + std::to_string(answer->status) + ") is not JSON."};
  if (answer->status < 400) return {std::move(answer->body), {}, {}};
  const auto member = [&](const char* name, const std::string& otherwise) {
    const json::object* problem = parsed.if_object();
    const json::value* value = problem ? problem->if_contains(name) : nullptr;
    return value && value->is_string() ? std::string(value->get_string()) : otherwise;
  };
  return {std::move(answer->body), member("code", std::to_string(answer->status)), member("message", "the gateway refused.")};
}

int complain(const Answer& refusal) {
  std::fprintf(stderr, "greengatectl: %s (%s)\n", tamed(refusal.message, Lines::flatten).c_str(), tamed(refusal.code, Lines::flatten).c_str());
  return 1;
}

int ask(const Options& options, const std::string& method, const std::string& target, const std::string& body,
        std::string (*show)(const json::value&)) {
  const Answer answer = answer_of(options, method, target, body);
  if (!answer.ok()) {
    if (options.as_json && !answer.json.empty()) std::printf("%s\n", answer.json.c_str());
    return complain(answer);
  }
  // JSON is for programs, and escapes what would command a terminal, but for C1.
  const std::string shown = options.as_json ? answer.json + "\n" : tamed(show(json::parse(answer.json)), Lines::keep);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  return 0;
}

std::string in_path(const std::string& name) {
  constexpr char hex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '.' || c == '_') {
      encoded += c;
    } else {
      encoded += '%';
      encoded += hex[byte >> 4];
      encoded += hex[byte & 15];
    }
  }
  return encoded;
}

}  // namespace greengate::ctl
