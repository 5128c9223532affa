#include "simulators/wns/faults.h"

#include "simulators/common/fields.h"
#include "simulators/common/text.h"

#include <algorithm>
#include <array>

namespace greengate::sim::wns {
namespace {

namespace json = boost::json;
constexpr std::size_t faults_max = 100;

// Of the connection: connect_timeout, wrong_name, expired_certificate, foreign_certificate, refuse.
// Of an answer: status, delay, close, stall, cut, garbage, huge_header, huge_body, no_length.
// Of a token only: broken_json, redirect, oversized, no_token, empty_token, long_token, split_token, wrong_type, expires (word says how).
constexpr std::array connection_kinds{"connect_timeout", "wrong_name", "expired_certificate", "foreign_certificate", "refuse"};
constexpr std::array answer_kinds{"status", "delay", "close", "stall", "cut", "garbage", "huge_header", "huge_body", "no_length"};
constexpr std::array token_kinds{"broken_json", "redirect", "oversized", "no_token", "empty_token", "long_token", "split_token", "wrong_type",
                                 "expires"};

template <class Kinds>
bool is_one_of(const Kinds& kinds, const std::string& kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

}  // namespace

Result<std::uint64_t> Faults::add(const json::object& wish) {
  Fields in(wish);
  in.has("do");
  Fault fault;
  fault.token = in.has("token_status") || in.text("on", "push") == "token";
  fault.status = static_cast<unsigned>(in.number("push_status", in.number("token_status", in.number("status", 0))));
  const bool black_hole = in.flag("connect_timeout");
  fault.kind = in.text("kind", black_hole ? "connect_timeout" : fault.status != 0 ? "status" : "");
  fault.pfn = to_lower(in.text("pfn"));
  fault.device = in.text("device");
  fault.host = to_lower(in.text("host"));
  fault.reason = in.text("reason");
  fault.word = in.text("word");
  fault.device_word = in.text("device_status");
  fault.location = in.text("location");
  fault.body = in.text("body");
  fault.retry_after_s = in.number("retry_after", -1);
  fault.delay_ms = static_cast<std::int64_t>(in.real("delay_s") * 1000);
  fault.bytes = in.number("bytes", 1 << 20);
  const bool of_connection = is_one_of(connection_kinds, fault.kind);
  const bool always = in.flag("always", of_connection);
  fault.left = in.number("count", always ? -1 : 1);
  if (const json::value* fields = in.find("headers"); fields != nullptr && fields->is_object())
    for (const auto& field : fields->as_object())
      if (field.value().is_string()) fault.fields.emplace_back(std::string(field.key()), std::string(field.value().as_string()));
  std::string complaint = in.complaint();
  if (complaint.empty() && !of_connection && !is_one_of(answer_kinds, fault.kind) && !(fault.token && is_one_of(token_kinds, fault.kind)))
    complaint = "There is no fault of kind \"" + fault.kind + "\".";
  if (complaint.empty() && fault.kind == "status" && (fault.status < 100 || fault.status > 599)) complaint = "The status is no HTTP status.";
  if (complaint.empty() && (fault.bytes < 0 || fault.bytes > (16 << 20))) complaint = "\"bytes\" can be up to 16 MiB.";
  if (!complaint.empty()) return fail(Remedy::reject, "fault.syntax", complaint);
  if (faults_.size() >= faults_max) return fail(Remedy::reject, "fault.too_many", "There are " + std::to_string(faults_max) + " faults already.");
  fault.id = ++last_id_;
  faults_.push_back(fault);
  return fault.id;
}

bool Faults::remove(std::uint64_t id) {
  return std::erase_if(faults_, [&](const Fault& fault) { return fault.id == id; }) > 0;
}

std::optional<Fault> Faults::draw(bool token, const std::string& host, const std::string& pfn, const std::string& device) {
  for (Fault& fault : faults_) {
    if (fault.left == 0 || fault.token != token || is_one_of(connection_kinds, fault.kind)) continue;
    if ((!fault.host.empty() && fault.host != host) || (!fault.pfn.empty() && fault.pfn != pfn) ||
        (!fault.device.empty() && fault.device != device))
      continue;
    ++fault.hits;
    if (fault.left > 0) --fault.left;
    return fault;
  }
  return std::nullopt;
}

std::optional<Fault> Faults::draw_connection(const std::string& host) {
  for (Fault& fault : faults_) {
    if (fault.left == 0 || !is_one_of(connection_kinds, fault.kind) || (!fault.host.empty() && fault.host != host)) continue;
    ++fault.hits;
    if (fault.left > 0) --fault.left;
    return fault;
  }
  return std::nullopt;
}

bool Faults::black_hole(const std::string& host) const {
  return std::any_of(faults_.begin(), faults_.end(), [&](const Fault& fault) {
    return fault.left != 0 && fault.kind == "connect_timeout" && (fault.host.empty() || fault.host == host);
  });
}

json::array Faults::view() const {
  json::array all;
  for (const Fault& fault : faults_)
    all.push_back(json::object{{"id", fault.id}, {"on", fault.token ? "token" : "push"}, {"kind", fault.kind}, {"status", fault.status},
                               {"host", fault.host}, {"pfn", fault.pfn}, {"device", fault.device}, {"left", fault.left}, {"hits", fault.hits}});
  return all;
}

}  // namespace greengate::sim::wns
