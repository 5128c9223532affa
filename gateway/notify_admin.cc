#include "gateway/notify_admin.h"

#include "gateway/admin_json.h"
#include "gateway/report_words.h"
#include "gateway/task_table.h"

#include <boost/json.hpp>
#include <fnmatch.h>

#include <algorithm>
#include <charconv>

namespace greengate::gateway {
namespace {

namespace json = boost::json;

constexpr std::size_t names_max = 10'000;
constexpr std::uint64_t page_max = 10'000;
constexpr std::uint32_t last_shown = 10;
constexpr std::int64_t ttl_s_max = 366 * 86'400;

tl::unexpected<Error> bad(std::string message) { return fail(Remedy::reject, "admin.bad_request", std::move(message)); }

std::string task_text(std::uint32_t task) {
  const std::string_view name = task_name(static_cast<v1::Task>(task));
  return name == "unknown" ? "task " + std::to_string(task) : std::string(name);
}

json::object describe(const store::ActionView& view, WallTime now) {
  json::object counts;
  std::uint64_t devices = 0, open = 0;
  for (const auto& [state, count] : view.counts) {
    counts[store::entry_state_name(state)] = count;
    devices += count;
    if (!store::is_over(state)) open += count;
  }
  const store::Action& action = view.action;
  return json::object{{"id", action.id},
                      {"task", task_text(action.task)},
                      {"urgent", action.urgent},
                      {"origin", action.origin},
                      {"key", action.origin_key},
                      {"created_at_ms", to_millis(action.created_at)},
                      {"expires_at_ms", to_millis(action.expires_at)},
                      {"expired", action.expires_at <= now},
                      {"devices", devices},
                      {"open", open},
                      {"states", std::move(counts)}};
}

json::object describe(const store::Entry& entry) {
  return json::object{{"notification", entry.id},
                      {"agent", entry.device.raw()},
                      {"state", store::entry_state_name(entry.state)},
                      {"changed_at_ms", to_millis(entry.changed_at)},
                      {"code", entry.code},
                      {"message", entry.message}};
}

Result<std::string> text_in(const json::object& body, const char* name, std::size_t bytes_max) {
  const json::value* value = body.if_contains(name);
  if (!value) return std::string();
  const json::string* text = value->if_string();
  if (!text || text->size() > bytes_max) return bad(std::string(name) + " takes a text of at most " + std::to_string(bytes_max) + " bytes.");
  return std::string(*text);
}

Result<std::vector<std::string>> texts_in(const json::object& body, const char* name) {
  std::vector<std::string> all;
  const json::value* value = body.if_contains(name);
  if (!value) return all;
  const json::array* array = value->if_array();
  if (!array || array->empty() || array->size() > names_max) return bad(std::string(name) + " takes a list of 1 to 10000 texts.");
  for (const json::value& one : *array) {
    const json::string* text = one.if_string();
    if (!text || text->empty() || text->size() > 256) return bad(std::string(name) + " takes texts of 1 to 256 bytes.");
    all.emplace_back(*text);
  }
  return all;
}

// Of the tasks an operator can order only a restart takes any.
Result<v1::Notification> parameters_in(const json::object& body, v1::Task task) {
  v1::Notification parameters;
  const json::value* given = body.if_contains("parameters");
  if (!given) return parameters;
  const json::object* object = given->if_object();
  if (!object) return bad("parameters takes an object, such as {\"grace_s\": 300}.");
  for (const auto& [name, value] : *object) {
    if (task != v1::TASK_RESTART || name != "grace_s")
      return bad("the task " + std::string(task_name(task)) + " has no parameter \"" + std::string(name) + "\"" +
                 (task == v1::TASK_RESTART ? "; it has grace_s." : "."));
    const std::string text = value.is_string() ? std::string(value.get_string()) : json::serialize(value);
    std::uint32_t seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || seconds > 7 * 86'400) return bad("grace_s takes a whole number of seconds up to a week.");
    parameters.mutable_restart()->set_grace_s(seconds);
  }
  return parameters;
}

std::optional<std::uint64_t> id_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value != 0 ? std::optional(value) : std::nullopt;
}

bool matches(const std::string& pattern, const store::Device& device) {
  return fnmatch(pattern.c_str(), device.host_name.c_str(), FNM_CASEFOLD) == 0 ||
         (!device.fqdn.empty() && fnmatch(pattern.c_str(), device.fqdn.c_str(), FNM_CASEFOLD) == 0);
}

}  // namespace

