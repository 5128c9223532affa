#include "simulators/management_point/faults.h"

#include "simulators/common/text.h"
#include "simulators/management_point/hostile.h"

#include <boost/json.hpp>

#include <algorithm>

namespace greengate::sim {
namespace {

namespace json = boost::json;
constexpr std::size_t faults_max = 64;

struct KindName {
  FaultKind kind;
  std::string_view name;
};
constexpr KindName kind_names[] = {
    {FaultKind::status, "status"},
    {FaultKind::latency, "latency"},
    {FaultKind::empty, "empty"},
    {FaultKind::drop_before_read, "drop_before_read"},
    {FaultKind::drop_after_read, "drop_after_read"},
    {FaultKind::drop_reply, "drop_reply"},
    {FaultKind::close_mid_reply, "close_mid_reply"},
    {FaultKind::trickle, "trickle"},
    {FaultKind::registration, "registration"},
    {FaultKind::hostile, "hostile"},
};

bool number(const json::object& from, std::string_view key, std::int64_t least, std::int64_t most,
            std::int64_t& into) {
  const auto* value = from.if_contains(key);
  if (value == nullptr) return true;
  if (!value->is_int64() || value->as_int64() < least || value->as_int64() > most) return false;
  into = value->as_int64();
  return true;
}

}  // namespace

Result<std::uint64_t> Faults::add(std::string_view json_text) {
  const auto wrong = [](const std::string& text) {
    return fail(Remedy::reject, "fault.syntax", text);
  };
  json::error_code error;
  const json::value value = json::parse(json_text, error);
  if (error || !value.is_object()) return wrong("A fault is a JSON object.");
  const json::object& object = value.as_object();
  Fault fault;
  bool known = false;
  for (const auto& [key, member] : object) {
    static constexpr std::string_view keys[] = {"kind",  "status", "retry_after_s", "latency_ms",
                                                "bytes", "count",  "probability",   "endpoint", "form"};
    if (std::find(std::begin(keys), std::end(keys), std::string_view(key)) == std::end(keys))
      return wrong("A fault has no member \"" + std::string(key) + "\".");
  }
  if (const auto* kind = object.if_contains("kind"); kind != nullptr && kind->is_string())
    for (const KindName& name : kind_names)
      if (std::string_view(kind->as_string()) == name.name) fault.kind = name.kind, known = true;
  if (!known)
    return wrong(
        "kind is status, latency, empty, drop_before_read, drop_after_read, drop_reply, "
        "close_mid_reply, trickle, registration or hostile.");
  std::int64_t status = fault.kind == FaultKind::registration ? 2 : 503;
  if (!number(object, "status", -1, 599, status) ||
      !number(object, "retry_after_s", 0, 86'400, fault.retry_after_s) ||
      !number(object, "latency_ms", 0, 600'000, fault.latency_ms) ||
      !number(object, "bytes", 1, 65'536, fault.bytes) ||
      !number(object, "count", 1, 1'000'000'000, fault.count))
    return wrong(
        "A number of the fault is missing its range: status up to 599, retry_after_s up to 86400, "
        "latency_ms up to 600000, bytes 1 to 65536, count from 1.");
  if (fault.kind == FaultKind::status && status < 200) return wrong("status is 200 to 599.");
  if (fault.kind == FaultKind::registration && status != 2 && status != 3 && status != -1)
    return wrong("A registration fault has the status 2, 3 or -1.");
  fault.status = static_cast<int>(status);
  if (const auto* chance = object.if_contains("probability")) {
    json::error_code no_number;
    fault.probability = chance->to_number<double>(no_number);
    if (no_number || !(fault.probability >= 0 && fault.probability <= 1))
      return wrong("probability is 0 to 1.");
  }
  if (const auto* endpoint = object.if_contains("endpoint")) {
    if (!endpoint->is_string() || endpoint->as_string().size() > 128)
      return wrong("endpoint is a TargetEndpoint or a path.");
    fault.endpoint = std::string(endpoint->as_string());
  }
  if (const auto* form = object.if_contains("form"); form != nullptr && form->is_string())
    fault.form = std::string(form->as_string());
  const auto& forms = hostile_forms();
  if (fault.kind == FaultKind::hostile && std::find(forms.begin(), forms.end(), fault.form) == forms.end()) {
    std::string names;
    for (const std::string_view name : forms) names += (names.empty() ? "" : ", ") + std::string(name);
    return wrong("form is one of " + names + ".");
  }
  const std::lock_guard lock(mutex_);
  if (faults_.size() >= faults_max)
    return fail(Remedy::reject, "fault.too_many", "There are 64 faults already; delete some.");
  fault.id = ++last_id_;
  faults_.push_back(fault);
  return fault.id;
}

void Faults::clear(std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(faults_, [&](const Fault& fault) { return id == 0 || fault.id == id; });
}

json::array Faults::list() const {
  const std::lock_guard lock(mutex_);
  json::array all;
  for (const Fault& fault : faults_) {
    json::object one{{"id", fault.id},
                     {"status", fault.status},
                     {"retry_after_s", fault.retry_after_s},
                     {"latency_ms", fault.latency_ms},
                     {"bytes", fault.bytes},
                     {"count", fault.count},
                     {"probability", fault.probability},
                     {"endpoint", fault.endpoint},
                     {"form", fault.form}};
    for (const KindName& name : kind_names)
      if (name.kind == fault.kind) one["kind"] = name.name;
    all.push_back(std::move(one));
  }
  return all;
}

bool Faults::need_endpoint() const {
  const std::lock_guard lock(mutex_);
  return std::any_of(faults_.begin(), faults_.end(), [](const Fault& fault) {
    return fault.kind == FaultKind::registration ||
           (!fault.endpoint.empty() && fault.endpoint[0] != '/');
  });
}

bool Faults::any() const {
  const std::lock_guard lock(mutex_);
  return !faults_.empty();
}

std::vector<Fault> Faults::draw(std::string_view path, std::string_view endpoint,
                                bool before_body) {
  const std::lock_guard lock(mutex_);
  std::vector<Fault> hit;
  bool answered =
      false;  // one fault decides the answer; latency, trickle and registration go with others
  for (Fault& fault : faults_) {
    const bool adds_only = fault.kind == FaultKind::latency || fault.kind == FaultKind::trickle ||
                           fault.kind == FaultKind::registration;
    if ((fault.kind == FaultKind::drop_before_read) != before_body) continue;
    if (fault.count == 0 || (answered && !adds_only)) continue;
    if (fault.kind == FaultKind::registration && endpoint != "MP_ClientRegistration") continue;
    if (!fault.endpoint.empty() &&
        !equals_ignoring_case(fault.endpoint, fault.endpoint[0] == '/' ? path : endpoint))
      continue;
    if (fault.probability < 1 &&
        std::uniform_real_distribution<>(0, 1)(random_) >= fault.probability)
      continue;
    if (fault.count > 0) --fault.count;
    answered = answered || !adds_only;
    hit.push_back(fault);
  }
  std::erase_if(faults_, [](const Fault& fault) { return fault.count == 0; });
  return hit;
}

}  // namespace greengate::sim
