#include "gateway/windows_devices.h"

#include <openssl/sha.h>
#include <sys/stat.h>
#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <future>
#include <span>
#include <unordered_set>

namespace greengate::gateway {
namespace {

namespace json = boost::json;
using adapters::DmDevice;
using adapters::DmEnrolment;

constexpr const char* device_fact = "mdm.device";    ///< The DeviceID: what makes a registry entry one of ours.
constexpr const char* memory_fact = "mdm.memory";
constexpr const char* removed_fact = "mdm.removed";  ///< Revoked because its row was gone, not by an operator.
constexpr const char* kind_of_agent = "OMA-DM 1.2";  ///< In place of an agent's version.
constexpr auto sweep_every = std::chrono::milliseconds(500);
constexpr auto pfn_warn_every = std::chrono::hours(1);
constexpr double pfn_failing_share_max = 0.05;

json::value moment(const std::optional<WallTime>& at) { return at && *at > WallTime{} ? json::value(to_millis(*at)) : json::value(nullptr); }

}  // namespace

Result<std::vector<AgentId>> able(const WindowsDevices* windows, std::vector<AgentId> devices, const v1::Notification& task) {
  std::optional<Error> first;
  const auto cannot = [&](const AgentId& agent) {
    std::optional<Error> why;
    if (windows && windows->knows(agent)) {
      why = windows->refused(agent, task);
    } else if (task.task() == v1::TASK_WIPE) {
      why = Error{Remedy::reject, "task.wipe_refused", "Only a managed Windows device can be wiped.", {}};
    }
    if (why && !first) first = why;
    return why.has_value();
  };
  std::erase_if(devices, cannot);
  if (devices.empty() && first) return tl::unexpected(*first);
  return devices;
}

bool looks_like_windows(const store::Device& device) { return device.agent_version == kind_of_agent; }

AgentKey windows_key(const std::string& device_id) {
  static constexpr char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
  const std::string plain = "windows-device:" + adapters::plain_device_id(device_id);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(plain.data()), plain.size(), digest.data());
  std::string key;
  for (std::size_t i = 0; i < digest.size(); i += 4) {
    std::uint32_t value = 0;
    for (std::size_t k = 0; k < 4; ++k) value = value << 8 | digest[i + k];
    std::array<char, 5> five{};
    for (std::size_t k = 5; k-- > 0; value /= 85) five[k] = letters[value % 85];
    key.append(five.data(), five.size());
  }
  return AgentKey(key);
}

std::vector<ConfigProblem> WindowsConfig::problems() const {
  std::vector<ConfigProblem> found = server.problems();
  const auto more = endpoint.problems();
  found.insert(found.end(), more.begin(), more.end());
  if (enrolments.empty()) found.push_back({"mdm.enrolments", "mdm.enrolments is missing; give the file that says which certificate is which device."});
  if (enrolments_check < std::chrono::milliseconds(100)) found.push_back({"mdm.enrolments_check", "mdm.enrolments_check must be at least 100ms."});
  return found;
}

WindowsDevices::WindowsDevices(WindowsConfig config, store::DeviceRegistry& devices, const Clock& clock, Metrics& metrics)
    : config_(std::move(config)),
      devices_(devices),
      clock_(clock),
      metrics_(metrics),
      enrolled_(metrics.gauge("greengate_mdm_enrolled_devices", "Windows devices in the enrolment table.")),
      pfn_failing_(metrics.gauge("greengate_mdm_pfn_failing_devices", "Windows devices whose push registration failed when last tried.")),
      endpoint_(config_.endpoint, [this](const adapters::DmPeer& peer) { return who(peer); }, *this, clock, metrics),
      server_(config_.server, [this](const adapters::DmPeer& peer, std::string_view body) { return endpoint_.handle(peer, body); }, clock, metrics) {}

WindowsDevices::~WindowsDevices() { stop(); }

void WindowsDevices::connect(Ways ways, adapters::Waker* waker) {
  ways_ = std::move(ways);
  waker_ = waker;
}

Result<void> WindowsDevices::start() {
  if (auto read = load(); !read) return read;
  looked_ = clock_.steady();
  if (auto listening = server_.start(); !listening) return listening;
  thread_ = std::thread([this] {
    settle_rows();
    std::unique_lock lock(mutex_);
    while (!wanted_.wait_for(lock, sweep_every, [this] { return stopping_; })) {
      lock.unlock();
      tick();
      lock.lock();
    }
  });
  return {};
}

