#include "simulators/wns/wns.h"

#include "simulators/common/text.h"

#include <boost/asio/ssl.hpp>

#include <openssl/ssl.h>

#include <cstdio>

namespace greengate::sim::wns {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
namespace ssl = asio::ssl;
constexpr std::size_t lines_kept = 100'000;

bool is_push_host(std::string_view name) {
  return name == push_domain || name.ends_with("." + std::string(push_domain));
}

std::string status_line_and_head(const HttpsAnswer& answer) {
  if (!answer.instead.empty()) return answer.instead;
  std::string text = "HTTP/1.1 " + std::to_string(answer.status) + ' ' + answer.reason + "\r\n";
  for (const auto& [name, value] : answer.fields) text += name + ": " + value + "\r\n";
  return text + "\r\n" + answer.body;
}

}  // namespace

/// Counts what it gets.
class Service::Pretender final : public Receiver {
 public:
  bool online = true;
  std::uint64_t delivered = 0;
  bool connected() const override { return online; }
  void deliver(const Notification&) override { ++delivered; }
};

Service::Service(asio::io_context& io, SimClock& clock, Dice& dice, Settings& settings)
    : clock_(clock),
      settings_(settings),
      apps_(clock, dice, settings),
      channels_(clock, dice, settings),
      tokens_(clock, dice, settings, apps_, faults_),
      pushes_(clock, dice, settings, apps_, channels_, faults_),
      listener_(io, clock, settings.listener, [this](const std::string& name) { return receive(name); },
                [this](std::shared_ptr<HttpsRequest> request, std::shared_ptr<SimClock::Busy> busy) { return serve(std::move(request), std::move(busy)); }),
      evidence_(settings.dir, "wns-requests", settings.evidence),
      legacy_(ssl::context::tls_server), entra_(ssl::context::tls_server), push_(ssl::context::tls_server),
      wrong_name_(ssl::context::tls_server), expired_(ssl::context::tls_server), foreign_(ssl::context::tls_server) {}

Service::~Service() = default;

Result<void> Service::prepare(ssl::context& context, const Issued& identity) {
  SSL_CTX* const native = context.native_handle();
  if (SSL_CTX_use_certificate(native, identity.certificate.get()) != 1 || SSL_CTX_use_PrivateKey(native, identity.key.get()) != 1)
    return fail(Remedy::retry, "authority.make", "A certificate of the push service cannot be used.");
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  prefer_http11(context);
  return {};
}

Result<void> Service::start(const Authority& authority) {
  const std::string everywhere = "*." + std::string(push_domain);
  struct Row {
    ssl::context* context;
    std::vector<std::string> names;
    Authority::State state = Authority::State::valid;
  };
  const std::vector<Row> rows{{&legacy_, {legacy_host}},
                              {&entra_, {entra_host}},
                              {&push_, {everywhere, push_domain}},
                              {&wrong_name_, {"notify.attacker.example"}},
                              {&expired_, {everywhere, push_domain, legacy_host, entra_host}, Authority::State::expired}};
  for (const Row& row : rows) {
    auto identity = authority.server(row.names, row.state);
    if (!identity) return pass(identity);
    if (auto prepared = prepare(*row.context, *identity); !prepared) return prepared;
  }
  auto other = Authority::open(settings_.dir, "untrusted-ca", "Somebody else's authority");
  if (!other) return pass(other);
  auto identity = other->server({everywhere, push_domain, legacy_host, entra_host});
  if (!identity) return pass(identity);
  if (auto prepared = prepare(foreign_, *identity); !prepared) return prepared;
  if (auto opened = evidence_.open(); !opened) return opened;
  return listener_.start();
}

void Service::stop() {
  listener_.stop();
}

Reception Service::receive(const std::string& name) {
  Reception reception;
  ++connects_[name];
  reception.context = name == legacy_host ? &legacy_ : name == entra_host ? &entra_ : is_push_host(name) ? &push_ : nullptr;
  const auto fault = faults_.draw_connection(name);
  if (!fault || reception.context == nullptr) return reception;
  if (fault->kind == "connect_timeout") reception.black_hole = true;
  if (fault->kind == "wrong_name") reception.context = &wrong_name_;
  if (fault->kind == "expired_certificate") reception.context = &expired_;
  if (fault->kind == "foreign_certificate") reception.context = &foreign_;
  if (fault->kind == "refuse") reception.context = nullptr;
  return reception;
}

