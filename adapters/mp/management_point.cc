#include "adapters/mp/management_point.h"

#include "adapters/http/client.h"

namespace greengate::adapters {

ManagementPoint::ManagementPoint(HttpClient& client, const Clock& clock, const MpSettings& settings,
                                 Url server)
    : client_(client), clock_(clock), settings_(settings), server_(std::move(server)) {}

Result<Verdict> ManagementPoint::send(const OutgoingMessage& message) {
  const std::string retargeted =
      message.target_host == server_.host ? std::string() : message.body_for(server_.host);
  if (message.xml_bytes > settings_.message_bytes_warn) {
    log_.warn("message is large, a site may decline it", kv("mp", server_.host), kv("what", message.endpoint),
              kv("bytes", message.xml_bytes));
  }
  HttpRequest request;
  request.server = server_;
  request.method = "CCM_POST";
  request.target = settings_.request_path;
  request.headers = {{"User-Agent", settings_.user_agent}, {"Content-Type", message.content_type}};
  request.body = retargeted.empty() ? message.http_body : retargeted;
  request.deadline = settings_.exchange_timeout;
  auto answer = client_.exchange_and_wait(std::move(request));
  if (!answer) return pass(answer);
  const HttpOutcome outcome{answer->status, answer->header("content-type"),
                            answer->header("retry-after"), answer->body};
  return read_verdict(settings_, message.expects_reply, outcome, clock_.wall());
}

Result<std::string> ManagementPoint::get(std::string_view target) {
  HttpRequest request;
  request.server = server_;
  request.target = target;
  request.headers = {{"User-Agent", settings_.user_agent}};
  request.deadline = settings_.exchange_timeout;
  auto answer = client_.exchange_and_wait(std::move(request));
  if (!answer) return pass(answer);
  const HttpOutcome outcome{answer->status, answer->header("content-type"),
                            answer->header("retry-after"), answer->body};
  for (const unsigned status : {401u, 403u, 404u, 405u})
    if (answer->status == status)
      return fail(Remedy::reject, "mp.no_document",
                  "The management point answered " + std::to_string(status) + " to a GET.");
  auto verdict = read_verdict(settings_, false, outcome, clock_.wall());
  if (!verdict) return pass(verdict);
  return std::move(answer->body);
}

void ManagementPoint::abandon() {
  client_.abandon();
}

}  // namespace greengate::adapters
