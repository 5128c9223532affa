#include "agent/ask.h"

#include "agent/collectors/text.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <vector>

namespace greengate::agent {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using std::chrono::steady_clock;  // a person waits in real time

constexpr std::size_t answer_bytes_max = 4 << 20;
constexpr std::size_t id_characters_max = 64;
constexpr std::size_t cell_bytes_max = 120;

constexpr std::pair<std::string_view, v1::LocateKind> locate_words[] = {{"management-points", v1::LOCATE_KIND_MANAGEMENT_POINTS},
                                                                        {"content", v1::LOCATE_KIND_CONTENT},
                                                                        {"update-server", v1::LOCATE_KIND_UPDATE_SERVER},
                                                                        {"site", v1::LOCATE_KIND_SITE}};

tl::unexpected<Error> malformed(const std::string& what) {
  return fail(Remedy::reject, "ask.malformed", what);
}

std::string text_of(const json::object& from, std::string_view name) {
  const json::value* value = from.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::int64_t number_of(const json::object& from, std::string_view name) {
  const json::value* value = from.if_contains(name);
  return value && value->is_int64() ? value->get_int64() : 0;
}

bool flag_of(const json::object& from, std::string_view name) {
  const json::value* value = from.if_contains(name);
  return value && value->is_bool() && value->get_bool();
}

std::uint32_t small(std::int64_t number) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(number, 0, 0xffffffff));
}

Result<json::value> parsed(std::string_view line) {
  json::parse_options how;
  how.max_depth = 8;
  boost::system::error_code broken;
  json::value value = json::parse(line, broken, {}, how);
  if (broken || !value.is_object()) return malformed("What came is no JSON object.");
  return value;
}

std::string time_text(std::int64_t ms) {
  if (ms <= 0) return "-";
  const std::time_t seconds = static_cast<std::time_t>(ms / 1'000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

// Columns as wide as their widest cell; empty columns are left out.
std::string table(const std::vector<std::string>& names, std::vector<std::vector<std::string>> rows) {
  std::string text;
  std::vector<std::size_t> widths(names.size(), 0);
  for (auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      row[i] = clean_text(row[i], cell_bytes_max);  // it came from far away and goes to a terminal
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string out;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (widths[i] == 0) continue;
      out += cells[i] + std::string(std::max(widths[i], names[i].size()) - cells[i].size() + 2, ' ');
    }
    out.resize(out.find_last_not_of(' ') + 1);
    text += out + "\n";
  };
  line(names);
  for (const auto& row : rows) line(row);
  return text;
}

}  // namespace

v1::LocateKind locate_kind(std::string_view word) {
  for (const auto& [name, kind] : locate_words) {
    if (name == word) return kind;
  }
  return v1::LOCATE_KIND_UNSPECIFIED;
}

std::string ask_to_json(const v1::Ask& ask) {
  json::object line;
  if (ask.has_policy()) {
    line = {{"ask", "policy"}, {"refresh", ask.policy().refresh()}};
  } else {
    const v1::LocateAsk& locate = ask.locate();
    line = {{"ask", "locate"}, {"refresh", locate.refresh()}};
    for (const auto& [name, kind] : locate_words) {
      if (kind == locate.kind()) line["what"] = name;
    }
    if (locate.kind() == v1::LOCATE_KIND_CONTENT) {
      line["id"] = locate.package_id();
      line["version"] = locate.package_version();
    }
  }
  return json::serialize(line);
}

Result<v1::Ask> ask_from_json(std::string_view text) {
  auto value = parsed(text);
  if (!value) return pass(value);
  const json::object& line = value->get_object();
  v1::Ask ask;
  const std::string what = text_of(line, "ask");
  if (what == "policy") {
    ask.mutable_policy()->set_refresh(flag_of(line, "refresh"));
    return ask;
  }
  if (what != "locate") return malformed("One can ask for \"policy\" and \"locate\".");
  v1::LocateAsk& locate = *ask.mutable_locate();
  locate.set_kind(locate_kind(text_of(line, "what")));
  locate.set_refresh(flag_of(line, "refresh"));
  if (locate.kind() == v1::LOCATE_KIND_UNSPECIFIED) return malformed("One can locate management-points, content, update-server and site.");
  if (locate.kind() != v1::LOCATE_KIND_CONTENT) return ask;
  const std::string id = text_of(line, "id");
  const bool plain = std::all_of(id.begin(), id.end(), [](unsigned char c) { return c < 0x80 && (std::isalnum(c) || std::string_view("_-.{}").find(static_cast<char>(c)) != std::string_view::npos); });
  if (id.empty() || id.size() > id_characters_max || !plain) return malformed("Content has an id of letters, digits and _-.{}, such as P0100012.");
  locate.set_package_id(id);
  locate.set_package_version(small(number_of(line, "version")));
  return ask;
}