std::optional<AdminReply> NotifyAdmin::answer(const AdminCall& call, const std::vector<std::string>& path, const FindAgent& find) {
  const bool get = call.method == "GET", post = call.method == "POST";
  if (path.size() == 2 && post) return send(call.body, find);
  if (path.size() == 2 && get) return list(call.target);
  if (path.size() < 3) return std::nullopt;
  const auto id = id_of(path[2]);
  if (!id) return problem(404, "admin.not_found", "there is no notification " + path[2] + ".");
  if (path.size() == 3 && get) return show(*id, call.target);
  if (path.size() == 4 && path[3] == "cancel" && post) return cancel(*id);
  return std::nullopt;
}

AdminReply NotifyAdmin::send(const std::string& body, const FindAgent& find) {
  const auto object = body_object(body);
  if (!object) return problem(object.error());
  auto order = order_in(*object, find);
  if (!order) return problem(order.error());
  const std::string task(task_name(order->task));
  auto posted = order_(std::move(*order));
  if (!posted) return problem(posted.error());
  return ok(json::object{{"id", posted->action}, {"task", task}, {"devices", posted->devices}, {"collapsed", posted->collapsed},
                         {"fresh", posted->fresh}});
}

Result<Order> NotifyAdmin::order_in(const json::object& body, const FindAgent& find) const {
  for (const auto& [name, value] : body) {
    constexpr std::string_view known[] = {"task", "agents", "groups", "all", "ttl_s", "parameters", "confirm", "by", "key"};
    if (std::find(std::begin(known), std::end(known), std::string_view(name)) == std::end(known))
      return bad("there is no \"" + std::string(name) + "\" in an order; it has task, agents, groups, all, ttl_s, parameters, confirm, by and key.");
  }
  Order order;
  auto name = text_in(body, "task", 64);
  if (!name) return pass(name);
  const auto task = task_named(*name);
  if (!task) return bad(name->empty() ? "task is missing; docs/reference/tasks.md names them." : "there is no task \"" + *name + "\"; docs/reference/tasks.md names them.");
  if (*task == v1::TASK_RUN_SCRIPT) return bad("scripts come from the site, which knows who approved them; they cannot be ordered here.");
  order.task = *task;
  auto devices = devices_in(body, find);
  if (!devices) return pass(devices);
  order.devices = std::move(*devices);
  if (const json::value* ttl = body.if_contains("ttl_s")) {
    const std::int64_t* seconds = ttl->if_int64();
    if (!seconds || *seconds < 1 || *seconds > ttl_s_max) return bad("ttl_s takes a whole number of seconds up to a year.");
    order.time_to_live = std::chrono::seconds(*seconds);
  }
  auto parameters = parameters_in(body, *task);
  if (!parameters) return pass(parameters);
  order.parameters = std::move(*parameters);
  for (const auto& [field, into] : {std::pair{"by", &order.by}, {"key", &order.key}}) {
    auto text = text_in(body, field, 200);
    if (!text) return pass(text);
    *into = std::move(*text);
  }
  // Its pushes are told apart by who asked.
  if (order.by == "site") return bad("by is \"site\"; that name is the site's own.");

  auto confirmed = text_in(body, "confirm", 300);
  if (!confirmed) return pass(confirmed);
  if (*task == v1::TASK_WIPE) {
    const auto device = order.devices.size() == 1 ? devices_.find(order.devices.front()) : std::nullopt;
    if (!device) return fail(Remedy::reject, "admin.not_confirmed", "a wipe takes one device, named under agents.");
    if (*confirmed != "wipe-" + device->id.raw() && (device->host_name.empty() || *confirmed != "wipe-" + device->host_name))
      return fail(Remedy::reject, "admin.not_confirmed",
                  "a wipe deletes everything on " + device->host_name + "; to confirm, say \"wipe-" + device->host_name + "\" (--confirm).");
  }
  return order;
}

