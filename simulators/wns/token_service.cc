#include "simulators/wns/token_service.h"

#include "simulators/common/text.h"

#include <boost/json.hpp>

#include <algorithm>

namespace greengate::sim::wns {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using Then = HttpsAnswer::Then;

HttpsAnswer json_answer(unsigned status, const char* reason, const json::object& body, bool entra) {
  HttpsAnswer answer;
  answer.status = status;
  answer.reason = reason;
  answer.fields = {{"Cache-Control", entra ? "no-store, no-cache" : "no-store"},
                   {"Content-Type", entra ? "application/json; charset=utf-8" : "application/json"}};
  answer.body = json::serialize(body);
  return answer;
}

const char* reason_of(unsigned status) {
  return status == 400 ? "Bad Request" : status == 401 ? "Unauthorized" : status == 429 ? "Too Many Requests" : status == 503 ? "Service Unavailable"
         : status == 500 ? "Internal Server Error" : status == 405 ? "Method Not Allowed" : status == 404 ? "Not Found" : "Simulated";
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out += ' ';
    } else if (text[i] == '%') {
      const auto byte = i + 2 < text.size() ? from_hex(text.substr(i + 1, 2)) : std::nullopt;
      if (!byte || byte->size() != 1) return std::nullopt;
      out += *byte;
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

std::optional<HttpFields> read_form(std::string_view body) {
  HttpFields out;
  while (!body.empty()) {
    const std::size_t end = std::min(body.find('&'), body.size());
    const std::string_view part = body.substr(0, end);
    const std::size_t mark = part.find('=');
    if (mark == std::string_view::npos) return std::nullopt;
    auto name = unescaped(part.substr(0, mark)), value = unescaped(part.substr(mark + 1));
    if (!name || !value) return std::nullopt;
    out.emplace_back(std::move(*name), std::move(*value));
    body.remove_prefix(std::min(end + 1, body.size()));
  }
  return out;
}

TokenService::Verdict TokenService::refuse(unsigned status, const char* word, const std::string& text, bool entra, int aadsts) {
  Verdict verdict;
  verdict.result = word;
  json::object body{{"error", word}, {"error_description", "simulated: " + text}};
  if (entra) {
    body["error_codes"] = json::array{aadsts};
    body["trace_id"] = dice_.guid();
    body["correlation_id"] = dice_.guid();
  }
  verdict.answer = json_answer(status, reason_of(status), body, entra);
  return verdict;
}

asio::awaitable<TokenService::Verdict> TokenService::serve(std::shared_ptr<HttpsRequest> request, std::shared_ptr<SimClock::Busy> busy) {
  const bool entra = request->server_name == entra_host;
  Verdict verdict = judge(*request, entra);
  if (const auto fault = faults_.draw(true, request->server_name, verdict.pfn, "")) {
    if (fault->delay_ms > 0) co_await clock_.sleep(std::chrono::milliseconds(fault->delay_ms), *busy);
    spoil(verdict, *fault, entra);
  }
  if (App* app = apps_.find(verdict.pfn)) {
    ++app->token_requests[verdict.result];
    if (verdict.result == "ok") {
      // Made last: a refused or lost answer leaves no token behind it.
      const std::string token = apps_.issue_token(*app);
      json::object body;
      if (entra) {
        const std::int64_t now_s = clock_.now_ms() / 1000;
        const std::string life = std::to_string(settings_.entra_token_s);
        body = {{"token_type", "Bearer"}, {"expires_in", life}, {"ext_expires_in", life},
                {"expires_on", std::to_string(now_s + settings_.entra_token_s)}, {"not_before", std::to_string(now_s - 300)},
                {"resource", "https://wns.windows.com/"}, {"access_token", token}};
      } else {
        body = {{"token_type", "bearer"}, {"access_token", token}};
        if (!settings_.omit_expires_in) body["expires_in"] = settings_.legacy_token_s;
      }
      verdict.answer = json_answer(200, "OK", body, entra);
    }
  }
  co_return verdict;
}

TokenService::Verdict TokenService::judge(const HttpsRequest& request, bool entra) {
  std::string_view path = request.target;
  std::string tenant;
  bool there = path == "/accesstoken.srf";
  if (entra) {
    constexpr std::string_view end = "/oauth2/v2.0/token";
    there = path.size() > end.size() + 1 && path[0] == '/' && path.ends_with(end);
    if (there) tenant = std::string(path.substr(1, path.size() - end.size() - 1));
    there = there && tenant.find('/') == std::string::npos;
  }
  if (!there) return refuse(404, "not_found", "there is nothing at this path", entra);
  if (request.method != "POST") return refuse(405, "invalid_request", "only POST is taken", entra, 900561);
  const std::string type = to_lower(trimmed(request.field("Content-Type").substr(0, request.field("Content-Type").find(';'))));
  const auto form = type == "application/x-www-form-urlencoded" && !request.body_left_unread ? read_form(request.body) : std::nullopt;
  if (!form) return refuse(400, "invalid_request", "the body is no form", entra, 900144);
  std::map<std::string, std::string> fields;
  for (const auto& [name, value] : *form) {
    const bool known = name == "grant_type" || name == "client_id" || name == "client_secret" || name == "scope";
    if (!known || !fields.emplace(name, value).second) return refuse(400, "invalid_request", "a field comes twice or is not known", entra, 900144);
  }
  if (fields.size() != 4) return refuse(400, "invalid_request", "a field is missing", entra, 900144);

  App* const app = apps_.by_client(entra ? "entra" : "legacy", fields["client_id"]);
  Verdict verdict;
  const auto told = [&](Verdict refused) {
    refused.pfn = app != nullptr ? app->pfn : "";
    refused.scope = fields["scope"];
    refused.client_id = fields["client_id"];
    return refused;
  };
  if (fields["grant_type"] != "client_credentials") return told(refuse(400, "unsupported_grant_type", "only client_credentials is taken", entra, 70003));
  // One documented sample of the newer service ends the scope with a slash, another does not.
  const bool scope_fits = entra ? fields["scope"] == "https://wns.windows.com/.default" || fields["scope"] == "https://wns.windows.com/.default/"
                                : fields["scope"] == push_domain;
  if (!scope_fits) return told(refuse(400, "invalid_scope", "this scope is not known", entra, 70011));
  if (app == nullptr)
    return told(entra ? refuse(400, "unauthorized_client", "the application is not found in the directory", true, 700016)
                      : refuse(400, "invalid_client", "unknown client id or wrong secret", false));
  if (entra && !equals_ignoring_case(tenant, app->tenant) && tenant != "organizations")
    return told(refuse(400, "invalid_request", "the tenant is not found", true, 90002));
  if (app->closed && !entra) return told(refuse(400, "invalid_request", "this endpoint is closed for newly created clients", false));
  if (std::find(app->secrets.begin(), app->secrets.end(), fields["client_secret"]) == app->secrets.end())
    return told(entra ? refuse(401, "invalid_client", "secret is wrong or expired", true, 7000215)
                      : refuse(400, "invalid_client", "unknown client id or wrong secret", false));
  verdict.result = "ok";
  return told(verdict);
}

void TokenService::spoil(Verdict& verdict, const Fault& fault, bool entra) {
  if (fault.kind == "delay") return;
  verdict.result = "fault." + fault.kind;
  HttpsAnswer& answer = verdict.answer;
  answer = HttpsAnswer();
  if (fault.kind == "status" || fault.kind == "redirect") {
    answer.status = fault.kind == "redirect" ? 307 : fault.status;
    answer.reason = fault.reason.empty() ? reason_of(answer.status) : fault.reason;
    answer.fields = fault.fields;
    if (answer.status / 100 == 3)
      answer.fields.emplace_back("Location", fault.location.empty() ? "https://attacker.example/collect" : fault.location);
    if (fault.retry_after_s >= 0) answer.fields.emplace_back("Retry-After", std::to_string(fault.retry_after_s));
    answer.body = fault.body;
    if (!fault.body.empty()) answer.fields.emplace_back("Content-Type", "application/json");
    return;
  }
  if (fault.kind == "close") answer.then = Then::drop;
  if (fault.kind == "stall") answer.then = Then::stall;
  if (fault.kind == "garbage") answer.instead = "220 mail.example ESMTP\r\n";
  if (fault.kind == "cut") answer.instead = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n{\"access_to";
  if (fault.kind == "huge_header")
    answer.instead = "HTTP/1.1 200 OK\r\nX-Long: " + std::string(static_cast<std::size_t>(fault.bytes), 'x') + "\r\n\r\n";
  if (fault.kind == "no_length") answer.instead = "HTTP/1.1 200 OK\r\n\r\n{\"access_token\":\"dW5zaXplZA==\",\"token_type\":\"bearer\"}";
  if (!answer.instead.empty() || answer.then != Then::keep) return;
  json::object body{{"token_type", "bearer"}, {"access_token", "U0lNLVNQT0lMVA=="}, {"expires_in", 86400}};
  if (fault.kind == "no_token") body.erase("access_token");
  if (fault.kind == "empty_token") body["access_token"] = "";
  if (fault.kind == "long_token") body["access_token"] = std::string(8193, 't');
  if (fault.kind == "split_token") body["access_token"] = "a\r\nX-Injected: y";
  if (fault.kind == "wrong_type") body["token_type"] = "mac";
  if (fault.kind == "expires") body["expires_in"] = fault.word;
  answer = json_answer(200, "OK", body, entra);
  if (fault.kind == "broken_json") answer.body = "{\"access_token\": \"U0lN";
  if (fault.kind == "oversized" || fault.kind == "huge_body") answer.body = "{\"pad\":\"" + std::string(static_cast<std::size_t>(fault.bytes), ' ') + "\"}";
}

}  // namespace greengate::sim::wns