asio::awaitable<HttpsAnswer> Service::serve(std::shared_ptr<HttpsRequest> request, std::shared_ptr<SimClock::Busy> busy) {
  json::object facts{{"time_ms", clock_.now_ms()}};
  if (is_push_host(request->server_name)) {
    PushService::Verdict verdict = co_await pushes_.serve(request, busy);
    facts["kind"] = "push";
    facts["why"] = verdict.why;
    facts["word"] = verdict.word;
    facts["device_word"] = verdict.device_word;
    facts["pfn"] = verdict.pfn;
    facts["token_pfn"] = verdict.token_pfn;
    facts["device"] = verdict.device;
    facts["message_id"] = verdict.message_id;
    facts["channel"] = fingerprint("https://" + request->server_name + request->target);
    json::array warnings;
    for (const std::string& each : verdict.warnings) warnings.emplace_back(each);
    facts["warnings"] = std::move(warnings);
    note(*request, verdict.answer, std::move(facts));
    co_return verdict.answer;
  }
  TokenService::Verdict verdict = co_await tokens_.serve(request, busy);
  facts["kind"] = "token";
  facts["result"] = verdict.result;
  facts["pfn"] = verdict.pfn;
  facts["scope"] = verdict.scope;
  facts["client"] = verdict.client_id.empty() ? "" : fingerprint(verdict.client_id);
  note(*request, verdict.answer, std::move(facts));
  co_return verdict.answer;
}

void Service::note(const HttpsRequest& request, const HttpsAnswer& answer, json::object facts) {
  const std::uint64_t number = ++last_number_;
  json::object line{{"number", number}};
  for (auto& member : facts) line[member.key()] = member.value();
  line["host"] = request.server_name;
  line["method"] = request.method.substr(0, 32);
  line["status"] = answer.then == HttpsAnswer::Then::drop || answer.then == HttpsAnswer::Then::stall ? 0 : answer.status;
  line["connection"] = request.connection;
  line["nth"] = request.nth;
  line["body_octets"] = request.body.size();
  if (const std::string_view token = request.field("Authorization"); !token.empty()) line["token"] = fingerprint(token);
  json::object headers;
  for (const auto& [name, value] : request.fields)
    if (!equals_ignoring_case(name, "authorization") && !equals_ignoring_case(name, "host")) headers[to_lower(name).substr(0, 64)] = value.substr(0, 256);
  line["headers"] = std::move(headers);
  char name[64];
  std::snprintf(name, sizeof name, "%06llu-request.http", static_cast<unsigned long long>(number));
  evidence_.keep(name, request.raw);
  std::snprintf(name, sizeof name, "%06llu-answer.http", static_cast<unsigned long long>(number));
  evidence_.keep(name, status_line_and_head(answer));
  evidence_.append_line(json::serialize(line));
  lines_.push_back({number, std::move(line)});
  if (lines_.size() > lines_kept) lines_.pop_front();
}

json::object Service::counters() const {
  const auto counted = [](const std::map<std::string, std::uint64_t>& map) {
    json::object out;
    for (const auto& [name, count] : map) out[name] = count;
    return out;
  };
  json::object apps, tokens, channels;
  for (const auto& [pfn, app] : apps_.all())
    apps[pfn] = json::object{{"token_requests", counted(app.token_requests)}, {"tokens", app.tokens}, {"pushes", counted(app.pushes)},
                             {"early_pushes", app.early_pushes}};
  for (const auto& [value, token] : apps_.tokens())
    tokens[fingerprint("Bearer " + value)] = json::object{{"pfn", token.pfn}, {"pushes", token.pushes}, {"ended", token.ended}, {"expires_ms", token.expires_ms}};
  for (const auto& channel : channels_.all())
    channels[std::to_string(channel->number)] =
        json::object{{"device", channel->owner}, {"pushes", counted(channel->pushes)}, {"deliveries", channel->deliveries},
                     {"replaced", channel->replaced}, {"lapsed", channel->lapsed}};
  const HttpsListener::Counters& c = listener_.counters();
  return {{"apps", std::move(apps)}, {"tokens", std::move(tokens)}, {"channels", std::move(channels)},
          {"connections", json::object{{"opened", c.connections}, {"handshakes", c.handshakes}, {"requests", c.requests}, {"pipelined", c.pipelined},
                                       {"black_holed", c.black_holed}, {"refused", c.refused}, {"by_name", counted(connects_)}}}};
}

void Service::pretend(const std::string& owner, bool connected) {
  auto& pretender = pretenders_[owner];
  if (!pretender) {
    pretender = std::make_unique<Pretender>();
    channels_.attach(owner, pretender.get());
  }
  const bool back = connected && !pretender->online;
  pretender->online = connected;
  if (back) channels_.reconnected(owner);
}

}  // namespace greengate::sim::wns
