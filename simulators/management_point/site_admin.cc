#include "simulators/management_point/site.h"

#include "core/log.h"
#include "simulators/common/text.h"

#include <boost/json.hpp>

namespace greengate::sim {
namespace {

namespace json = boost::json;
const Log log_("mp_sim");

AdminReply ok(const json::value& value) {
  return {200, json::serialize(value)};
}

std::string parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view one = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (one.size() > name.size() && one.starts_with(name) && one[name.size()] == '=')
      return std::string(one.substr(name.size() + 1));
  }
  return {};
}

std::string text_member(const json::value& value, std::string_view name) {
  const auto* object = value.if_object();
  const auto* member = object == nullptr ? nullptr : object->if_contains(name);
  return member != nullptr && member->is_string() ? std::string(member->as_string())
                                                  : std::string();
}

// Lines are JSON already: they are put together as text.
std::string joined(const auto& lines) {
  std::string out = "[";
  for (const auto& line : lines) {
    if (out.size() > 1) out += ',';
    out += line;
  }
  return out + "]";
}

}  // namespace

AdminReply Site::admin(const AdminRequest& request) {
  std::string_view path = request.path;
  if (path.starts_with("/mp/")) path.remove_prefix(4);
  const bool get = request.method == "GET", post = request.method == "POST";
  if (get && (path == "clients" || path.starts_with("clients/"))) return admin_clients(request);
  if (get && path == "messages") return admin_messages(request);
  if (get && path == "stats") return admin_stats();
  if (path == "faults" || path.starts_with("faults/")) return admin_faults(request);
  if (post && path == "proxies") return admin_proxy(request);
  if (post && path == "locations") return admin_locations(request);
  if (post && (path == "approve" || path == "block" || path == "unblock" || path == "reject" ||
               path == "forget" || path == "resync"))
    return admin_change(request, std::string(path));
  if (get && path == "checks") {
    json::array all;
    for (const Check& check : all_checks()) {
      const CheckLevel level = settings_.checks.of(check);
      all.push_back(json::object{{"code", check.code},
                                 {"section", check.section},
                                 {"level", level == CheckLevel::off    ? "off"
                                           : level == CheckLevel::warn ? "warn"
                                                                       : "fail"}});
    }
    return ok(all);
  }
  return admin_error(404, "admin.path", "There is no " + request.method + " " + request.path + ".");
}

AdminReply Site::admin_clients(const AdminRequest& request) {
  const std::int64_t now_ms = to_millis(clock_.wall());
  const auto standing = [&](const Client& client) {
    if (client.rejected) return "rejected";
    if (client.blocked) return "blocked";
    return client.confirmed_at_ms != 0 ? "confirmed"
           : usable(client, now_ms)    ? "approved"
                                       : "pending";
  };
  const std::lock_guard lock(mutex_);
  if (request.path == "/mp/clients") {
    constexpr std::size_t clients_shown_max = 10'000;
    json::array all;
    for (const auto& [id, client] : book_.all()) {
      if (all.size() >= clients_shown_max) break;
      all.push_back(json::object{{"smsid", id},
                                 {"netbios", client.netbios_name},
                                 {"fqdn", client.fqdn},
                                 {"standing", standing(client)},
                                 {"accepted", client.accepted},
                                 {"refused", client.refused},
                                 {"repeats", client.repeats},
                                 {"last_message_ms", client.last_message_ms}});
    }
    return ok(json::object{{"total", book_.all().size()}, {"clients", std::move(all)}});
  }
  std::string id = request.path.substr(std::string_view("/mp/clients/").size());
  const bool inventory = id.ends_with("/inventory");
  if (inventory) id.resize(id.size() - std::string_view("/inventory").size());
  const Client* const client = book_.find(id);
  if (client == nullptr)
    return admin_error(404, "client.unknown", "There is no client " + shown(id) + ".");
  json::object out;
  if (inventory) {
    client->picture.dump(out);
    return ok(out);
  }
  client->picture.describe(out);
  json::object versions, resync;
  for (const auto& [kind, version] : client->versions) versions[name_of(kind)] = to_text(version);
  for (const auto& [kind, number] : client->resync_wanted) resync[name_of(kind)] = number != 0;
  json::array states;
  for (const StateMessage& state : client->last_states) {
    json::object one{{"topic_id", state.topic_id},
                     {"topic_type", state.topic_type},
                     {"state_id", state.state_id},
                     {"time", state.time}};
    if (state.serial) one["serial"] = *state.serial;
    states.push_back(std::move(one));
  }
  out["smsid"] = client->sms_id;
  out["netbios"] = client->netbios_name;
  out["fqdn"] = client->fqdn;
  out["standing"] = standing(*client);
  out["agent_type"] = client->agent_type;
  out["registered_at_ms"] = client->registered_at_ms;
  out["confirmed_at_ms"] = client->confirmed_at_ms;
  out["last_message_ms"] = client->last_message_ms;
  out["last_discovery_ms"] = client->last_discovery_ms;
  out["versions"] = std::move(versions);
  out["resync_wanted"] = std::move(resync);
  out["accepted"] = client->accepted;
  out["refused"] = client->refused;
  out["repeats"] = client->repeats;
  out["state_messages"] = client->state_messages;
  out["last_states"] = std::move(states);
  if (client->last_serial) out["last_serial"] = *client->last_serial;
  std::string text = json::serialize(out);
  text.pop_back();
  return {200, text + ",\"last_messages\":" + joined(client->last_lines) + "}"};
}

