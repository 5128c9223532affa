#include "gateway/admin.h"

#include "core/random.h"
#include "gateway/admin_json.h"
#include "gateway/enrolment_token.h"
#include "gateway/explain.h"
#include "gateway/report_words.h"

#include <boost/json.hpp>

#include <algorithm>

namespace greengate::gateway {
namespace {

namespace json = boost::json;
using std::chrono::hours;

constexpr std::uint32_t reports_shown_max = 10'000;

}  // namespace

Admin::Admin(store::DeviceRegistry& devices, store::ReportQueue& reports, const Clock& clock, House house)
    : devices_(devices),
      reports_(reports),
      clock_(clock),
      house_(std::move(house)),
      dead_letters_(devices, reports, house_.replayer, house_.message_of),
      started_(clock.wall()) {}

AdminReply Admin::answer(const AdminCall& call) {
  const std::vector<std::string> path = split_path(call.target);
  const auto is = [&](std::size_t parts, const char* second) {
    return path.size() == parts && path[0] == "v1" && path[1] == second;
  };
  const bool get = call.method == "GET", post = call.method == "POST", remove = call.method == "DELETE";

  if (is(2, "status") && get) return status();
  if (is(2, "agents") && get) return agents();
  if (is(3, "classes") && get && house_.class_shape) {
    const auto shape = house_.class_shape(path[2]);
    return shape ? ok(*shape) : problem(shape.error());
  }
  if (is(2, "tokens") && get) return tokens();
  if (is(2, "tokens") && post) return create_token(call.body);
  if (is(3, "tokens") && remove) return revoke_token(path[2]);
  if (path.size() >= 2 && path[0] == "v1" && path[1] == "dead-letters") {
    std::optional<AgentId> agent;
    if (const auto name = query_text(call.target, "agent")) {
      const auto device = find_agent(*name);
      if (!device) return problem(device.error());
      agent = device->id;
    }
    if (auto reply = dead_letters_.answer(call, path, agent)) return *reply;
  }
  if (house_.notifications && path.size() >= 2 && path[0] == "v1" && path[1] == "notifications") {
    if (auto reply = house_.notifications->answer(call, path, [this](const std::string& name) { return find_agent(name); })) return *reply;
  }
  if (is(3, "agents") || is(4, "agents")) {
    const auto device = find_agent(path[2]);
    if (!device) return problem(device.error());
    if (path.size() == 3 && get) return agent(*device);
    if (path.size() == 4 && path[3] == "reports" && get) {
      return reports(*device, std::min(static_cast<std::uint32_t>(query_number(call.target, "count").value_or(20)), reports_shown_max));
    }
    if (path.size() == 4 && path[3] == "explain" && get) return explained(*device);
    if (path.size() == 4 && path[3] == "approve" && post) return change_state(*device, store::DeviceState::active);
    if (path.size() == 4 && path[3] == "rotate-key" && post) {
      if (auto begun = house_.rotate_key(device->id); !begun) return problem(begun.error());
      return agent(*device);
    }
    if (path.size() == 4 && path[3] == "revoke" && post) return change_state(*device, store::DeviceState::revoked);
  }
  for (const char* known : {"status", "agents", "tokens", "dead-letters", "classes", "notifications"}) {
    if (path.size() >= 2 && path[0] == "v1" && path[1] == known) {
      return problem(405, "admin.method", call.method + " " + call.target + " is not something that can be asked.");
    }
  }
  return problem(404, "admin.not_found", "there is nothing at " + call.target + ".");
}

AdminReply Admin::status() const {
  std::uint64_t pending = 0, active = 0, revoked = 0, connected = 0, ready = 0;
  devices_.for_each([&](const store::Device& device) {
    if (device.state == store::DeviceState::pending) ++pending;
    if (device.state == store::DeviceState::revoked) ++revoked;
    if (device.state != store::DeviceState::active) return;
    ++active;
    if (device.site.state == store::IdentityState::ready) ++ready;
    if (house_.connected(device.id)) ++connected;
  });
  const store::QueueStats queue = reports_.stats();
  const PushCounts pushes = house_.pushes();
  json::array points;
  for (const workers::MpHealth& mp : house_.management_points()) {
    json::array types;
    for (const workers::TypeHealth& type : mp.types) {
      types.push_back(json::object{{"type", adapters::name_of(type.type)}, {"state", type.state},
                                   {"rest_left_ms", type.rest_left.count()}, {"concurrency", type.concurrency},
                                   {"in_flight", type.in_flight}, {"latency_ms", type.latency.count()},
                                   {"usual_latency_ms", type.usual_latency.count()}, {"slowed", type.slowed}});
    }
    points.push_back(json::object{{"name", mp.name}, {"resting", mp.resting}, {"rest_left_ms", mp.rest_left.count()},
                                  {"in_flight", mp.in_flight}, {"answered", mp.answered}, {"failed", mp.failed},
                                  {"last_code", mp.last_code}, {"state", mp.state}, {"types", types}});
  }
  json::array pacing;
  for (const workers::BudgetHealth& budget : house_.pacing ? house_.pacing() : std::vector<workers::BudgetHealth>{}) {
    pacing.push_back(json::object{{"type", adapters::name_of(budget.type)}, {"budget", budget.budget}, {"left", budget.left},
                                  {"next_in_ms", budget.next_in.count()}, {"sent", budget.sent}});
  }
  json::array roles;
  for (const std::string& role : house_.roles) roles.push_back(json::value(role));
  const WallTime now = clock_.wall();
  return ok(json::object{
      {"version", GREENGATE_VERSION},
      {"started_at_ms", to_millis(started_)},
      {"now_ms", to_millis(now)},
      {"roles", roles},
      {"agent_endpoint", house_.agent_endpoint()},
      {"gateway_key", house_.gateway_key()},
      {"agents", json::object{{"active", active}, {"pending", pending}, {"revoked", revoked}, {"connected", connected},
                              {"ready_at_site", ready}}},
      {"queue", json::object{{"waiting", queue.waiting}, {"waiting_bytes", queue.waiting_bytes}, {"leased", queue.leased},
                             {"held_devices", queue.held_devices}, {"oldest_waiting_ms", time_or_null(queue.oldest_waiting)},
                             {"kept_total", queue.kept_total}, {"delivered_total", queue.delivered_total},
                             {"superseded_total", queue.superseded_total}, {"expired_total", queue.expired_total},
                             {"buried_total", queue.buried_total}, {"buried", queue.buried}, {"damaged", queue.damaged}}},
      {"management_points", points},
      {"pacing", pacing},
      {"notifications", json::object{{"sessions_online", house_.sessions_online()}, {"received", pushes.received},
                                     {"accepted", pushes.accepted}, {"failed", pushes.failed},
                                     {"unknown_task", pushes.unknown}, {"unanswered", pushes.unanswered}}}});
}

namespace {

json::object describe(const store::Device& device, bool connected) {
  return json::object{
      {"id", device.id.raw()},
      {"host_name", device.host_name},
      {"fqdn", device.fqdn},
      {"operating_system", device.operating_system},
      {"agent_version", device.agent_version},
      {"state", name_of(device.state)},
      {"connected", connected},
      {"enrolled_by", device.enrolled_by},
      {"enrolled_at_ms", time_or_null(device.enrolled_at)},
      {"last_seen_ms", time_or_null(device.last_seen)},
      {"site", json::object{{"state", name_of(device.site.state)}, {"sms_id", device.site.sms_id.raw()},
                            {"since_ms", time_or_null(device.site.state_since)}, {"last_code", device.site.last_code}}}};
}

}  // namespace

AdminReply Admin::agents() const {
  json::array all;
  devices_.for_each([&](const store::Device& device) { all.push_back(describe(device, house_.connected(device.id))); });
  return ok(json::object{{"agents", all}});
}

AdminReply Admin::agent(const store::Device& device) const {
  json::object described = describe(device, house_.connected(device.id));
  described["key"] = device.key.raw();
  described["session"] = house_.session(device.id);
  return ok(described);
}

AdminReply Admin::reports(const store::Device& device, std::uint32_t count_max) {
  auto traces = reports_.trace(device.id, count_max);
  if (!traces) return problem(traces.error());
  json::array all;
  for (const store::ReportTrace& trace : *traces) {
    all.push_back(json::object{{"incarnation", trace.name.incarnation}, {"sequence", trace.name.sequence},
                               {"kind", kind_name(trace.kind)}, {"bytes", trace.bytes}, {"state", name_of(trace)},
                               {"collected_at_ms", to_millis(trace.collected_at)}, {"stored_at_ms", to_millis(trace.kept_at)},
                               {"settled_at_ms", time_or_null(trace.settled_at)}, {"attempts", trace.attempts},
                               {"code", trace.code}, {"message", trace.message}, {"tracking", trace.tracking}});
  }
  return ok(json::object{{"agent", device.id.raw()}, {"host_name", device.host_name}, {"reports", all}});
}

AdminReply Admin::explained(const store::Device& device) {
  json::object about = describe(device, house_.connected(device.id));
  about["key"] = device.key.raw();
  about["session"] = house_.session(device.id);
  auto explanation = explain_reports(reports_, device.id);
  if (!explanation) return problem(explanation.error());
  for (auto& [name, value] : *explanation) about[name] = std::move(value);
  for (const auto& [name, details] : house_.details) about[name] = details(device.id);
  about["now_ms"] = to_millis(clock_.wall());
  return ok(about);
}

AdminReply Admin::change_state(const store::Device& device, store::DeviceState state) {
  if (device.state == store::DeviceState::revoked && state == store::DeviceState::active) {
    return problem(409, "admin.revoked", "a revoked agent cannot be approved again; enrol it anew with a new key.");
  }
  auto changed = devices_.set_state(device.id, state);
  if (!changed) return problem(changed.error());
  house_.state_changed(device.id, state);
  return agent(*changed);
}

AdminReply Admin::tokens() const {
  json::array all;
  const WallTime now = clock_.wall();
  for (const store::Token& token : devices_.tokens()) {
    const char* state = token.revoked                   ? "revoked"
                        : token.expires_at <= now       ? "expired"
                        : token.uses >= token.uses_max  ? "spent"
                                                        : "usable";
    all.push_back(json::object{{"id", token.id}, {"note", token.note}, {"state", state}, {"uses", token.uses},
                               {"uses_max", token.uses_max}, {"created_at_ms", to_millis(token.created_at)},
                               {"expires_at_ms", to_millis(token.expires_at)}});
  }
  return ok(json::object{{"tokens", all}});
}

AdminReply Admin::create_token(const std::string& body) {
  std::int64_t uses_max = 1, life_s = 24 * 3600;
  std::string note;
  if (!body.empty()) {
    auto parsed = body_object(body);
    if (!parsed) return problem(parsed.error());
    const json::object* object = &*parsed;
    const auto number = [&](const char* key, std::int64_t& into) {
      const json::value* value = object->if_contains(key);
      if (!value) return true;
      if (const std::int64_t* whole = value->if_int64()) {
        into = *whole;
        return true;
      }
      return false;
    };
    if (!number("uses_max", uses_max) || uses_max < 1 || uses_max > 1'000'000) {
      return problem(400, "admin.bad_request", "uses_max takes a whole number from 1 to 1000000.");
    }
    if (!number("life_s", life_s) || life_s < 1 || life_s > 366 * 86'400) {
      return problem(400, "admin.bad_request", "life_s takes a number of seconds up to a year.");
    }
    if (const json::value* value = object->if_contains("note")) {
      const json::string* text = value->if_string();
      if (!text || text->size() > 200) return problem(400, "admin.bad_request", "note takes a text of at most 200 bytes.");
      note = std::string(*text);
    }
  }
  const NewToken secret = make_token();
  store::Token token;
  token.id = secret.id;
  token.hash = secret.hash;
  token.note = note;
  token.uses_max = static_cast<std::uint32_t>(uses_max);
  token.created_at = clock_.wall();
  token.expires_at = token.created_at + std::chrono::seconds(life_s);
  if (auto added = devices_.add_token(token); !added) return problem(added.error());
  // The only time the secret is seen: what is kept is its hash.
  return ok(json::object{{"id", token.id}, {"token", secret.secret}, {"uses_max", token.uses_max},
                         {"expires_at_ms", to_millis(token.expires_at)}, {"agent_endpoint", house_.agent_endpoint()},
                         {"gateway_key", house_.gateway_key()}});
}

AdminReply Admin::revoke_token(const std::string& id) {
  if (auto revoked = devices_.revoke_token(id); !revoked) return problem(revoked.error());
  return ok(json::object{{"id", id}, {"state", "revoked"}});
}

Result<store::Device> Admin::find_agent(const std::string& name) const {
  if (auto device = devices_.find(AgentId(name))) return std::move(*device);
  constexpr std::size_t told_max = 10;
  std::vector<AgentId> matches;
  std::size_t count = 0;
  devices_.for_each([&](const store::Device& device) {
    const bool by_id = name.size() >= 4 && device.id.raw().starts_with(name);
    if (!by_id && device.host_name != name && (device.fqdn.empty() || device.fqdn != name)) return;
    if (++count <= told_max) matches.push_back(device.id);
  });
  if (count == 1) {
    if (auto device = devices_.find(matches.front())) return std::move(*device);
  }
  if (count <= 1) return fail(Remedy::reject, "admin.not_found", "no agent is called \"" + name + "\".");
  std::string ids;
  for (const AgentId& id : matches) ids += (ids.empty() ? "" : ", ") + id.raw();
  if (count > told_max) ids += ", …";
  return fail(Remedy::reject, "admin.ambiguous",
              std::to_string(count) + " agents are called \"" + name + "\"; name one by its id: " + ids + ".");
}

}  // namespace greengate::gateway