void WindowsDevices::drain(SteadyTime until) { server_.drain(until); }

void WindowsDevices::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wanted_.notify_all();
  if (thread_.joinable()) thread_.join();
  server_.stop();
  endpoint_.close_all();
}

void WindowsDevices::tick() {
  endpoint_.sweep();
  wake_those_due();
  if (clock_.steady() - looked_ < config_.enrolments_check) return;
  looked_ = clock_.steady();
  if (stamp() == loaded_) return;
  const auto before = table();
  if (auto read = load(); !read) {
    log_.error("the enrolment table was not taken, the one before stays", kv("code", read.error().code), kv("why", read.error().message));
    loaded_ = stamp();  // said once for each change
    return;
  }
  settle_rows();
  forget_channels_of_before(*before);
}

// ---- The table

WindowsDevices::Stamp WindowsDevices::stamp() const {
  struct stat about {};
  if (::stat(config_.enrolments.c_str(), &about) != 0) return {};
  return {about.st_mtim.tv_sec * 1'000'000'000 + about.st_mtim.tv_nsec, about.st_size, static_cast<std::int64_t>(about.st_ino)};
}

std::shared_ptr<const adapters::Enrolments> WindowsDevices::table() const {
  std::lock_guard lock(mutex_);
  return table_;
}

Result<void> WindowsDevices::load() {
  const Stamp before = stamp();
  auto read = adapters::Enrolments::from_file(config_.enrolments);
  if (!read) return pass(read);
  if ((*read)->needs_authority() && config_.server.client_ca_file.empty()) {
    return fail(Remedy::reject, "mdm.enrolments", config_.enrolments + " names certificates by serial and issuer, which anybody can write into one; "
                                                  "give mdm.client_ca_file, or certificate_sha256.");
  }
  loaded_ = before;
  std::unordered_map<AgentId, std::string> known;
  for (const DmEnrolment& row : (*read)->rows()) {
    const auto device = devices_.find_by_key(windows_key(row.device_id));
    if (device && device->state == store::DeviceState::active) known.emplace(device->id, row.device_id);
  }
  enrolled_.set(static_cast<double>((*read)->rows().size()));
  log_.info("enrolment table read", kv("file", config_.enrolments), kv("rows", (*read)->rows().size()));
  std::lock_guard lock(mutex_);
  table_ = std::move(*read);
  known_ = std::move(known);
  return {};
}

// Each row a device, each device a row. Waits for the disk row by row, but only for rows that are new.
void WindowsDevices::settle_rows() {
  const auto rows = table();
  for (const DmEnrolment& row : rows->rows()) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    if (auto made = ensure(row); !made) {
      log_.warn("a Windows device could not be registered", kv("host", row.name), kv("code", made.error().code));
    }
  }
  revoke_removed();
}

Result<AgentId> WindowsDevices::ensure(const DmEnrolment& row) {
  std::lock_guard one(ensure_mutex_);
  const AgentKey key = windows_key(row.device_id);
  auto device = devices_.find_by_key(key);
  bool first = false;
  if (!device) {
    store::EnrolRequest request;
    request.key = key;
    request.host_name = row.name;
    request.operating_system = "Windows";
    request.agent_version = kind_of_agent;
    std::promise<Result<store::Device>> promise;
    devices_.enrol(std::move(request), [&promise](Result<store::Device> made) { promise.set_value(std::move(made)); });
    auto made = promise.get_future().get();
    if (!made) return pass(made);
    device = std::move(*made);
  }
  if (device->state == store::DeviceState::revoked) {
    auto removed = devices_.fact(device->id, removed_fact);
    if (!removed) return pass(removed);
    if (!*removed) return fail(Remedy::reject, "mdm.revoked", "An operator revoked the device.");
  }
  if (device->state != store::DeviceState::active) {
    if (auto noted = devices_.set_fact(device->id, device_fact, row.device_id); !noted) return pass(noted);
    if (auto cleared = devices_.set_fact(device->id, removed_fact, ""); !cleared) return pass(cleared);
    auto active = devices_.set_state(device->id, store::DeviceState::active);
    if (!active) return pass(active);
    log_.info("Windows device enrolled", kv("agent", device->id.raw()), kv("host", row.name));
  }
  {
    std::lock_guard lock(mutex_);
    known_[device->id] = row.device_id;
    first = told_.insert(device->id).second;
  }
  if (first) ways_.stands(device->id, true);
  return device->id;
}

