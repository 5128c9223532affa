#include "simulators/windows/windows.h"

#include "simulators/common/text.h"

#include <boost/asio.hpp>

#include <fstream>
#include <sstream>

namespace greengate::sim {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
constexpr std::int64_t advance_max_s = 400LL * 86'400;

WindowsSettings spread(WindowsSettings settings) {
  settings.wns.dir = settings.mdm.dir = settings.dir;
  settings.wns.evidence = settings.mdm.evidence = settings.evidence;
  return settings;
}

}  // namespace

Windows::Windows(asio::io_context& io, WindowsSettings settings)
    : io_(io),
      settings_(spread(std::move(settings))),
      clock_(io, settings_.clock_mode, settings_.start),
      dice_(settings_.seed),
      wns_(io, clock_, dice_, settings_.wns),
      fleet_(io, clock_, dice_, settings_.mdm, wns_.apps(), wns_.channels(), settings_.seed) {
  plan_wns_verbs();
  plan_device_verbs();
}

Result<void> Windows::start() {
  auto authority = Authority::open(settings_.dir, "wns-ca", "Simulated push service authority");
  if (!authority) return pass(authority);
  authority_ = std::move(*authority);
  if (auto read = read_apps(); !read) return read;
  if (settings_.with_wns)
    if (auto started = wns_.start(*authority_); !started) return started;
  if (!settings_.with_devices) return {};
  if (auto started = fleet_.start(); !started) return started;
  mdm::Fleet::Birth birth;
  birth.host = settings_.host;
  for (std::uint64_t i = 1; i <= settings_.devices; ++i) {
    auto device = fleet_.enroll(settings_.prefix + std::to_string(i), birth);
    if (!device) return pass(device);
    // Not all in the same moment: fifty a second.
    clock_.after(std::chrono::milliseconds(20 * i), [one = *device] { one->start_session("enroll"); });
  }
  return fleet_.write_list();
}

void Windows::stop() {
  fleet_.stop();
  wns_.stop();
}

void Windows::describe(json::object& ready) const {
  const auto full = [](const std::filesystem::path& path) {
    std::error_code ignored;
    return std::filesystem::absolute(path, ignored).string();
  };
  if (settings_.with_wns) ready["wns_port"] = wns_.port();
  ready["wns_ca"] = full(settings_.dir / "wns-ca.pem");
  ready["apps"] = full(settings_.dir / "apps.json");
  if (!settings_.with_devices) return;
  ready["device_ca"] = full(settings_.dir / "device-ca.pem");
  ready["enrolments"] = full(fleet_.list_file());
}