Result<std::vector<AgentId>> NotifyAdmin::devices_in(const json::object& body, const FindAgent& find) const {
  auto names = texts_in(body, "agents");
  if (!names) return pass(names);
  auto patterns = texts_in(body, "groups");
  if (!patterns) return pass(patterns);
  bool all = false;
  if (const json::value* value = body.if_contains("all")) {
    if (!value->is_bool()) return bad("all takes true or false.");
    all = value->get_bool();
  }
  if (int(!names->empty()) + int(!patterns->empty()) + int(all) != 1) return bad("say whom: agents, groups, or all; one of them.");

  std::vector<AgentId> chosen;
  for (const std::string& name : *names) {
    auto device = find(name);
    if (!device) return pass(device);
    if (device->state != store::DeviceState::active)
      return fail(Remedy::reject, "admin.not_active", "agent " + name + " is " + name_of(device->state) + "; only active ones can be asked.");
    chosen.push_back(device->id);
  }
  if (names->empty()) {
    devices_.for_each([&](const store::Device& device) {
      if (device.state != store::DeviceState::active) return;
      if (all || std::any_of(patterns->begin(), patterns->end(), [&](const std::string& pattern) { return matches(pattern, device); }))
        chosen.push_back(device.id);
    });
    if (chosen.empty()) return fail(Remedy::reject, "admin.not_found", all ? "there is no active agent." : "no active agent's host name fits.");
  }
  return chosen;
}

AdminReply NotifyAdmin::list(const std::string& target) {
  const auto count = std::min(query_number(target, "count").value_or(20), page_max);
  auto actions = mailbox_.actions(query_number(target, "before").value_or(0), static_cast<std::uint32_t>(count));
  if (!actions) return problem(actions.error());
  json::array all;
  for (const store::ActionView& view : *actions) all.push_back(describe(view, clock_.wall()));
  return ok(json::object{{"notifications", all}, {"now_ms", to_millis(clock_.wall())}});
}

AdminReply NotifyAdmin::show(std::uint64_t id, const std::string& target) {
  const auto view = mailbox_.action(id);
  if (!view) return problem(view.error());
  if (!*view) return problem(404, "admin.not_found", "there is no notification " + std::to_string(id) + ".");
  const auto count = std::min(query_number(target, "count").value_or(1'000), page_max);
  const auto entries = mailbox_.entries(id, query_number(target, "after").value_or(0), static_cast<std::uint32_t>(count));
  if (!entries) return problem(entries.error());
  json::object shown = describe(**view, clock_.wall());
  json::array all;
  for (const store::Entry& entry : *entries) {
    json::object one = describe(entry);
    const auto device = devices_.find(entry.device);
    one["host_name"] = device ? device->host_name : "";
    all.push_back(std::move(one));
  }
  shown["entries"] = std::move(all);
  return ok(shown);
}

AdminReply NotifyAdmin::cancel(std::uint64_t id) {
  const auto cancelled = mailbox_.cancel(id);
  if (!cancelled) {
    return std::string_view(cancelled.error().code) == "mailbox.unknown"
               ? problem(404, "admin.not_found", "there is no notification " + std::to_string(id) + ".")
               : problem(cancelled.error());
  }
  return ok(json::object{{"id", id}, {"cancelled", *cancelled}});
}

json::value NotifyAdmin::last_of(const AgentId& agent) {
  const auto last = mailbox_.history(agent, last_shown);
  if (!last) return json::object{{"problem", last.error().code}};
  json::array all;
  for (const auto& [entry, action] : *last) {
    json::object one = describe(entry);
    one.erase("agent");
    one["id"] = action.id;
    one["task"] = task_text(action.task);
    one["origin"] = action.origin;
    one["created_at_ms"] = to_millis(action.created_at);
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace greengate::gateway
