#include "gateway/dead_letters.h"

#include "gateway/admin_json.h"
#include "gateway/diagnosis.h"
#include "gateway/report_words.h"

#include <boost/json.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>

namespace greengate::gateway {
namespace {

namespace json = boost::json;

constexpr std::uint32_t letters_shown_max = 10'000;
constexpr std::size_t text_bytes_max = 1 << 20;
constexpr std::size_t ids_max = 10'000;

std::string cut(std::string text) {
  if (text.size() <= text_bytes_max) return text;
  text.resize(text_bytes_max);
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();  // not within a character
  if (!text.empty()) text.pop_back();
  return text + "\n… (cut)\n";
}

std::string base64(const std::string& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int written = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(bytes.data()),
                                      static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(written));
  return text;
}

std::optional<ItemId> id_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && value != 0 ? std::optional(ItemId(value)) : std::nullopt;
}

json::object describe(const store::DeadLetter& letter, const std::string& host_name) {
  const Diagnosis cause = diagnose(letter.code);
  return json::object{{"id", letter.id.raw()},
                      {"agent", letter.name.agent.raw()},
                      {"host_name", host_name},
                      {"incarnation", letter.name.incarnation},
                      {"sequence", letter.name.sequence},
                      {"lane", name_of(letter.lane)},
                      {"kind", kind_name(letter.kind)},
                      {"bytes", letter.bytes},
                      {"collected_at_ms", to_millis(letter.collected_at)},
                      {"stored_at_ms", to_millis(letter.kept_at)},
                      {"buried_at_ms", to_millis(letter.buried_at)},
                      {"attempts", letter.attempts},
                      {"code", letter.code},
                      {"message", letter.message},
                      {"has_body", letter.has_body},
                      {"cause", cause.cause},
                      {"advice", cause.advice}};
}

Result<std::vector<ItemId>> ids_in(const json::object& body) {
  std::vector<ItemId> ids;
  const json::value* listed = body.if_contains("ids");
  const json::array* array = listed ? listed->if_array() : nullptr;
  if (!array || array->empty() || array->size() > ids_max) {
    return fail(Remedy::reject, "admin.bad_request", "ids takes a list of 1 to 10000 dead letters.");
  }
  for (const json::value& one : *array) {
    boost::system::error_code broken;
    const auto number = one.to_number<std::uint64_t>(broken);
    if (broken || number == 0) return fail(Remedy::reject, "admin.bad_request", "ids takes whole numbers.");
    ids.emplace_back(number);
  }
  return ids;
}

}  // namespace

std::optional<AdminReply> DeadLetters::answer(const AdminCall& call, const std::vector<std::string>& path,
                                              const std::optional<AgentId>& agent) {
  const bool get = call.method == "GET", post = call.method == "POST";
  if (path.size() == 2 && get) {
    const auto filter = filter_of(call.target, agent);
    if (!filter) return problem(filter.error());
    const auto count = query_number(call.target, "count").value_or(100);
    return list(*filter, static_cast<std::uint32_t>(std::min<std::uint64_t>(count, letters_shown_max)));
  }
  if (path.size() != 3) return std::nullopt;
  if (path[2] == "replay" && post) return replay(call, agent);
  if (path[2] == "replay" && get) return replayer_ ? ok(replayer_->progress()) : ok(json::object());
  if (path[2] == "discard" && post) return discard(call.body);
  if (!get) return std::nullopt;
  const auto id = id_of(path[2]);
  if (!id) return problem(400, "admin.bad_request", "a dead letter is named by its number.");
  return show(*id, query_text(call.target, "body").has_value());
}

Result<store::DeadLetterFilter> DeadLetters::filter_of(const std::string& target, const std::optional<AgentId>& agent) const {
  store::DeadLetterFilter filter;
  filter.agent = agent;
  filter.code = query_text(target, "code").value_or("");
  filter.above = query_number(target, "above").value_or(0);
  if (const auto name = query_text(target, "kind")) {
    filter.kind = kind_of(*name);
    if (!filter.kind) return fail(Remedy::reject, "admin.bad_request", "there is no kind of report called \"" + *name + "\".");
  }
  return filter;
}

AdminReply DeadLetters::list(const store::DeadLetterFilter& filter, std::uint32_t count_max) {
  auto letters = reports_.dead_letters(filter, count_max);
  if (!letters) return problem(letters.error());
  json::array all;
  for (const store::DeadLetter& letter : *letters) {
    const auto device = devices_.find(letter.name.agent);
    all.push_back(describe(letter, device ? device->host_name : std::string()));
  }
  return ok(json::object{{"dead_letters", std::move(all)}, {"buried", reports_.stats().buried}});
}

AdminReply DeadLetters::show(ItemId id, bool with_body) {
  store::DeadLetterFilter only;
  only.above = id.raw() - 1;
  auto found = reports_.dead_letters(only, 1);
  if (!found) return problem(found.error());
  if (found->empty() || found->front().id != id) {
    return problem(404, "queue.no_letter", "there is no dead letter " + std::to_string(id.raw()) + ".");
  }
  const store::DeadLetter& letter = found->front();
  const auto device = devices_.find(letter.name.agent);
  json::object shown = describe(letter, device ? device->host_name : std::string());
  if (!letter.has_body) return ok(shown);
  auto report = reports_.dead_letter(id);
  if (!report) return problem(report.error());
  shown["report"] = cut(body_text(letter.kind, report->body, text_bytes_max));
  if (with_body) shown["body"] = base64(report->body);
  if (message_of_) {
    auto message = message_of_(*report);
    if (message) {
      shown["message_xml"] = cut(std::move(*message));
    } else {
      shown["message_problem"] = json::object{{"code", message.error().code}, {"message", message.error().message}};
    }
  }
  return ok(shown);
}

AdminReply DeadLetters::replay(const AdminCall& call, const std::optional<AgentId>& agent) {
  if (!replayer_) return problem(409, "replay.none", "this process delivers nothing, so it replays nothing.");
  auto body = body_object(call.body);
  if (!body) return problem(body.error());
  double rate = 0;  // the configured one
  if (const json::value* asked = body->if_contains("rate_per_s")) {
    boost::system::error_code broken;
    rate = asked->to_number<double>(broken);
    if (broken || !(rate > 0 && rate <= 10'000)) return problem(400, "admin.bad_request", "rate_per_s takes a number up to 10000.");
  }
  std::vector<ItemId> ids;
  if (body->contains("ids")) {
    auto named = ids_in(*body);
    if (!named) return problem(named.error());
    ids = std::move(*named);
  } else {
    auto filter = filter_of(call.target, agent);
    if (!filter) return problem(filter.error());
    auto matching = replayer_->matching(*filter);
    if (!matching) return problem(matching.error());
    ids = std::move(*matching);
  }
  if (auto begun = replayer_->begin(std::move(ids), rate); !begun) return problem(begun.error());
  return ok(replayer_->progress());
}

AdminReply DeadLetters::discard(const std::string& body) {
  auto parsed = body_object(body);
  if (!parsed) return problem(parsed.error());
  auto ids = ids_in(*parsed);
  if (!ids) return problem(ids.error());
  auto discarded = reports_.discard(*ids);
  if (!discarded) return problem(discarded.error());
  return ok(json::object{{"discarded", *discarded}});
}

}  // namespace greengate::gateway