AdminReply Site::admin_change(const AdminRequest& request, const std::string& what) {
  json::error_code error;
  const json::value body = json::parse(request.body, error);
  const std::string id = error ? std::string() : text_member(body, "smsid");
  if (id.empty())
    return admin_error(400, "admin.body",
                       "The body is {\"smsid\": \"GUID:…\"}, or \"*\" for all clients.");
  const std::string kind = text_member(body, "kind");
  if (what == "resync" && !kind.empty() && kind != "hardware" && kind != "software")
    return admin_error(400, "admin.body", "kind is hardware or software.");
  const std::int64_t now_ms = to_millis(clock_.wall());
  const std::lock_guard lock(mutex_);
  std::vector<std::string> ids;
  if (id == "*")
    for (const auto& [each, client] : book_.all()) ids.push_back(each);
  else if (book_.find(id) != nullptr)
    ids.push_back(id);
  if (ids.empty())
    return admin_error(404, "client.unknown", "There is no client " + shown(id) + ".");
  // A resync policy has a version of its own, larger than all before it, over restarts too.
  if (what == "resync")
    resync_number_ = std::max(resync_number_ + 1, static_cast<std::uint64_t>(now_ms / 1000));
  for (const std::string& each : ids) {
    if (what == "forget") {
      (void)book_.forget(each);
      continue;
    }
    Client& client = *book_.find(each);
    if (what == "approve") client.approved = true, client.rejected = false;
    if (what == "block") client.blocked = true;
    if (what == "unblock") client.blocked = false;
    if (what == "reject") client.rejected = true, client.confirmed_at_ms = 0;
    if (what == "resync")
      client.resync_wanted[kind == "software" ? ReportKind::software : ReportKind::hardware] =
          resync_number_;
    book_.save(client);
  }
  log_.info("clients changed by the operator", kv("change", what), kv("clients", ids.size()));
  return ok(json::object{{"changed", ids.size()}});
}

AdminReply Site::admin_proxy(const AdminRequest& request) {
  json::error_code error;
  const json::value body = json::parse(request.body, error);
  const auto der = error ? std::nullopt : from_hex(text_member(body, "certificate"));
  if (!der)
    return admin_error(400, "admin.body",
                       "The body is {\"certificate\": \"hex of the proxy's DER certificate\"}.");
  auto facts = read_certificate(*der);
  if (!facts || !facts->is_rsa)
    return admin_error(400, "certificate.der",
                       "The certificate is not one whole DER certificate with an RSA key.");
  // Section 4.7: the administrator imports the gateway's certificate, and the site issues an SMSID
  // for it.
  Client proxy;
  proxy.sms_id = "GUID:" + new_guid();
  proxy.certificate_der = *der;
  proxy.key = facts->key;
  proxy.netbios_name = "ISVPROXY";
  proxy.agent_type = 4;
  proxy.registered_at_ms = proxy.confirmed_at_ms = to_millis(clock_.wall());
  proxy.approved = proxy.proxy = true;
  const std::lock_guard lock(mutex_);
  if (book_.full()) return admin_error(409, "registration.too_many", "There are too many clients.");
  return ok(json::object{{"smsid", book_.add(std::move(proxy)).sms_id}});
}

