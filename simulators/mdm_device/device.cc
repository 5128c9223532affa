#include "simulators/mdm_device/device.h"

#include "simulators/common/text.h"

#include <algorithm>
#include <utility>

namespace greengate::sim::mdm {
namespace {

namespace json = boost::json;

}  // namespace

Device::Device(World world, std::string name, std::string device_id, Issued certificate)
    : world_(world), name_(std::move(name)), device_id_(std::move(device_id)), certificate_(std::move(certificate)) {
  if (auto schedule = PollSchedule::parse(world_.settings.poll)) schedule_ = *schedule;
  world_.channels.attach(name_, this);
}

Device::~Device() { leave(); }

void Device::leave() {
  if (!std::exchange(left_, true)) world_.channels.detach(name_);
}

void Device::begin() {
  plant();
  set_poll(schedule_);
}

void Device::replant() {
  const std::string pfn = pfn_;
  tree_ = DmTree();
  plant();
  if (!pfn.empty()) show_push_nodes(pfn);
}

void Device::set_poll(PollSchedule schedule) {
  schedule_ = schedule;
  schedule_.restart();
  schedule_poll();
}

void Device::schedule_poll() {
  world_.clock.cancel(poll_);
  if (!enrolled_) return;
  const std::int64_t next_s = schedule_.next_s();
  next_poll_ms_ = world_.clock.now_ms() + next_s * 1000;
  poll_ = world_.clock.at(next_poll_ms_, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    if (!self->power_.session_possible())
      ++self->polls_missed_;
    else
      self->start_session("poll");  // not while one runs
    self->schedule_poll();
  });
}

void Device::enroll_again(Issued certificate) {
  unregister();
  certificate_ = std::move(certificate);
  enrolled_ = true;
  leaving_ = false;
  last_session_id_ = 0;
  nonce_.clear();
  follow_up_.clear();
  push_unanswered_ = held_ = false;
  tree_ = DmTree();
  plant();
  set_poll(schedule_);
}

void Device::forget_enrolment() {
  unregister();
  enrolled_ = false;
  leaving_ = false;
  world_.clock.cancel(poll_);
  poll_ = 0;
  next_poll_ms_ = 0;
  follow_up_.clear();
  push_unanswered_ = held_ = false;
}

void Device::leave_management() {
  leaving_ = true;
  // Without a server in reach the account goes all the same, unsaid.
  if (!power_.session_possible() || !start_session("unenroll")) forget_enrolment();
}

void Device::hold_session(bool on) {
  hold_ = on;
  if (!on) gate_.open();
}

json::object SessionRecord::view() const {
  json::array http_out, commands_out, gets, breaches_out;
  for (const std::int64_t status : http) http_out.emplace_back(status);
  for (const Command& each : commands) {
    commands_out.push_back(json::object{
        {"verb", each.verb}, {"uri", each.uri}, {"data", each.data}, {"status", each.status}, {"message", each.message}});
    if (each.verb == "Get") gets.emplace_back(each.uri.substr(each.uri.rfind('/') + 1));
  }
  for (const std::string& each : breaches) breaches_out.emplace_back(each);
  return {{"number", number},
          {"session_id", session_id},
          {"cause", cause},
          {"outcome", outcome},
          {"began_ms", began_ms},
          {"ended_ms", ended_ms},
          {"alert", alert},
          {"messages", messages},
          {"authenticated", authenticated},
          {"http", std::move(http_out)},
          {"retry_after", retry_after},
          {"commands", std::move(commands_out)},
          {"gets", std::move(gets)},
          {"breaches", std::move(breaches_out)},
          {"package1", package1}};
}

json::object Device::view() const {
  json::object sessions{{"count", session_number_}, {"running", running_ != nullptr}};
  if (!sessions_.empty()) sessions["last"] = sessions_.back()->view();
  const auto health = [this](const char* name) {
    const auto outcome = tree_.get(std::string("./Vendor/MSFT/Defender/Health/") + name);
    return outcome.data;
  };
  return {{"name", name_},
          {"device_id", device_id_},
          {"serial", certificate_.serial},
          {"certificate_sha256", certificate_.fingerprint},
          {"enrolled", enrolled_},
          {"build", build},
          {"edition", edition},
          {"login", login},
          {"pfn", pfn_},
          {"channel_uri", uri_},
          {"expiry_ms", expiry_ms_},
          {"push_status", push_status()},
          {"connected", connected()},
          {"on", power_.on},
          {"network", power_.network},
          {"next_poll_ms", next_poll_ms_},
          {"polls_missed", polls_missed_},
          {"renewals", renewals_},
          {"renewals_skipped", renewals_skipped_},
          {"deliveries", deliveries_},
          {"held", held_},
          {"held_count", held_count_},
          {"quick_scan_time", health("QuickScanTime")},
          {"full_scan_time", health("FullScanTime")},
          {"signature_version", health("SignatureVersion")},
          {"sessions", std::move(sessions)}};
}

}  // namespace greengate::sim::mdm
