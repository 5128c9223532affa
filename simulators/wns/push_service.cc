#include "simulators/wns/push_service.h"

#include "simulators/common/text.h"

#include <algorithm>
#include <cstdio>

namespace greengate::sim::wns {
namespace {

namespace asio = boost::asio;
using Then = HttpsAnswer::Then;

constexpr std::size_t body_octets_max = 5000;
constexpr std::string_view phone_only[] = {"X-WNS-Group", "X-WNS-SuppressPopup", "X-WNS-Match"};

const char* reason_of(unsigned status) {
  switch (status) {
    case 200: return "OK";
    case 302: return "Found";
    case 307: return "Temporary Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Request Entity Too Large";
    case 429: return "Too Many Requests";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Simulated";
  }
}

bool is_alphanumeric(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
}

// 22 characters of base64, a dot, a counter (5).
bool is_correlation_vector(std::string_view text) {
  const std::size_t dot = text.find('.');
  return dot == 22 && parse_number(text.substr(dot + 1)).has_value() &&
         std::all_of(text.begin(), text.begin() + 22, [](unsigned char c) { return std::isalnum(c) != 0 || c == '+' || c == '/'; });
}

}  // namespace

struct PushService::Wish {
  std::string kind;
  bool cache = false;
  std::optional<std::int64_t> ttl_s;
  int priority = 3;
  bool asks_for_device = false;
};

asio::awaitable<PushService::Verdict> PushService::serve(std::shared_ptr<HttpsRequest> request, std::shared_ptr<SimClock::Busy> busy) {
  Verdict verdict;
  if (Channel* channel = channels_.find(request->server_name, request->target)) {
    verdict.pfn = channel->pfn;
    verdict.device = channel->owner;
  }
  const auto fault = faults_.draw(false, request->server_name, verdict.pfn, verdict.device);
  // Judged when the answer leaves: what happens to the channel meanwhile counts (late_410_race).
  std::int64_t delay_ms = fault ? fault->delay_ms : 0;
  if (Channel* channel = channels_.find(request->server_name, request->target)) delay_ms += channel->delay_ms;
  if (delay_ms > 0) co_await clock_.sleep(std::chrono::milliseconds(delay_ms), *busy);

  if (fault && fault->kind != "delay") {
    spoil(*fault, verdict);
    finish(*request, verdict, verdict.answer.status == 401 ? "simulated: token expired" : "");
  } else {
    judge(*request, verdict);
  }
  const std::string key = std::to_string(verdict.answer.status) + (verdict.word.empty() ? "" : " " + verdict.word);
  if (App* app = apps_.find(verdict.pfn.empty() ? verdict.token_pfn : verdict.pfn)) ++app->pushes[key];
  if (Channel* channel = channels_.find(request->server_name, request->target)) ++channel->pushes[key];
  co_return verdict;
}

void PushService::judge(const HttpsRequest& request, Verdict& verdict) {
  const auto end = [&](const char* why, unsigned status, const char* word, const std::string& description) {
    verdict.why = why;
    verdict.answer.status = status;
    verdict.answer.reason = reason_of(status);
    verdict.word = word;
    finish(request, verdict, description);
  };
  if (request.method != "POST") {
    verdict.answer.fields.emplace_back("Allow", "POST");
    return end("method", 405, "", "");
  }
  if (request.has_transfer_encoding)
    return end("chunked", static_cast<unsigned>(settings_.chunked_status), "dropped", "simulated: chunked bodies are not taken");
  const std::string_view authorization = request.field("Authorization");
  if (request.count("Authorization") != 1 || authorization.size() < 8 || !equals_ignoring_case(authorization.substr(0, 7), "Bearer ") ||
      authorization.find(' ', 7) != std::string_view::npos)
    return end("authorization", 401, "dropped", "simulated: no bearer token");
  Token* const token = apps_.live_token(authorization.substr(7));
  if (token == nullptr) return end("token", 401, "dropped", "simulated: token expired");
  ++token->pushes;
  verdict.token_pfn = token->pfn;
  Channel* const channel = channels_.find(request.server_name, request.target);
  if (channel == nullptr) return end("channel", 404, "", "");
  App* const sender = apps_.find(token->pfn);
  if (sender != nullptr && sender->blocked) {
    verdict.why = "blocked";
    verdict.answer.status = 410;
    verdict.answer.reason = "Domain Blocked";
    verdict.word = "dropped";
    return finish(request, verdict, "simulated: sending domain blocked");
  }
  if (channel->revoked) return end("revoked", 410, "revoked", "simulated: revoked channel");
  if (clock_.now_ms() >= channel->expires_ms) return end("expired", 410, "dropped", "simulated: channel expired");
  if (channel->pfn != token->pfn) return end("app_mismatch", 403, "dropped", "simulated: channel belongs to another app");
  Wish wish;
  std::string complaint;
  if (!read_headers(request, wish, complaint)) return end("headers", 400, "dropped", complaint);
  const std::uint64_t octets = request.body_left_unread ? body_octets_max + 1 : request.body.size();
  if (octets == 0) return end("empty", 400, "dropped", "simulated: the body is empty");
  if (octets > body_octets_max) return end("size", 413, "dropped", "");
  if (wish.asks_for_device) {
    const Receiver* receiver = channels_.receiver(channel->owner);
    verdict.device_word = receiver != nullptr && receiver->connected() ? "connected" : "disconnected";
  }
  if (sender != nullptr && app_holds_back(*sender, verdict)) return finish(request, verdict, verdict.answer.status == 429 ? "simulated: app is throttled" : "");
  if (ChannelThrottle& throttle = channel->throttle; throttle.window_s > 0) {
    const std::int64_t now = clock_.now_ms();
    if (throttle.in_window == 0 || now >= throttle.window_began_ms + throttle.window_s * 1000) throttle.window_began_ms = now, throttle.in_window = 0;
    if (++throttle.in_window > throttle.limit) return end("channel_limit", 200, "channelthrottled", "");
  }
  accept(*channel, wish, request, verdict);
  finish(request, verdict, "");
}

bool PushService::read_headers(const HttpsRequest& request, Wish& wish, std::string& complaint) {
  const auto no = [&](std::string text) {
    complaint = std::move(text);
    return false;
  };
  for (const char* name : {"X-WNS-Type", "Content-Type", "X-WNS-Cache-Policy", "X-WNS-TTL", "X-WNS-Priority", "X-WNS-Tag", "X-WNS-RequestForStatus"})
    if (request.count(name) > 1) return no(std::string("simulated: ") + name + " comes twice");
  const std::string_view type = request.field("X-WNS-Type");
  if (type != "wns/raw" && type != "wns/toast" && type != "wns/tile" && type != "wns/badge") return no("simulated: X-WNS-Type is missing or not known");
  wish.kind = std::string(type.substr(4));
  const std::string content = to_lower(trimmed(request.field("Content-Type").substr(0, request.field("Content-Type").find(';'))));
  if (content != (wish.kind == "raw" ? "application/octet-stream" : "text/xml"))
    return no(wish.kind == "raw" ? "simulated: the content type must be application/octet-stream" : "simulated: the content type must be text/xml");
  const std::string_view policy = request.field("X-WNS-Cache-Policy");
  if (request.count("X-WNS-Cache-Policy") > 0 && policy != "cache" && policy != "no-cache") return no("simulated: X-WNS-Cache-Policy is not known");
  // Raw is not kept unless it says so; the other kinds are (7.1).
  wish.cache = policy == "cache" || (policy.empty() && wish.kind != "raw");
  if (request.count("X-WNS-TTL") > 0) {
    const auto ttl = parse_number(request.field("X-WNS-TTL"));
    if (!ttl || *ttl > 0x7FFFFFFF) return no("simulated: X-WNS-TTL is no number of seconds");
    wish.ttl_s = static_cast<std::int64_t>(*ttl);
    if (*ttl == 0 && policy != "no-cache") return no("Ttl value conflicts with X-WNS-Cache-Policy.");
  }
  for (const std::string_view name : phone_only)
    if (request.count(name) > 0) return no("simulated: " + std::string(name) + " is for phones only");
  const std::string_view tag = request.field("X-WNS-Tag");
  if (tag.size() > 16 || !is_alphanumeric(tag)) return no("simulated: X-WNS-Tag is too long or not alphanumeric");
  if (request.count("X-WNS-Priority") > 0) {
    const std::string_view priority = request.field("X-WNS-Priority");
    if (priority.size() != 1 || priority[0] < '1' || priority[0] > '4') return no("simulated: X-WNS-PRIORITY is not 1 to 4");
    wish.priority = priority[0] - '0';
  } else {
    wish.priority = wish.kind == "raw" ? 3 : wish.kind == "toast" ? 1 : 2;
  }
  wish.asks_for_device = equals_ignoring_case(request.field("X-WNS-RequestForStatus"), "true");
  return true;
}

bool PushService::app_holds_back(App& app, Verdict& verdict) {
  AppThrottle& throttle = app.throttle;
  if (!throttle.on) return false;
  const std::int64_t now = clock_.now_ms();
  const auto hold_back = [&] {
    verdict.why = "app_limit";
    verdict.word = "appthrottled";
    verdict.answer.status = throttle.status;
    verdict.answer.reason = reason_of(throttle.status);
    const std::int64_t left_s = throttle.until_ms > now ? (throttle.until_ms - now + 999) / 1000 : throttle.retry_after_s;
    if (throttle.retry_after_s >= 0) verdict.answer.fields.emplace_back("Retry-After", std::to_string(left_s));
    return true;
  };
  if (throttle.until_ms > now) {
    ++app.early_pushes;
    return hold_back();
  }
  if (throttle.limit > 0 && throttle.window_s > 0) {
    if (now >= throttle.window_began_ms + throttle.window_s * 1000) throttle.window_began_ms = now, throttle.in_window = 0;
    if (++throttle.in_window <= throttle.limit) return false;
  } else if (throttle.until_ms > 0) {
    throttle.on = false;  // its time is over
    return false;
  }
  if (throttle.retry_after_s >= 0) throttle.until_ms = now + throttle.retry_after_s * 1000;
  return hold_back();
}

void PushService::accept(Channel& channel, const Wish& wish, const HttpsRequest& request, Verdict& verdict) {
  verdict.why = "ok";
  verdict.answer.reason = reason_of(200);
  verdict.word = "received";
  verdict.message_id = dice_.hex(16);
  Notification notification;
  notification.kind = wish.kind;
  notification.content_type = std::string(request.field("Content-Type"));
  notification.body = request.body;
  notification.message_id = verdict.message_id;
  notification.priority = wish.priority;
  notification.received_ms = clock_.now_ms();
  notification.ttl_s = wish.ttl_s;
  if (Receiver* receiver = channels_.receiver(channel.owner); receiver != nullptr && receiver->connected()) {
    channels_.hand_over(channel, notification, *receiver);
  } else if (wish.cache) {
    if (!channel.cached.insert_or_assign(wish.kind, std::move(notification)).second) ++channel.replaced;
  } else {
    verdict.word = "dropped";
  }
}

void PushService::spoil(const Fault& fault, Verdict& verdict) {
  verdict.why = "fault";
  HttpsAnswer& answer = verdict.answer;
  if (fault.kind == "close") answer.then = Then::drop;
  if (fault.kind == "stall") answer.then = Then::stall;
  if (fault.kind == "garbage") answer.instead = "220 mail.example ESMTP\r\n";
  if (fault.kind == "cut") answer.instead = "HTTP/1.1 200 OK\r\nX-WNS-STATUS: recei";
  if (fault.kind == "huge_header")
    answer.instead = "HTTP/1.1 200 OK\r\nX-WNS-ERROR-DESCRIPTION: " + std::string(static_cast<std::size_t>(fault.bytes), 'x') + "\r\n\r\n";
  if (fault.kind == "no_length") answer.instead = "HTTP/1.1 200 OK\r\nX-WNS-STATUS: received\r\n\r\nwithout an end";
  if (fault.kind == "huge_body") answer.body = std::string(static_cast<std::size_t>(fault.bytes), ' ');
  answer.status = fault.status == 0 ? 200 : fault.status;
  answer.reason = fault.reason.empty() ? reason_of(answer.status) : fault.reason;
  answer.fields = fault.fields;
  if (answer.status / 100 == 3) answer.fields.emplace_back("Location", fault.location.empty() ? "https://attacker.example/collect" : fault.location);
  if (fault.retry_after_s >= 0) answer.fields.emplace_back("Retry-After", std::to_string(fault.retry_after_s));
  verdict.device_word = fault.device_word;
  if (!fault.word.empty()) {
    verdict.word = fault.word;
  } else if (answer.status == 406 || answer.status == 429) {
    verdict.word = "appthrottled";
  } else if (answer.status == 200) {
    verdict.word = "received";
  } else if (answer.status == 400 || answer.status == 401 || answer.status == 403 || answer.status == 410 || answer.status == 413) {
    verdict.word = "dropped";
  }
  if (verdict.word == "-") verdict.word.clear();  // a test wants none
}

// What every answer carries, in the order real ones were seen to have (6.1).
void PushService::finish(const HttpsRequest& request, Verdict& verdict, const std::string& description) {
  HttpsAnswer& answer = verdict.answer;
  HttpFields fields = std::move(answer.fields);
  const auto put = [&](const char* name, std::string value) { fields.emplace_back(name, std::move(value)); };
  if (answer.status == 401) put("WWW-Authenticate", "Bearer");
  if (!verdict.word.empty()) {
    if (settings_.status_headers != "new") put("X-WNS-NOTIFICATIONSTATUS", verdict.word);
    if (settings_.status_headers != "legacy") put("X-WNS-STATUS", verdict.word);
  }
  if (!verdict.device_word.empty()) put("X-WNS-DEVICECONNECTIONSTATUS", verdict.device_word);
  if (!description.empty()) put("X-WNS-ERROR-DESCRIPTION", description);
  if (answer.status == 400) put("mise-correlation-id", dice_.guid());
  if (verdict.message_id.empty()) verdict.message_id = dice_.hex(16);
  put("X-WNS-MSG-ID", verdict.message_id);
  char trace[32];
  std::snprintf(trace, sizeof trace, "SIMPE%06llu", static_cast<unsigned long long>(++trace_));
  put("X-WNS-DEBUG-TRACE", trace);
  const std::string_view vector = request.field("MS-CV");
  put("MS-CV", !vector.empty() ? std::string(vector) : to_base64(dice_.bytes(16)).substr(0, 22) + ".0");
  put("Strict-Transport-Security", "max-age=31536000; includeSubDomains");
  answer.fields = std::move(fields);

  const auto warn = [&](bool when, const char* text) {
    if (when) verdict.warnings.emplace_back(text);
  };
  warn(request.expects_continue, "Expect costs a round trip (5)");
  warn(request.offered_h2, "HTTP/2 was offered (5)");
  warn(!vector.empty() && !is_correlation_vector(vector), "MS-CV has no known form (5)");
  warn(request.count("X-WNS-Tag") > 0, "a tag on a push that is no tile (5)");
  const auto ttl = parse_number(request.field("X-WNS-TTL"));
  warn(ttl && *ttl > 0 && *ttl < 60, "a TTL below a minute is hardly ever delivered (5)");
  const std::string host = to_lower(request.field("Host"));
  warn(host != request.server_name && host != request.server_name + ":443", "Host is not the name of the handshake (5)");
}

}  // namespace greengate::sim::wns