Result<void> Windows::read_apps() {
  if (settings_.apps_file.empty()) {
    wns_.apps().open("fabrikam.wakebridge_0ab1cd2ef3gh4", "legacy");
    return write_apps();
  }
  std::ifstream in(settings_.apps_file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  json::error_code error;
  const json::value value = json::parse(text.str(), error);
  const auto wrong = [&](const std::string& what) {
    return fail(Remedy::reject, "windows.apps", "The file " + settings_.apps_file + ": " + what);
  };
  const json::value* list = value.is_object() ? value.as_object().if_contains("apps") : &value;
  if (!in || error || list == nullptr || !list->is_array()) return wrong("it is no JSON list of apps.");
  for (const json::value& each : list->as_array()) {
    if (!each.is_object()) return wrong("an app is no object.");
    Fields f(each.as_object());
    const std::string auth = f.text("auth", "legacy");
    wns::App& app = wns_.apps().open(f.text("pfn"), auth);
    app.client_id = f.text("client_id", app.client_id);
    app.tenant = f.text("tenant", app.tenant);
    if (f.has("client_secret")) app.secrets = {f.text("client_secret")};
    app.closed = f.flag("closed");
    if (app.pfn.empty() || (auth != "legacy" && auth != "entra"))
      return wrong("an app needs a pfn, and auth \"legacy\" or \"entra\".");
    if (const std::string complaint = f.complaint(); !complaint.empty()) return wrong(complaint);
  }
  return write_apps();
}

Result<void> Windows::write_apps() {
  json::array list;
  for (const auto& [pfn, app] : wns_.apps().all())
    list.push_back(json::object{{"pfn", pfn},
                                {"auth", app.auth},
                                {"client_id", app.client_id},
                                {"client_secret", app.secrets.front()},
                                {"tenant", app.tenant},
                                {"closed", app.closed}});
  return write_private(settings_.dir / "apps.json", json::serialize(json::object{{"apps", std::move(list)}}) + "\n");
}

void Windows::refuse(Answer& answer, unsigned status, const char* code, const std::string& text) {
  answer.status = status;
  answer.body = {{"code", code}, {"text", text}};
}

asio::awaitable<AdminReply> Windows::admin(AdminRequest request) {
  if (request.path == "/windows/do" && request.method == "POST") {
    json::error_code error;
    const json::value value = json::parse(request.body, error);
    if (error || !value.is_object() || !value.as_object().contains("do")) {
      AdminReply reply = admin_error(400, "verb.syntax", "The body is no JSON object with a member \"do\".");
      co_return reply;
    }
    json::object wish = value.as_object();
    AdminReply reply = co_await carry_out(std::move(wish));
    co_return reply;
  }
  if (request.method != "GET") {
    AdminReply reply = admin_error(404, "admin.path", "Verbs go to POST /windows/do; everything else is read with GET.");
    co_return reply;
  }
  AdminReply reply = show(request.path.substr(std::string("/windows").size()), request.query);
  co_return reply;
}

asio::awaitable<AdminReply> Windows::carry_out(json::object wish) {
  const std::string name = wish.at("do").is_string() ? std::string(wish.at("do").as_string()) : "";
  if (name == "clock.advance") {
    AdminReply reply = co_await advance(std::move(wish));
    co_return reply;
  }
  const auto verb = verbs_.find(name);
  if (verb == verbs_.end()) {
    AdminReply reply = admin_error(404, "verb.unknown", "There is no verb \"" + name + "\".");
    co_return reply;
  }
  Answer answer;
  {
    Fields in(wish);
    in.has("do");
    in.has("why");
    const bool wait = in.flag("wait", true);
    verb->second(in, answer);
    answer.settle = answer.settle && wait;
    if (const std::string complaint = in.complaint(); !complaint.empty() && answer.status == 200)
      refuse(answer, 400, "verb.syntax", complaint);
  }
  if (answer.settle && answer.status == 200) {
    const bool rested = co_await clock_.settle();
    answer.body["settled"] = rested;
  }
  if (answer.session) answer.body["session"] = answer.session->view();
  if (auto written = fleet_.write_list(); settings_.with_devices && !written)
    refuse(answer, 500, written.error().code, written.error().message);
  AdminReply reply(answer.status, json::serialize(answer.body));
  co_return reply;
}

asio::awaitable<AdminReply> Windows::advance(json::object wish) {
  Fields in(wish);
  in.has("do");
  in.has("why");
  std::int64_t to = clock_.now_ms() + static_cast<std::int64_t>(in.real("s") * 1000 + in.real("minutes") * 60'000 +
                                                                in.real("hours") * 3'600'000 + in.real("days") * 86'400'000);
  const std::string where = in.text("to"), name = in.text("device");
  std::string complaint = in.complaint();
  if (where == "next_poll") {
    // Of one device, or the earliest of all.
    to = 0;
    for (const auto& [each, device] : fleet_.all())
      if ((name.empty() || each == name) && device->next_poll_ms() > 0 && (to == 0 || device->next_poll_ms() < to))
        to = device->next_poll_ms();
    if (to == 0) complaint = "Nobody has a poll ahead.";
  } else if (!where.empty()) {
    const auto time = parse_iso_utc(where);
    if (!time) complaint = "\"to\" is next_poll or a time such as 2026-01-15T10:00:00Z.";
    if (time) to = to_millis(*time);
  }
  if (complaint.empty() && to > clock_.now_ms() + advance_max_s * 1000) complaint = "At most 400 days at a time.";
  if (!complaint.empty()) {
    AdminReply reply = admin_error(400, "verb.syntax", complaint);
    co_return reply;
  }
  const bool rested = co_await clock_.advance_to(to);
  if (auto written = fleet_.write_list(); settings_.with_devices && !written) {
    AdminReply reply = admin_error(500, written.error().code, written.error().message);
    co_return reply;
  }
  AdminReply reply(200, json::serialize(json::object{
                            {"ok", true}, {"settled", rested}, {"now_ms", clock_.now_ms()}, {"now", to_iso_utc(clock_.wall())}}));
  co_return reply;
}

AdminReply Windows::show(const std::string& path, const std::string& query) {
  std::uint64_t since = 0;
  if (query.starts_with("since=")) since = parse_number(query.substr(6)).value_or(0);
  if (path == "/clock")
    return {200, json::serialize(json::object{{"now_ms", clock_.now_ms()},
                                              {"now", to_iso_utc(clock_.wall())},
                                              {"mode", clock_.mode() == SimClock::Mode::held ? "held" : "running"}})};
  if (path == "/counters") return {200, json::serialize(wns_.counters())};
  if (path == "/faults") return {200, json::serialize(json::object{{"faults", wns_.faults().view()}})};
  if (path == "/requests") {
    json::array lines;
    for (const auto& line : wns_.lines())
      if (line.number > since) lines.push_back(line.facts);
    return {200, json::serialize(json::object{{"requests", std::move(lines)}, {"last", wns_.last_number()}})};
  }
  if (path == "/deliveries") {
    json::array out;
    for (const auto& each : wns_.channels().deliveries())
      out.push_back(json::object{{"time_ms", each.time_ms},
                                 {"device", each.owner},
                                 {"channel", each.channel},
                                 {"message_id", each.message_id},
                                 {"from_cache", each.from_cache},
                                 {"body_sha256", fingerprint(each.body)}});
    return {200, json::serialize(json::object{{"deliveries", std::move(out)}})};
  }
  if (path == "/apps") {
    json::array out;
    for (const auto& [pfn, app] : wns_.apps().all())
      out.push_back(json::object{{"pfn", pfn},
                                 {"auth", app.auth},
                                 {"client_id", app.client_id},
                                 {"tenant", app.tenant},
                                 {"client_secret", app.secrets.front()},
                                 {"closed", app.closed},
                                 {"blocked", app.blocked},
                                 {"revoked", app.revoked},
                                 {"throttled", app.throttle.on},
                                 {"throttled_until_ms", app.throttle.until_ms},
                                 {"early_pushes", app.early_pushes}});
    return {200, json::serialize(json::object{{"apps", std::move(out)}})};
  }
  if (path == "/channels") {
    json::array out;
    for (const auto& each : wns_.channels().all())
      out.push_back(json::object{{"number", each->number},
                                 {"device", each->owner},
                                 {"pfn", each->pfn},
                                 {"uri", each->uri},
                                 {"created_ms", each->created_ms},
                                 {"expires_ms", each->expires_ms},
                                 {"revoked", each->revoked},
                                 {"cached", each->cached.size()},
                                 {"deliveries", each->deliveries}});
    return {200, json::serialize(json::object{{"channels", std::move(out)}})};
  }
  if (path == "/devices") {
    json::array out;
    for (const auto& [name, device] : fleet_.all()) out.push_back(device->view());
    return {200, json::serialize(json::object{{"devices", std::move(out)}})};
  }
  if (path.starts_with("/devices/")) {
    std::string name = path.substr(9);
    const bool sessions = name.ends_with("/sessions");
    if (sessions) name.resize(name.size() - 9);
    const auto device = fleet_.find(name);
    if (!device) return admin_error(404, "device.unknown", "There is no device \"" + name + "\".");
    if (!sessions) return {200, json::serialize(device->view())};
    json::array out;
    for (const auto& record : device->sessions())
      if (record->number > since) out.push_back(record->view());
    return {200, json::serialize(json::object{{"sessions", std::move(out)}})};
  }
  return admin_error(404, "admin.path", "There is nothing at /windows" + path + ".");
}

}  // namespace greengate::sim