AdminReply Site::admin_locations(const AdminRequest& request) {
  json::error_code error;
  const json::value body = json::parse(request.body, error);
  const std::string subnet = error ? std::string() : text_member(body, "subnet");
  const auto* points = subnet.empty() ? nullptr : body.as_object().if_contains("points");
  constexpr std::size_t points_max = 64, name_bytes_max = 300;
  std::vector<std::string> names;
  if (points != nullptr && points->is_array() && points->as_array().size() <= points_max)
    for (const json::value& one : points->as_array())
      if (one.is_string() && one.as_string().size() <= name_bytes_max && one.as_string().find_first_of("<>&\"") == json::string::npos)
        names.emplace_back(one.as_string());
  if (points == nullptr || !points->is_array() || names.size() != points->as_array().size())
    return admin_error(400, "admin.body", "The body is {\"subnet\": \"192.0.2.0\", \"points\": [\"mp01.example.test\"]}; \"*\" is any other subnet.");
  const std::size_t count = names.size();
  if (!answers_->set_locations(subnet, std::move(names))) return admin_error(409, "location.too_many", "There are answers for too many subnets.");
  return ok(json::object{{"points", count}});
}

AdminReply Site::admin_messages(const AdminRequest& request) const {
  const std::uint64_t since = parse_number(parameter(request.query, "since")).value_or(0);
  const std::uint64_t limit = std::min<std::uint64_t>(
      parse_number(parameter(request.query, "limit")).value_or(1000), 10'000);
  std::vector<std::string_view> lines;
  const std::lock_guard lock(mutex_);
  for (const auto& [number, line] : lines_)
    if (number > since && lines.size() < limit) lines.push_back(line);
  return {200, joined(lines)};
}

AdminReply Site::admin_stats() const {
  const auto counts = [](const Counts& c) {
    return json::object{{"accepted", c.accepted}, {"refused", c.refused}, {"repeats", c.repeats}};
  };
  const std::lock_guard lock(mutex_);
  json::object endpoints, codes;
  for (const auto& [name, each] : by_endpoint_) endpoints[name] = counts(each);
  for (const auto& [code, count] : by_code_) codes[code] = count;
  json::object out = counts(total_);
  out["messages"] = total_.accepted + total_.refused + total_.repeats;
  out["clients"] = book_.all().size();
  out["gets"] = gets_;
  out["swallowed_by_faults"] = swallowed_by_faults_;
  out["bytes_received"] = bytes_received_;
  out["started_at_ms"] = started_at_ms_;
  out["endpoints"] = std::move(endpoints);
  out["codes"] = std::move(codes);
  return ok(out);
}

AdminReply Site::admin_faults(const AdminRequest& request) {
  if (request.method == "GET") return ok(faults_.list());
  if (request.method == "DELETE") {
    const std::string_view path = request.path;
    const auto id = path.starts_with("/mp/faults/") ? parse_number(path.substr(11))
                                                    : std::optional<std::uint64_t>(0);
    if (!id) return admin_error(400, "admin.path", "The fault's id is a number.");
    faults_.clear(*id);
    return ok(faults_.list());
  }
  if (request.method != "POST")
    return admin_error(404, "admin.path", "Faults take GET, POST and DELETE.");
  const auto added = faults_.add(request.body);
  if (!added) return admin_error(400, added.error().code, added.error().message);
  return ok(json::object{{"id", *added}});
}

}  // namespace greengate::sim