void WindowsDevices::revoke_removed() {
  const auto rows = table();
  std::unordered_set<AgentKey> keys;
  for (const DmEnrolment& row : rows->rows()) keys.insert(windows_key(row.device_id));
  std::vector<AgentId> gone;
  devices_.for_each([&](const store::Device& device) {
    if (device.state == store::DeviceState::active && looks_like_windows(device) && !keys.contains(device.key)) gone.push_back(device.id);
  });
  for (const AgentId& agent : gone) {
    // Any agent may call its version what it likes; only what we noted ourselves counts.
    auto ours = devices_.fact(agent, device_fact);
    if (!ours || !*ours) continue;
    if (auto noted = devices_.set_fact(agent, removed_fact, "1"); !noted) {
      log_.warn("a removed Windows device could not be revoked", kv("agent", agent.raw()), kv("code", noted.error().code));
      continue;
    }
    if (auto revoked = devices_.set_state(agent, store::DeviceState::revoked); !revoked) {
      log_.warn("a removed Windows device could not be revoked", kv("agent", agent.raw()), kv("code", revoked.error().code));
      continue;
    }
    log_.info("Windows device removed", kv("agent", agent.raw()));
    withdraw(agent);
    ways_.stands(agent, false);
  }
}

// A channel belongs to an enrolment; a device that has another certificate now shows a new one in its next session (wns-mdm-push 8.1).
void WindowsDevices::forget_channels_of_before(const adapters::Enrolments& before) {
  if (!waker_) return;
  const auto rows = table();
  for (const DmEnrolment& row : rows->rows()) {
    const DmEnrolment* old = before.of_device(row.device_id);
    if (!old || (old->fingerprint == row.fingerprint && old->serial == row.serial && old->issuer == row.issuer)) continue;
    if (const auto device = devices_.find_by_key(windows_key(row.device_id))) waker_->forget(device->id);
  }
}

void WindowsDevices::withdraw(const AgentId& agent) {
  {
    std::lock_guard lock(mutex_);
    known_.erase(agent);
    told_.erase(agent);
    drop_later(agent, SteadyTime::max());
  }
  endpoint_.forget(agent);
  if (waker_) waker_->forget(agent);
}

Result<DmDevice> WindowsDevices::who(const adapters::DmPeer& peer) {
  const auto rows = table();
  const DmEnrolment* row = rows->of(peer);
  if (!row) return fail(Remedy::reject, "mdm.unknown_certificate", "No enrolled device has this certificate.");
  if (!peer.in_time) return fail(Remedy::reject, "mdm.certificate_time", "The certificate is not valid now.");
  auto agent = ensure(*row);
  if (!agent) return pass(agent);
  DmDevice device;
  device.agent = *agent;
  device.device_id = row->device_id;
  device.enrolment = peer.serial;
  device.credential = row->credential;
  return device;
}

// ---- Waking

bool WindowsDevices::knows(const AgentId& agent) const {
  std::lock_guard lock(mutex_);
  return known_.contains(agent);
}

std::optional<Error> WindowsDevices::refused(const AgentId& agent, const v1::Notification& task) const {
  if (!knows(agent)) return std::nullopt;
  return adapters::refused_for_windows(task, config_.endpoint.visit.tasks);
}

void WindowsDevices::wake(const AgentId& agent, v1::Task task, WallTime start, WallTime deadline, bool urgent) {
  adapters::WakeOrder order{v1::Task_Name(task), deadline, urgent};
  const auto wait = start - clock_.wall();
  if (wait <= WallTime::duration::zero()) return wake_now(agent, std::move(order));
  std::lock_guard lock(mutex_);
  if (!known_.contains(agent)) return;
  put_off(agent, task, clock_.steady() + std::chrono::ceil<SteadyTime::duration>(wait), std::move(order));
}

void WindowsDevices::wake_now(const AgentId& agent, adapters::WakeOrder order) {
  {
    std::lock_guard lock(mutex_);
    if (!known_.contains(agent)) return;
    // It is here: the session takes it along (R-32), and if it ends before it looked again, we wake after it.
    if (const auto open = open_.find(agent); open != open_.end()) {
      open->second = std::move(order);
      return;
    }
  }
  if (waker_) static_cast<void>(waker_->wake(std::span(&agent, 1), order));  // the work waits for the poll whatever it says
}

