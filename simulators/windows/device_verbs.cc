// Verbs of the devices (9.5).
#include "simulators/common/text.h"
#include "simulators/windows/windows.h"

namespace greengate::sim {
namespace {

namespace json = boost::json;

bool is_build(const std::string& build) {
  return build == "1511" || build == "1607" || build == "11";
}

}  // namespace

std::shared_ptr<mdm::Device> Windows::device_of(Fields& in, Answer& answer) {
  const std::string name = in.text("device");
  auto device = fleet_.find(name);
  if (!device) refuse(answer, 404, "device.unknown", "There is no device \"" + name + "\".");
  return device;
}

void Windows::enroll(Fields& in, Answer& answer) {
  mdm::Fleet::Birth birth;
  birth.build = in.text("build", "11");
  birth.edition = in.text("edition", "desktop");
  birth.host = in.text("host");
  in.has("pfn");  // the DM server says which PFN; here it is for the reader of a scenario
  if (!is_build(birth.build)) return refuse(answer, 400, "device.build", "A build is 1511, 1607 or 11.");
  const bool session = in.flag("session", true);
  const std::string poll = in.text("poll");
  const std::int64_t count = in.number("devices", 1);
  if (count < 1 || count > 20'000) return refuse(answer, 400, "device.count", "1 to 20000 devices at a time.");
  const std::string prefix = in.text("prefix", "d");
  auto schedule = mdm::PollSchedule::parse(poll.empty() ? settings_.mdm.poll : poll);
  if (!schedule) return refuse(answer, 400, schedule.error().code, schedule.error().message);
  json::array names;
  for (std::int64_t i = 1; i <= count; ++i) {
    const std::string name = in.has("device") ? in.text("device") : prefix + std::to_string(i);
    auto device = fleet_.enroll(name, birth);
    if (!device) return refuse(answer, 400, device.error().code, device.error().message);
    (*device)->set_poll(*schedule);
    names.emplace_back(name);
    if (!session) continue;
    if ((*device)->start_session("enroll") && count == 1) answer.session = (*device)->sessions().back();
  }
  answer.body["devices"] = std::move(names);
}

void Windows::set_device(mdm::Device& device, Fields& in, Answer& answer) {
  mdm::Power& power = device.power();
  const bool was_connected = device.connected();
  if (in.has("power")) power.mains = in.text("power") != "battery";
  if (in.has("screen")) power.screen_on = in.text("screen") != "off";
  power.network = in.flag("network", power.network);
  power.service_reachable = in.flag("service_reachable", power.service_reachable);
  power.server_reachable = in.flag("server_reachable", power.server_reachable);
  power.metered_limit = in.flag("metered", power.metered_limit);
  power.exempt = in.flag("exempt", power.exempt);
  device.login = in.text("login", device.login);
  device.pin_set = in.flag("pin", device.pin_set);
  device.queue_mode = in.flag("queue_mode", device.queue_mode);
  device.obeys_429 = in.flag("obeys_429", device.obeys_429);
  device.msa_device_auth = in.flag("msa_device_auth", device.msa_device_auth);
  device.absent_style = in.text("absent_style", device.absent_style);
  device.woken_alert = in.text("woken_alert", device.woken_alert);
  device.channel_host = in.text("host", device.channel_host);
  if (in.has("replace_needs_node")) device.require_push_node(in.flag("replace_needs_node"));
  if (in.has("edition")) {
    device.edition = in.text("edition");
    device.replant();
  }
  if (in.text("push") == "absent") device.set_push_node("");
  if (in.has("push_pfn")) device.set_push_node(in.text("push_pfn"));
  if (in.has("poll")) {
    auto schedule = mdm::PollSchedule::parse(in.text("poll"));
    if (!schedule) return refuse(answer, 400, schedule.error().code, schedule.error().message);
    device.set_poll(*schedule);
  }
  device.power_changed(was_connected, true);
}

void Windows::set_faults(mdm::Device& device, Fields& in, Answer&) {
  mdm::DeviceFaults& f = device.faults();
  if (in.flag("clear")) f = {};
  f.pfn_replace = static_cast<int>(in.number("pfn_replace", f.pfn_replace));
  if (in.has("push_status")) f.push_status = static_cast<int>(in.number("push_status"));
  f.ignore_push = in.flag("ignore_push", f.ignore_push);
  f.hang_on_pfn = in.flag("hang", f.hang_on_pfn);
  f.flapping_uri = in.flag("flapping_uri", f.flapping_uri);
  f.huge_uri = in.number("huge_uri", f.huge_uri);
  f.device_id = in.text("device_id", f.device_id);
  f.no_final = in.flag("no_final", f.no_final);
  f.abandons = in.flag("abandons", f.abandons);
  f.raw_package = in.text("raw_package", f.raw_package);
  f.session_header = in.text("session_id", f.session_header);
  f.exec_fails = in.flag("exec_fails", f.exec_fails);
}

void Windows::plan_device_verbs() {
  const auto with = [this](auto what) {
    return [this, what](Fields& in, Answer& answer) {
      if (const auto device = device_of(in, answer)) what(*device, in, answer);
    };
  };
  verbs_["device.enroll"] = [this](Fields& in, Answer& answer) { enroll(in, answer); };
  verbs_["device.reenroll"] = with([this](mdm::Device& device, Fields&, Answer& answer) {
    if (auto done = fleet_.reenroll(device); !done) refuse(answer, 500, done.error().code, done.error().message);
  });
  verbs_["device.unenroll"] = with([](mdm::Device& device, Fields&, Answer& answer) {
    if (device.session_running()) return refuse(answer, 409, "device.busy", "A session is running.");
    device.leave_management();
    if (device.session_running()) answer.session = device.sessions().back();
  });
  const auto network = [with](bool on) {
    return with([on](mdm::Device& device, Fields&, Answer&) {
      const bool was = device.connected();
      device.power().network = on;
      device.power_changed(was, !on);
    });
  };
  verbs_["device.online"] = network(true);
  verbs_["device.offline"] = network(false);
  verbs_["device.battery_saver"] = with([](mdm::Device& device, Fields& in, Answer&) {
    const bool was = device.connected();
    device.power().battery_saver = in.flag("on", true);
    device.power_changed(was, true);
  });
  verbs_["device.build"] = with([](mdm::Device& device, Fields& in, Answer& answer) {
    const std::string build = in.text("build", device.build);
    if (!is_build(build)) return refuse(answer, 400, "device.build", "A build is 1511, 1607 or 11.");
    device.renewal_broken = in.text("renewal", device.renewal_broken ? "broken" : "") == "broken";
    if (build == device.build) return;
    device.build = build;
    device.replant();
  });
  verbs_["device.set"] = with([this](mdm::Device& device, Fields& in, Answer& answer) { set_device(device, in, answer); });
  verbs_["device.fault"] = with([this](mdm::Device& device, Fields& in, Answer& answer) { set_faults(device, in, answer); });
  // What it reports from now on, and a session to report it in. An empty text ends it.
  verbs_["device.report_channel"] = with([](mdm::Device& device, Fields& in, Answer& answer) {
    device.faults().channel_uri = in.text("uri");
    if (in.flag("session", true) && device.start_session("report")) answer.session = device.sessions().back();
  });
  verbs_["device.session"] = with([](mdm::Device& device, Fields& in, Answer& answer) {
    if (in.text("channel") == "new" && !device.renew_now()) return refuse(answer, 409, "device.no_pfn", "The device has no PFN to renew with.");
    if (!device.start_session(in.text("cause", "user"))) return refuse(answer, 409, "device.busy", "A session is running, or the device is not enrolled.");
    answer.session = device.sessions().back();
  });
  verbs_["device.session.open"] = with([](mdm::Device& device, Fields&, Answer& answer) {
    device.hold_session(true);
    if (!device.start_session("user")) return refuse(answer, 409, "device.busy", "A session is running, or the device is not enrolled.");
    answer.session = device.sessions().back();
  });
  verbs_["device.session.resume"] = with([](mdm::Device& device, Fields&, Answer& answer) {
    device.hold_session(false);
    if (!device.sessions().empty()) answer.session = device.sessions().back();
  });
  // As if the service had delivered: for a fleet without one.
  verbs_["device.push"] = with([this](mdm::Device& device, Fields& in, Answer&) {
    wns::Notification notification;
    notification.kind = in.text("type", "raw");
    notification.body = "wake";
    notification.priority = static_cast<int>(in.number("priority", 3));
    notification.received_ms = clock_.now_ms();
    device.deliver(notification);
  });
}

}  // namespace greengate::sim