std::string answer_to_json(const v1::Answer& answer) {
  json::object line{{"code", answer.code()}, {"message", answer.message()}, {"retry_after_ms", answer.retry_after_ms()}, {"at_ms", answer.at_ms()}};
  json::array policies, locations;
  for (const v1::AssignedPolicy& one : answer.policies()) {
    policies.push_back({{"policy_id", one.policy_id()}, {"version", one.version()}, {"category", one.category()}, {"flags", one.flags()}, {"standing", one.standing()}});
  }
  for (const v1::SiteLocation& one : answer.locations()) {
    locations.push_back({{"kind", one.kind()}, {"url", one.url()}, {"server", one.server()}, {"site_code", one.site_code()},
                         {"version", one.version()}, {"https", one.https()}, {"detail", one.detail()}});
  }
  line["policies"] = std::move(policies);
  line["locations"] = std::move(locations);
  return json::serialize(line);
}

Result<v1::Answer> answer_from_json(std::string_view text) {
  auto value = parsed(text);
  if (!value) return pass(value);
  const json::object& line = value->get_object();
  v1::Answer answer;
  answer.set_code(text_of(line, "code"));
  answer.set_message(text_of(line, "message"));
  answer.set_retry_after_ms(small(number_of(line, "retry_after_ms")));
  answer.set_at_ms(number_of(line, "at_ms"));
  const auto each = [&](std::string_view name, const auto& take) {
    const json::value* list = line.if_contains(name);
    if (!list || !list->is_array()) return;
    for (const json::value& one : list->get_array()) {
      if (const json::object* object = one.if_object()) take(*object);
    }
  };
  each("policies", [&](const json::object& one) {
    v1::AssignedPolicy& policy = *answer.add_policies();
    policy.set_policy_id(text_of(one, "policy_id"));
    policy.set_version(text_of(one, "version"));
    policy.set_category(text_of(one, "category"));
    policy.set_flags(small(number_of(one, "flags")));
    policy.set_standing(text_of(one, "standing"));
  });
  each("locations", [&](const json::object& one) {
    v1::SiteLocation& location = *answer.add_locations();
    location.set_kind(text_of(one, "kind"));
    location.set_url(text_of(one, "url"));
    location.set_server(text_of(one, "server"));
    location.set_site_code(text_of(one, "site_code"));
    location.set_version(text_of(one, "version"));
    location.set_https(flag_of(one, "https"));
    location.set_detail(text_of(one, "detail"));
  });
  return answer;
}

std::string answer_text(const v1::Answer& answer) {
  std::string text;
  if (answer.policies_size() > 0) {
    std::vector<std::vector<std::string>> rows;
    for (const v1::AssignedPolicy& one : answer.policies())
      rows.push_back({one.policy_id(), one.version(), one.category(), one.flags() ? std::to_string(one.flags()) : "", one.standing()});
    text += table({"policy", "version", "category", "flags", "standing"}, std::move(rows));
  }
  if (answer.locations_size() > 0) {
    std::vector<std::vector<std::string>> rows;
    for (const v1::SiteLocation& one : answer.locations())
      rows.push_back({one.kind(), one.url(), one.server(), one.site_code(), one.version(), one.https() ? "https" : "", one.detail()});
    text += table({"kind", "url", "server", "site", "version", "", "detail"}, std::move(rows));
  }
  if (text.empty()) text = "The site names none.\n";
  if (!answer.message().empty()) text += clean_text(answer.message(), 500) + "\n";
  return text + "The site said so at " + time_text(answer.at_ms()) + ".\n";
}

Result<v1::Answer> ask_agent(const std::string& door, const v1::Ask& ask, milliseconds patience) {
  const auto not_running = [&] {
    return fail(Remedy::reject, "agent.not_running", "No agent is running here that could be asked (" + door + "); start greengate-agent first.");
  };
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (door.size() >= sizeof address.sun_path) return not_running();
  std::memcpy(address.sun_path, door.c_str(), door.size() + 1);
  struct Fd {
    int fd;
    ~Fd() {
      if (fd >= 0) close(fd);
    }
  } line{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (line.fd < 0 || connect(line.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES || errno == EPERM)
      return fail(Remedy::reject, "agent.forbidden", "Only the agent's user and root may ask it; try again as root.");
    return not_running();
  }
  const std::string question = ask_to_json(ask) + "\n";
  if (send(line.fd, question.data(), question.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(question.size())) return not_running();
  const auto deadline = steady_clock::now() + patience;
  std::string answer;
  while (answer.empty() || answer.back() != '\n') {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0)
      return fail(Remedy::retry, "agent.no_answer", "No answer came in time; the gateway may be asking the site still. Try again.");
    pollfd waiting{line.fd, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 60'000))) <= 0) continue;
    std::array<char, 16'384> buffer;
    const ssize_t got = read(line.fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(Remedy::retry, "agent.no_answer", "The agent ended before it answered.");
    answer.append(buffer.data(), static_cast<std::size_t>(got));
    if (answer.size() > answer_bytes_max) return malformed("The answer is larger than any answer.");
  }
  return answer_from_json(answer);
}

}  // namespace greengate::agent