void WindowsDevices::put_off(const AgentId& agent, v1::Task task, SteadyTime due, adapters::WakeOrder order) {
  auto& tasks = later_[agent];
  const auto [place, fresh] = tasks.try_emplace(task);
  if (!fresh) later_by_time_.erase({place->second.due, agent, task});
  place->second = {due, std::move(order)};
  later_by_time_.emplace(due, agent, task);
}

void WindowsDevices::drop_later(const AgentId& agent, SteadyTime until) {
  const auto found = later_.find(agent);
  if (found == later_.end()) return;
  std::erase_if(found->second, [&](const auto& each) {
    if (each.second.due > until) return false;
    later_by_time_.erase({each.second.due, agent, each.first});
    return true;
  });
  if (found->second.empty()) later_.erase(found);
}

void WindowsDevices::wake_those_due() {
  const SteadyTime now = clock_.steady();
  for (;;) {
    AgentId agent;
    std::optional<adapters::WakeOrder> order;
    {
      std::lock_guard lock(mutex_);
      if (later_by_time_.empty() || std::get<SteadyTime>(*later_by_time_.begin()) > now) return;
      agent = std::get<AgentId>(*later_by_time_.begin());
      // One push for all that is due: the session takes everything along.
      for (const auto& [task, later] : later_.at(agent)) {
        if (later.due > now) continue;
        if (!order || later.order.deadline > order->deadline) order = later.order;
      }
      drop_later(agent, now);
    }
    if (order && order->deadline > clock_.wall()) wake_now(agent, std::move(*order));
  }
}

void WindowsDevices::visit_opened(const DmDevice& device) {
  {
    std::lock_guard lock(mutex_);
    open_[device.agent] = std::nullopt;
  }
  if (const auto known = devices_.find(device.agent)) {
    devices_.note_seen(device.agent, clock_.wall(), known->host_name, known->fqdn, known->operating_system, kind_of_agent);
  }
  if (waker_) waker_->session_opened(device.agent);
}

void WindowsDevices::visit_closed(const DmDevice& device) {
  std::optional<adapters::WakeOrder> late;
  {
    std::lock_guard lock(mutex_);
    if (const auto open = open_.find(device.agent); open != open_.end()) {
      late = std::move(open->second);
      open_.erase(open);
    }
  }
  if (!waker_) return;
  waker_->session_closed(device.agent);
  if (late) static_cast<void>(waker_->wake(std::span(&device.agent, 1), *late));
}

std::string WindowsDevices::pfn_to_set(const DmDevice& device) { return waker_ ? waker_->pfn_to_set(device.agent) : std::string(); }

void WindowsDevices::channel_read(const DmDevice& device, const adapters::DmChannel& channel) {
  if (waker_) waker_->channel_read(device.agent, {device.enrolment, channel.uri, channel.push_status});
}

void WindowsDevices::pfn_outcome(const DmDevice& device, const std::string& outcome, bool good) {
  metrics_.counter("greengate_mdm_pfn_total", "Push registrations of Windows devices, by what came of them.", {{"outcome", outcome}}).add();
  log_.info("push registration", kv("agent", device.agent.raw()), kv("outcome", outcome));
  std::size_t failing = 0, tried = 0;
  bool warn = false;
  {
    std::lock_guard lock(mutex_);
    pfn_good_[device.agent] = good;
    tried = pfn_good_.size();
    failing = static_cast<std::size_t>(std::count_if(pfn_good_.begin(), pfn_good_.end(), [](const auto& each) { return !each.second; }));
    const SteadyTime now = clock_.steady();
    warn = !good && static_cast<double>(failing) > pfn_failing_share_max * static_cast<double>(tried) &&
           (!pfn_warned_ || now - *pfn_warned_ >= pfn_warn_every);
    if (warn) pfn_warned_ = now;
  }
  pfn_failing_.set(static_cast<double>(failing));
  if (warn) log_.warn("push registration fails on many devices", kv("failing", failing), kv("agents", tried), kv("outcome", outcome));
}

void WindowsDevices::unenrolled(const DmDevice& device) {
  if (waker_) waker_->forget(device.agent);
}

// ---- Work

std::vector<v1::Notification> WindowsDevices::collect(const DmDevice& device, std::uint32_t count_max) {
  {
    std::lock_guard lock(mutex_);
    if (const auto open = open_.find(device.agent); open != open_.end()) open->second.reset();  // looked at from here on
    drop_later(device.agent, clock_.steady());
  }
  return ways_.collect(device.agent, count_max);
}

