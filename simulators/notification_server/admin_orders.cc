// What the admin calls make happen: pushes, disconnections, restarts, another certificate.
#include "simulators/notification_server/admin_words.h"
#include "simulators/notification_server/engine.h"

#include <algorithm>

namespace greengate::sim {

using namespace notify;  // the parts of this simulator; a .cc of it only
namespace json = boost::json;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t push_clients_max = 200'000;
constexpr std::size_t task_param_bytes_max = 256 * 1024;
constexpr std::int64_t u32_max = 0xffff'ffff;
constexpr std::int64_t day_ms = 86'400'000;

bool is_guid(std::string_view text) {
  return is_sms_id("GUID:" + std::string(text));
}

bool is_base64(std::string_view text) {
  return text.size() % 4 == 0 && std::ranges::all_of(text, [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '+' || c == '/' || c == '=';
         });
}

}  // namespace

Result<std::vector<NotifyEngine::ClientNumber>> NotifyEngine::named_clients(
    const json::object& body) {
  const auto wrong = [](std::string why) {
    return fail(Remedy::reject, "notify.clients", std::move(why));
  };
  std::vector<ClientNumber> numbers;
  const json::value* given = body.if_contains("clients");
  if (given != nullptr && given->is_string() && given->get_string() == "all") {
    for (ClientNumber n = 0; n < clients_.size(); ++n) numbers.push_back(n);
    return numbers;
  }
  if (given == nullptr || !given->is_array() || given->get_array().size() > push_clients_max)
    return wrong("\"clients\" is \"all\" or a list of SMSIDs.");
  for (const json::value& one : given->get_array())
    if (!one.is_string() || !is_sms_id(std::string_view(one.get_string())))
      return wrong("An SMSID is GUID: and an upper-case GUID.");
  for (const json::value& one : given->get_array()) {
    const ClientNumber number = number_of(std::string(one.get_string()), true);
    if (number == nobody) return wrong("Too many clients.");
    numbers.push_back(number);
  }
  return numbers;
}

Answer NotifyEngine::push_now(const json::object& body) {
  std::uint32_t type = 1;
  std::string param, guid;
  for (const auto& [key, value] : body) {
    if (key == "clients") continue;
    if (key == "task_type" && value.is_int64() && value.get_int64() >= 0 &&
        value.get_int64() <= u32_max) {
      type = static_cast<std::uint32_t>(value.get_int64());
    } else if (key == "task_param" && value.is_string() &&
               value.get_string().size() <= task_param_bytes_max &&
               is_base64(std::string_view(value.get_string()))) {
      param = value.get_string();
    } else if (key == "task_guid" && value.is_null()) {
      continue;
    } else if (key == "task_guid" && value.is_string() &&
               is_guid(std::string_view(value.get_string()))) {
      guid = value.get_string();
    } else {
      return error(400, "notify.push",
                   "\"" + std::string(key) + "\" is unknown or has a value that cannot be used.");
    }
  }
  auto numbers = named_clients(body);
  if (!numbers) return error(400, numbers.error());
  if (deliveries_ + static_cast<std::int64_t>(numbers->size()) > config_.deliveries_max)
    return error(507, "notify.deliveries_full", "Too many deliveries are kept already.");
  auto made = make_push(type, std::move(param), std::move(guid));
  if (!made) return error(507, made.error());
  Push& push = **made;
  for (const ClientNumber number : *numbers) owe(push, number);
  std::size_t sent = 0;
  for (const auto& [number, delivery] : push.deliveries) {
    if (clients_[number].sessions.empty()) continue;
    const SessionPtr session = find_session(clients_[number].sessions.back());
    if (!session || session->phase != Phase::online || session->leaving) continue;
    ++sent;
  }
  for (const ClientNumber number : *numbers)
    if (!clients_[number].sessions.empty()) enqueue(push, number);
  const json::object answer{{"push_id", push.id},
                            {"task_id", push.task_id},
                            {"task_guid", push.task_guid},
                            {"sent", sent},
                            {"pending", push.deliveries.size() - sent}};
  pump();
  return ok(answer);
}

Answer NotifyEngine::disconnect_now(const json::object& body) {
  std::string how = "frame";
  std::int64_t spread_ms = 0;
  bool all = false;
  for (const auto& [key, value] : body) {
    if (key == "clients") continue;
    if (key == "all" && value.is_bool()) {
      all = value.get_bool();
    } else if (key == "how" && value.is_string() &&
               (value.get_string() == "frame" || value.get_string() == "close")) {
      how = value.get_string();
    } else if (key == "spread_ms" && value.is_int64() && value.get_int64() >= 0 &&
               value.get_int64() <= day_ms) {
      spread_ms = value.get_int64();
    } else {
      return error(400, "notify.disconnect",
                   "\"" + std::string(key) + "\" is unknown or has a value that cannot be used.");
    }
  }
  std::vector<SessionId> ids;
  if (all) {
    for (const auto& [id, session] : sessions_)
      if (session->phase == Phase::online || session->phase == Phase::unconfirmed)
        ids.push_back(id);
  } else {
    auto numbers = named_clients(body);
    if (!numbers) return error(400, numbers.error());
    for (const ClientNumber number : *numbers)
      ids.insert(ids.end(), clients_[number].sessions.begin(), clients_[number].sessions.end());
  }
  const Due due = how == "frame" ? Due::disconnect_frame : Due::close_session;
  for (const SessionId id : ids) {
    const auto after = spread_ms == 0 ? 0 : dice_() % static_cast<std::uint64_t>(spread_ms);
    agenda_.push({now() + milliseconds(after), due, id});
  }
  run_due();
  return ok({{"sessions", ids.size()}, {"how", how}});
}

Answer NotifyEngine::restart_now(const json::object& body) {
  std::int64_t down_ms = 1'000, accepts_per_second = 0;
  std::string side = "both";
  for (const auto& [key, value] : body) {
    if (key == "down_ms" && value.is_int64() && value.get_int64() >= 0 && value.get_int64() <= day_ms) {
      down_ms = value.get_int64();
    } else if (key == "accepts_per_second" && value.is_int64() && value.get_int64() >= 0 && value.get_int64() <= 1000) {
      accepts_per_second = value.get_int64();
    } else if (key == "side" && value.is_string() &&
               (value.get_string() == "tcp" || value.get_string() == "http" || value.get_string() == "both")) {
      side = value.get_string();
    } else {
      return error(400, "notify.restart", "\"" + std::string(key) + "\" is unknown or has a value that cannot be used.");
    }
  }
  const std::size_t sessions = sessions_.size();
  go_down(side, milliseconds(down_ms), accepts_per_second);
  return ok({{"side", side}, {"down_ms", down_ms}, {"sessions_cut", sessions - sessions_.size()}});
}

Answer NotifyEngine::certificate_now(const json::object& body) {
  const json::value* state = body.if_contains("state");
  if (state == nullptr || !state->is_string()) return error(400, "notify.certificate", "\"state\" is missing.");
  auto changed = change_certificate(std::string(state->get_string()));
  if (!changed) return error(400, changed.error());
  return ok({{"state", *state}});
}

}  // namespace greengate::sim
