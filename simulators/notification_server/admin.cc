// The admin calls: which path leads where, and the fault rules.
#include "simulators/notification_server/admin_words.h"
#include "simulators/notification_server/engine.h"

#include <algorithm>
#include <charconv>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace json = boost::json;

namespace {

constexpr std::size_t page_max = 10'000;

std::size_t query_number(std::string_view query, std::string_view name, std::size_t otherwise) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    std::string_view one = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (!one.starts_with(name) || one.size() <= name.size() || one[name.size()] != '=') continue;
    one.remove_prefix(name.size() + 1);
    std::size_t value = 0;
    const auto read = std::from_chars(one.data(), one.data() + one.size(), value);
    if (read.ec == std::errc() && read.ptr == one.data() + one.size()) return value;
  }
  return otherwise;
}

}  // namespace

std::pair<unsigned, std::string> NotifyEngine::admin(const std::string& method, std::string path,
                                                     const std::string& body) {
  if (!running_) return error(503, "notify.stopped", "The server is not running.");
  run_due();
  session_lines_.flush();
  message_lines_.flush();
  report_lines_.flush();
  call_lines_.flush();

  std::string query;
  if (const std::size_t mark = path.find('?'); mark != std::string::npos) {
    query = path.substr(mark + 1);
    path.resize(mark);
  }
  if (path.starts_with("/notify")) path.erase(0, 7);
  while (path.starts_with('/')) path.erase(0, 1);
  const std::size_t offset = query_number(query, "offset", 0);
  const std::size_t limit = std::min(query_number(query, "limit", 1000), page_max);
  const bool get = method == "GET", post = method == "POST";

  if (get && path == "sessions") return show_sessions(offset, limit);
  if (get && path.starts_with("clients/")) return show_client(path.substr(8));
  if (get && path == "pushes") return show_pushes();
  if (get && path.starts_with("pushes/")) {
    std::uint64_t id = 0;
    const char* end = path.data() + path.size();
    const auto read = std::from_chars(path.data() + 7, end, id);
    if (read.ec != std::errc() || read.ptr != end)
      return error(404, "notify.no_push", "A push is named by its number.");
    return show_push(id, offset, limit);
  }
  if (get && path == "stats") return show_stats();
  if (get && path == "violations") return show_violations(offset, limit);
  if (get && path == "faults") return show_faults();
  if (get && path == "settings") return change_settings("{}");
  if (method == "DELETE" && path == "faults") {
    const std::size_t count = faults_.size();
    faults_.clear();
    return ok({{"removed", count}});
  }
  static constexpr std::array<std::string_view, 8> takers{"push", "disconnect", "faults", "settings",
                                                          "report", "resync", "restart", "certificate"};
  if (post && std::ranges::find(takers, path) != takers.end()) {
    boost::system::error_code bad;
    json::value value = body.empty() ? json::value(json::object()) : json::parse(body, bad);
    if (bad) return error(400, "notify.json", "The body is not JSON.");
    if (path == "faults") return add_faults(value);
    if (!value.is_object()) return error(400, "notify.json", "The body is not a JSON object.");
    if (path == "push") return push_now(value.get_object());
    if (path == "disconnect") return disconnect_now(value.get_object());
    if (path == "restart") return restart_now(value.get_object());
    if (path == "certificate") return certificate_now(value.get_object());
    if (path == "settings") return change_settings(json::serialize(value));
    if (path == "resync") online_full_due_ = true;
    if (path == "report") account(online_full_due_);
    report_lines_.flush();
    return ok({{"version", online_version_}});
  }
  if (!get && !post && method != "DELETE")
    return error(405, "notify.method", "GET, POST or DELETE.");
  return error(404, "notify.no_path",
               "There is nothing at /notify/" + path + " for " + method + ".");
}

Answer NotifyEngine::show_faults() const {
  json::array list;
  for (const FaultRule& rule : faults_) list.push_back(describe_fault(rule));
  return ok({{"faults", std::move(list)}});
}

Answer NotifyEngine::add_faults(const json::value& body) {
  std::vector<FaultRule> added;
  const auto add = [&](const json::value& one) -> Result<void> {
    auto rule = read_fault(one, now());
    if (!rule) return pass(rule);
    added.push_back(std::move(*rule));
    return {};
  };
  if (body.is_array()) {
    for (const json::value& one : body.get_array())
      if (auto done = add(one); !done) return error(400, done.error());
  } else if (auto done = add(body); !done) {
    return error(400, done.error());
  }
  // Rules that are used up make room for new ones; until then they show how often they applied.
  if (static_cast<std::int64_t>(faults_.size() + added.size()) > config_.faults_max)
    std::erase_if(faults_, [](const FaultRule& rule) { return rule.count == 0; });
  if (static_cast<std::int64_t>(faults_.size() + added.size()) > config_.faults_max)
    return error(507, "notify.faults_full", "Too many fault rules; DELETE /notify/faults first.");
  json::array list;
  for (FaultRule& rule : added) {
    rule.id = next_fault_++;
    list.push_back(describe_fault(rule));
    faults_.push_back(std::move(rule));
  }
  return ok({{"faults", std::move(list)}});
}

}  // namespace greengate::sim