void WindowsDevices::task_result(const DmDevice& device, const v1::TaskResult& result) {
  metrics_.counter("greengate_mdm_task_results_total", "What came of tasks handed to Windows devices.",
                   {{"outcome", v1::TaskOutcome_Name(result.outcome())}}).add();
  ways_.task_result(device.agent, result);
}

Result<adapters::DmMemory> WindowsDevices::recall(const DmDevice& device) {
  auto text = devices_.fact(device.agent, memory_fact);
  if (!text) return pass(text);
  bool whole = true;
  adapters::DmMemory memory = adapters::read_memory(text->value_or(""), whole);
  if (!whole) log_.error("what was kept of a device is damaged, it is begun anew", kv("agent", device.agent.raw()));
  return memory;
}

Result<void> WindowsDevices::remember(const DmDevice& device, const adapters::DmMemory& memory) {
  if (!memory.version.empty()) {
    if (const auto known = devices_.find(device.agent)) {
      devices_.note_seen(device.agent, clock_.wall(), known->host_name, known->fqdn, "Windows " + memory.version, kind_of_agent);
    }
  }
  return devices_.set_fact(device.agent, memory_fact, adapters::write_memory(memory));
}

// ---- For operators

void WindowsDevices::state_changed(const AgentId& agent, store::DeviceState state) {
  if (state == store::DeviceState::revoked) {
    if (knows(agent)) withdraw(agent);
    return;
  }
  auto device_id = devices_.fact(agent, device_fact);
  if (state != store::DeviceState::active || !device_id || !*device_id) return;
  if (!table()->of_device(**device_id)) return;
  std::lock_guard lock(mutex_);
  known_[agent] = **device_id;
  told_.insert(agent);  // whoever changed the state tells the others
}

json::value WindowsDevices::explained(const AgentId& agent) {
  std::string device_id;
  bool open = false;
  std::optional<SteadyTime> due;
  std::shared_ptr<const adapters::Enrolments> rows;
  {
    std::lock_guard lock(mutex_);
    const auto known = known_.find(agent);
    if (known == known_.end()) return nullptr;
    device_id = known->second;
    open = open_.contains(agent);
    if (const auto later = later_.find(agent); later != later_.end()) {
      for (const auto& [task, each] : later->second) due = std::min(due.value_or(each.due), each.due);
    }
    rows = table_;
  }
  json::object told;
  if (const DmEnrolment* row = rows->of_device(device_id)) {
    told["name"] = row->name;
    told["device_id"] = row->device_id;
    told["certificate"] = row->fingerprint.empty() ? "serial " + row->serial + " of " + row->issuer : row->fingerprint;
    told["password"] = row->credential.empty() ? "none" : "asked for";
  }
  told["session"] = open ? "open" : "none";
  told["wake_due_in_ms"] = due ? json::value(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::milliseconds>(*due - clock_.steady()).count())) : json::value(nullptr);
  DmDevice device;
  device.agent = agent;
  if (auto memory = recall(device)) {
    told["last_session_at_ms"] = moment(memory->last_session);
    told["last_session_ended"] = memory->last_end;
    told["last_session_messages"] = memory->last_messages;
    told["last_session_tasks"] = memory->last_tasks;
    told["manufacturer"] = memory->manufacturer;
    told["model"] = memory->model;
    told["version"] = memory->version;
    told["unenrolled_by_its_user"] = memory->unenrolled;
    told["tasks_whose_end_is_awaited"] = memory->watches.size();
    told["push_application"] = memory->pfn.pfn;
    told["push_registration"] = memory->pfn.outcome;
    told["push_registration_at_ms"] = moment(memory->pfn.outcome_at);
  } else {
    told["problem"] = memory.error().code;
  }
  const auto view = waker_ ? waker_->view(agent) : std::nullopt;
  told["channel"] = view ? view->state : "none";
  if (!view) return told;
  told["channel_fingerprint"] = view->fingerprint;  // never the channel itself
  told["channel_why"] = view->why;
  told["channel_first_seen_at_ms"] = moment(view->first_seen);
  told["channel_last_read_at_ms"] = moment(view->last_read);
  told["last_push_at_ms"] = moment(view->last_push);
  told["last_push_outcome"] = view->last_outcome;
  told["push_status"] = view->push_status ? json::value(*view->push_status) : json::value(nullptr);
  told["wake"] = view->wake ? json::value(adapters::wake_state_name(*view->wake)) : json::value(nullptr);
  return told;
}

}  // namespace greengate::gateway
