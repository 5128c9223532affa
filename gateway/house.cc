#include "gateway/house.h"

#include "adapters/bgb/session_pool.h"
#include "adapters/http/client.h"
#include "adapters/mp/differing_settings.h"
#include "adapters/wns/wns_sender.h"
#include "core/lifecycle.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/random.h"
#include "gateway/admin.h"
#include "gateway/class_shapes.h"
#include "gateway/doors.h"
#include "gateway/enquiries.h"
#include "gateway/explain_parts.h"
#include "gateway/fan_out.h"
#include "gateway/ingest.h"
#include "gateway/mp_doors.h"
#include "gateway/net_thread.h"
#include "gateway/notification_servers.h"
#include "gateway/notify_admin.h"
#include "gateway/replayer.h"
#include "gateway/sealed_channels.h"
#include "gateway/slots.h"
#include "gateway/task_parameters.h"
#include "gateway/windows_devices.h"
#include "store/open_store.h"
#include "store/sealer.h"
#include "workers/common_identity.h"
#include "workers/courier.h"
#include "workers/identities.h"
#include "workers/inventory_planner.h"
#include "workers/key_pool.h"
#include "workers/learned_hosts.h"
#include "workers/policy_watch.h"
#include "workers/pool.h"
#include "workers/preview.h"
#include "workers/site_errands.h"
#include "workers/site_locator.h"
#include "workers/site_map.h"
#include "workers/translator.h"

#include "greengate/v1/frame.pb.h"

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>

namespace greengate::gateway {
namespace {

using std::chrono::milliseconds;

// What became of a report, as its agent hears it.
v1::Receipt receipt_of(const workers::ReportOutcome& outcome, WallTime now) {
  v1::Receipt receipt;
  receipt.set_incarnation(outcome.name.incarnation);
  receipt.set_first_sequence(outcome.name.sequence);
  receipt.set_last_sequence(outcome.name.sequence);
  switch (outcome.outcome) {
    case store::Outcome::delivered: receipt.set_status(v1::RECEIPT_STATUS_DELIVERED); break;
    case store::Outcome::superseded: receipt.set_status(v1::RECEIPT_STATUS_SUPERSEDED); break;
    case store::Outcome::expired: receipt.set_status(v1::RECEIPT_STATUS_EXPIRED); break;
    case store::Outcome::buried: receipt.set_status(v1::RECEIPT_STATUS_REJECTED); break;
  }
  receipt.set_code(outcome.code);
  receipt.set_message(outcome.message);
  receipt.set_at_ms(to_millis(now));
  return receipt;
}

// Whose key signs for every agent; null where each has its own.
Result<std::shared_ptr<workers::CommonIdentity>> open_common_identity(const SiteConfig& site, const adapters::MpSettings& mp,
                                                                      const store::Sealer& sealer, const Clock& clock) {
  switch (mp.identity_mode) {
    case adapters::IdentityMode::per_client_key: break;
    case adapters::IdentityMode::shared_key:
      return workers::CommonIdentity::shared_key(site.shared_identity_file, sealer, mp.certificate, clock.wall());
    case adapters::IdentityMode::isv_proxy:
      return workers::CommonIdentity::isv_proxy(site.proxy_key_file, site.proxy_certificate_file,
                                                *adapters::parse_sms_id(site.proxy_sms_id));
  }
  return std::shared_ptr<workers::CommonIdentity>();
}

// What a site needed changed is the first thing to know when its messages are not taken.
void log_differing_settings(const adapters::MpSettings& settings) {
  const Log log("site");
  for (const auto& each : adapters::differing_settings(settings))
    log.info("protocol setting differs from its default", kv("key", each.key), kv("value", each.value), kv("usual", each.usual),
             kv("grade", each.grade));
}

// A number nobody confirmed may mean something else at this site.
void log_guessed_tasks(const TaskTable& tasks) {
  std::string guessed;
  for (const TaskRow& row : tasks.rows()) {
    if (row.basis == "guessed") guessed += (guessed.empty() ? "" : " ") + std::to_string(row.task_type);
  }
  if (!guessed.empty()) Log("fan_out").info("meaning of task types is guessed", kv("task_types", guessed));
}

// Tells fan-out, errands and policy who came and went. A device enrolled by token becomes active without an operator: its first
// Hello is the moment to bring it to the site.
class Doorkeeper final : public PresenceListener {
 public:
  Doorkeeper(FanOut& fan_out, workers::SiteErrands& errands, workers::PolicyWatch& policy, Enquiries& enquiries)
      : fan_out_(fan_out), errands_(errands), policy_(policy), enquiries_(enquiries) {}
  void on_connected(const store::Device& device) override {
    fan_out_.agent_connected(device.id);
    if (device.site.state != store::IdentityState::ready)
      errands_.agent_active(device.id);
    else
      policy_.agent_connected(device.id);
  }
  void on_disconnected(const AgentId& agent) override {
    fan_out_.agent_disconnected(agent);
    enquiries_.agent_disconnected(agent);
  }

 private:
  FanOut& fan_out_;
  workers::SiteErrands& errands_;
  workers::PolicyWatch& policy_;
  Enquiries& enquiries_;
};

v1::Directions directions_of(const workers::PolicyRhythm& rhythm) {
  v1::Directions directions;
  directions.set_heartbeat_interval_s(static_cast<std::uint32_t>(rhythm.heartbeat.count()));
  directions.set_inventory_interval_s(static_cast<std::uint32_t>(rhythm.hardware.count()));
  directions.set_software_inventory_interval_s(static_cast<std::uint32_t>(rhythm.software.count()));
  return directions;
}

}  // namespace

// Members are declared floor by floor, so destruction is the reverse.
struct House::Rooms {
  Rooms(const Config& given, const Clock& given_clock) : config(given), clock(given_clock) {}

  const Config config;
  const Clock& clock;
  Metrics metrics;
  std::unique_ptr<store::Store> store;
  NetThread net;
  std::unique_ptr<adapters::HttpClient> http;
  std::unique_ptr<workers::Courier> courier;
  std::unique_ptr<workers::Identities> identities;
  std::unique_ptr<workers::KeyPool> keys;
  std::unique_ptr<workers::Translator> translator;
  std::unique_ptr<workers::InventoryPlanner> inventories;
  std::unique_ptr<workers::SiteErrands> errands;
  std::unique_ptr<workers::SiteMap> site_map;
  std::unique_ptr<workers::PolicyWatch> policy;
  std::unique_ptr<workers::SiteLocator> locator;
  std::unique_ptr<workers::Pool> pool;
  std::unique_ptr<Enquiries> enquiries;
  std::unique_ptr<TaskParameters> task_parameters;
  std::unique_ptr<FanOut> fan_out;
  std::unique_ptr<Ticker> sweeper;
  std::unique_ptr<Ticker> releaser;
  std::unique_ptr<NotifyAdmin> notify_admin;
  std::unique_ptr<adapters::SessionPool> sessions;
  std::unique_ptr<NotificationServers> notification_servers;  ///< None where all agents have those of the settings.
  std::unique_ptr<Ingest> ingest;
  std::unique_ptr<Doorkeeper> doorkeeper;
  std::unique_ptr<SealedChannels> channels;
  std::unique_ptr<adapters::Waker> waker;
  std::unique_ptr<WindowsDevices> windows;  ///< None where [mdm] is off.
  std::unique_ptr<workers::Preview> preview;
  std::unique_ptr<Replayer> replayer;
  std::unique_ptr<Ticker> replay_ticker;
  std::unique_ptr<Admin> admin;
  std::unique_ptr<Doors> doors;
  std::unique_ptr<Lifecycle> lifecycle;

  Result<void> build();
  void build_policy(store::DeviceRegistry& devices, store::ReportQueue& reports);
  void build_notification_servers();
  Result<void> build_windows(const store::Sealer& sealer);
  void open_session(const AgentId& agent);
  void close_session(const AgentId& agent);
  void connect();
  Admin::House facts();
  void state_changed(const AgentId& agent, store::DeviceState state);
};

Result<void> House::Rooms::build() {
  if (config.has_role("deliver")) log_differing_settings(config.mp);
  auto opened = store::open_store(config.store, clock, metrics);
  if (!opened) return pass(opened);
  store = std::move(*opened);
  store::ReportQueue& reports = store->reports();
  store::DeviceRegistry& devices = store->devices();

  auto sealer = store::Sealer::from_key_file(config.gateway.seal_key_file, true);
  if (!sealer) return pass(sealer);
  adapters::HttpClientConfig http_config;
  http_config.ca_file = config.site.ca_file;
  http_config.client_certificate_file = config.site.client_certificate_file;
  http_config.client_key_file = config.site.client_key_file;
  auto client = adapters::HttpClient::create(net.context(), http_config, metrics);
  if (!client) return pass(client);
  http = std::move(*client);
  auto mp_doors = open_mp_doors(config.site, config.mp, *http, clock);
  if (!mp_doors) return pass(mp_doors);

  courier = std::make_unique<workers::Courier>(config.courier, std::move(*mp_doors), clock, metrics, random_u64());
  auto common = open_common_identity(config.site, config.mp, *sealer, clock);
  if (!common) return pass(common);
  identities = std::make_unique<workers::Identities>(config.mp, devices, *sealer, config.gateway.identities_open_max, std::move(*common));
  keys = std::make_unique<workers::KeyPool>(config.registration.keys_ready_max);
  translator = std::make_unique<workers::Translator>(config.mp);
  inventories = std::make_unique<workers::InventoryPlanner>(config.inventory, config.mp, store->baselines(), metrics);
  errands = std::make_unique<workers::SiteErrands>(config.registration, config.mp, devices, reports, *identities, *keys,
                                                   *courier, clock, metrics,
                                                   [this](const AgentId& agent) {
                                                     // A session under an SMSID or key of before would hear nothing more.
                                                     fan_out->identity_gone(agent);
                                                     fan_out->identity_ready(agent);
                                                     policy->agent_ready(agent);
                                                     if (windows && windows->knows(agent)) open_session(agent);
                                                   });
  build_policy(devices, reports);
  pool = std::make_unique<workers::Pool>(config.delivery, reports, devices, *identities, *translator, *inventories, *courier,
                                         clock, metrics, [this](const workers::ReportOutcome& outcome) {
                                           // An agent that is away learns nothing new from a receipt it misses.
                                           (void)ingest->send_receipt(outcome.name.agent, receipt_of(outcome, clock.wall()));
                                         });
  auto tasks = TaskTable::read(config.notifications.tasks_file);
  if (!tasks) return pass(tasks);
  if (config.has_role("notify") && config.bgb.enabled) log_guessed_tasks(*tasks);
  task_parameters = std::make_unique<TaskParameters>(config.task_parameters, metrics);
  fan_out = std::make_unique<FanOut>(config.notifications, std::move(*tasks), devices, store->mailbox(), clock, metrics);
  sweeper = std::make_unique<Ticker>("late answers", milliseconds(100), [this] { fan_out->sweep(); });
  releaser = std::make_unique<Ticker>("releaser", milliseconds(100), [this] { fan_out->release(); });
  notify_admin = std::make_unique<NotifyAdmin>(devices, store->mailbox(), clock, [this](Order order) -> Result<store::Posted> {
    v1::Notification task = order.parameters;
    task.set_task(order.task);
    auto left = able(windows.get(), std::move(order.devices), task);
    if (!left) return pass(left);
    order.devices = std::move(*left);
    return fan_out->order(std::move(order));
  });
  adapters::BgbConfig bgb = config.bgb;
  bgb.enabled = bgb.enabled && config.has_role("notify");
  sessions = std::make_unique<adapters::SessionPool>(
      net.context(), bgb, clock, metrics,
      [this](const AgentId& agent) -> Result<adapters::BgbIdentity> {
        auto identity = identities->of(agent);
        if (!identity) return pass(identity);
        auto key = identity->key.pkcs8_der();
        if (!key) return pass(key);
        adapters::BgbIdentity as;
        as.sms_id = identity->sms_id;
        as.certificate_der = identity->certificate_der;
        as.private_key_der = std::move(*key);
        return as;
      },
      *fan_out, [this](const AgentId& agent, const SmsId& sms_id) { return fan_out->may_hold_session(agent, sms_id); });
  if (bgb.enabled && bgb.servers_from == "location") build_notification_servers();
  ingest = std::make_unique<Ingest>(config.agents, reports, devices, clock, metrics);
  doorkeeper = std::make_unique<Doorkeeper>(*fan_out, *errands, *policy, *enquiries);
  if (auto built = build_windows(*sealer); !built) return built;
  preview = std::make_unique<workers::Preview>(config.mp, devices, *identities, *translator, *inventories);
  replayer = std::make_unique<Replayer>(reports, config.replay_per_second, clock, metrics);
  replay_ticker = std::make_unique<Ticker>("replayer", milliseconds(100), [this] { replayer->tick(); });
  admin = std::make_unique<Admin>(devices, reports, clock, facts());
  doors = std::make_unique<Doors>(config.gateway, net.context(), *admin, metrics);
  connect();

  // Downstream first: what the others pour into comes before them.
  std::vector<Component*> order{store.get(), &net};
  if (config.has_role("deliver")) {
    order.insert(order.end(), {courier.get(), keys.get(), errands.get(), site_map.get(), policy.get(), pool.get(), enquiries.get(), replay_ticker.get()});
  }
  order.push_back(sessions.get());
  if (notification_servers) order.push_back(notification_servers.get());
  order.insert(order.end(), {sweeper.get(), releaser.get()});
  if (windows) order.insert(order.end(), {waker.get(), windows.get()});
  if (config.has_role("ingest")) order.push_back(ingest.get());
  order.push_back(doors.get());
  lifecycle = std::make_unique<Lifecycle>(std::move(order), clock);
  return {};
}

void House::Rooms::build_policy(store::DeviceRegistry& devices, store::ReportQueue& reports) {
  workers::SiteMapConfig map_config = config.site_map;
  map_config.configured = config.site.management_points;
  map_config.pin_file = config.store.directory + "/site-signing-certificate.pem";
  site_map = std::make_unique<workers::SiteMap>(
      std::move(map_config), config.mp,
      workers::SiteMap::Ways{
          .get = [this](std::string_view target) { return courier->get(target); },
          .open = [this](const std::string& address) { return open_mp_door(address, config.mp, *http, clock); },
          .set_points = [this](std::vector<std::unique_ptr<workers::MpDoor>> points) { courier->set_points(std::move(points)); }},
      clock, metrics, random_u64());
  policy = std::make_unique<workers::PolicyWatch>(config.policy, config.mp, devices, reports, *identities, *courier, clock, metrics);
  locator = std::make_unique<workers::SiteLocator>(config.enquiries.location_ttl, config.mp, *identities, *courier, clock, metrics);
  enquiries = std::make_unique<Enquiries>(config.enquiries, devices, *policy, *site_map, *locator, clock, metrics);
  inventories->ask_of_policy(*policy);
  policy->connect({
      .answered = [this](const AgentId& agent) { errands->invoke_answered(agent); },
      .refused = [this](const AgentId& agent) { return errands->invoke_refused(agent); },
      .unexpected = [this](const AgentId& agent) { errands->reply_unexpected(agent); },
      .connected = [this](const AgentId& agent) { return ingest->presence().connected(agent); },
      .direct = [this](const AgentId& agent, const workers::PolicyRhythm& rhythm) { (void)ingest->send_directions(agent, directions_of(rhythm)); },
  });
  enquiries->connect({
      .answer = [this](const AgentId& agent, const v1::Answer& answer) { return ingest->send_answer(agent, answer); },
      .address =
          [this](const AgentId& agent) {
            const auto there = ingest->presence().find(agent);
            return there ? there->remote : std::string();
          },
  });
}

void House::Rooms::build_notification_servers() {
  notification_servers = std::make_unique<NotificationServers>(
      NotificationServersConfig{.settings = config.bgb.servers,
                                .port = config.bgb.port,
                                .servers_max = config.bgb.servers_max,
                                .ttl = config.enquiries.location_ttl},
      clock, metrics, random_u64());
  notification_servers->connect({
      .locate = [this](const AgentId& agent, const std::string& address) -> Result<workers::Located> {
        if (site_map->view().certificate_changed)
          return fail(Remedy::retry, "site.certificate_changed", "The site's signing certificate is not the pinned one.");
        adapters::LocationQuestion question;
        question.kind = adapters::LocationKind::management_points;
        return locator->locate(agent, std::move(question), address, false);
      },
      .address =
          [this](const AgentId& agent) {
            const auto there = ingest->presence().find(agent);
            return there ? there->remote : std::string();
          },
      .allow = [hosts = workers::LearnedHosts(config.site.management_points, config.site_map.mp_list_domains)](
                   const std::string& host, bool https) { return hosts.allow(host, https); },
      .open = [this](const AgentId& agent, const adapters::BgbServers& servers) { sessions->open(agent, servers); },
      .change = [this](const AgentId& agent, const adapters::BgbServers& servers) { sessions->change_servers(agent, servers); },
      .close = [this](const AgentId& agent) { sessions->close(agent); },
  });
}

void House::Rooms::open_session(const AgentId& agent) {
  if (notification_servers) return notification_servers->open(agent);
  sessions->open(agent);
}

void House::Rooms::close_session(const AgentId& agent) {
  if (notification_servers) return notification_servers->close(agent);
  sessions->close(agent);
}

// Devices that are woken and come, beside agents that stay.
Result<void> House::Rooms::build_windows(const store::Sealer& sealer) {
  if (!config.windows.enabled) return {};
  channels = std::make_unique<SealedChannels>(store->devices(), sealer);
  auto made = adapters::make_wns_waker(net.context(), config.wns, *channels, clock, metrics, random_u64());
  if (!made) return pass(made);
  waker = std::move(*made);
  if (!config.windows.register_at_site) errands->leave_out(looks_like_windows);
  windows = std::make_unique<WindowsDevices>(config.windows, store->devices(), clock, metrics);
  windows->connect(
      {
          .collect = [this](const AgentId& agent, std::uint32_t count_max) { return fan_out->collect(agent, count_max); },
          .task_result = [this](const AgentId& agent, const v1::TaskResult& result) { fan_out->task_result(agent, result); },
          .stands =
              [this](const AgentId& agent, bool active) {
                if (!active) return state_changed(agent, store::DeviceState::revoked);
                fan_out->remind(agent);
                if (!config.has_role("deliver")) return;
                errands->agent_active(agent);
                // It has no connection whose coming would open its session at the site.
                const auto device = store->devices().find(agent);
                if (device && device->site.state == store::IdentityState::ready) open_session(agent);
              },
      },
      waker.get());
  return {};
}

void House::Rooms::connect() {
  fan_out->connect({
      .send = [this](const AgentId& agent, const v1::Notification& push) { return ingest->send_notification(agent, push); },
      .open_session = [this](const AgentId& agent) { open_session(agent); },
      .close_session = [this](const AgentId& agent) { close_session(agent); },
      .respond = [this](const AgentId& agent, std::uint64_t push_id, std::uint64_t task_id,
                        bool success) { sessions->respond(agent, push_id, task_id, success); },
      .ask_policy = [this](const AgentId& agent, milliseconds delay) { policy->ask(agent, delay); },
      .parameters = [this](const AgentId& agent, v1::Task task, const adapters::BgbPush& push) -> Result<std::string> {
        // The site hears at once what this kind of device cannot do.
        v1::Notification asked;
        asked.set_task(task);
        if (const auto refused = windows ? windows->refused(agent, asked) : std::nullopt) return tl::unexpected(*refused);
        return task_parameters->of(agent, task, push);
      },
      .wake =
          [this](const AgentId& agent, v1::Task task, WallTime start, WallTime deadline, bool urgent) {
            if (windows) windows->wake(agent, task, start, deadline, urgent);
          },
  });
  // An agent that is away is not told: its next inventory is sent whole anyway.
  pool->on_state_wanted([this](const AgentId& agent, std::uint32_t) {
    (void)ingest->ask_full_state(agent, "The site asks for a state this gateway never had.");
  });
  store->reports().on_expired([this](const std::vector<store::ReportName>& expired) {
    for (const store::ReportName& name : expired) {
      if (name.incarnation == 0) continue;  // our own: no agent waits for it
      (void)ingest->send_receipt(name.agent, receipt_of({name, store::Outcome::expired, "report.expired", "Its time to live ended before it could be delivered."}, clock.wall()));
    }
  });
  ingest->listen(*doorkeeper);
  ingest->on_task_result([this](const AgentId& agent, const v1::TaskResult& result) { fan_out->task_result(agent, result); });
  if (config.has_role("deliver")) ingest->on_ask([this](const AgentId& agent, const v1::Ask& ask) { enquiries->asked(agent, ask); });
}

Admin::House House::Rooms::facts() {
  Admin::House facts;
  facts.roles = config.gateway.roles;
  facts.connected = [this](const AgentId& agent) { return ingest->presence().connected(agent); };
  facts.session = [this](const AgentId& agent) {
    const auto view = sessions->view(agent);
    if (!view) return std::string("none");
    return view->last_error_code.empty() ? view->state : view->state + ", last failure " + view->last_error_code;
  };
  facts.sessions_online = [this] { return static_cast<std::uint64_t>(sessions->view().online); };
  facts.management_points = [this] { return courier->health(); };
  facts.pacing = [this] { return courier->budget().health(); };
  facts.pushes = [this] { return fan_out->counts(); };
  facts.state_changed = [this](const AgentId& agent, store::DeviceState state) { state_changed(agent, state); };
  facts.rotate_key = [this](const AgentId& agent) { return errands->rotate(agent); };
  facts.agent_endpoint = [this] { return ingest->endpoint(); };
  facts.gateway_key = [this] { return ingest->public_key(); };
  facts.class_shape = [this](const std::string& name) { return class_shape(store->devices(), store->baselines(), name); };
  facts.notifications = notify_admin.get();
  if (config.has_role("deliver")) facts.replayer = replayer.get();
  facts.message_of = [this](const store::LeasedReport& report) { return preview->xml_of(report); };
  if (config.has_role("deliver")) {
    facts.details.emplace_back("identity", [this](const AgentId& agent) { return explained(errands->view(agent), clock.wall()); });
    facts.details.emplace_back("policy", [this](const AgentId& agent) { return explained(policy->known(agent)); });
    facts.details.emplace_back("pacing", [this](const AgentId&) { return explained(courier->budget().health()); });
  }
  if (windows) facts.details.emplace_back("windows", [this](const AgentId& agent) { return windows->explained(agent); });
  facts.details.emplace_back("inventory", [this](const AgentId& agent) {
    auto baselines = store->baselines().list(agent);
    return baselines ? explained(*baselines) : boost::json::value(boost::json::object{{"problem", baselines.error().code}});
  });
  if (config.has_role("notify") && config.bgb.enabled) {
    facts.details.emplace_back("notification_servers", [this](const AgentId& agent) {
      return explained(sessions->view(agent), notification_servers ? notification_servers->view(agent) : std::nullopt);
    });
  }
  facts.details.emplace_back("notifications", [this](const AgentId& agent) { return notify_admin->last_of(agent); });
  facts.details.emplace_back("slots", [this](const AgentId& agent) {
    const auto connected = ingest->presence().find(agent);
    boost::json::object slots{{"next_report_slot_in_ms", Slots(slots_of(config.agents)).report(agent, clock.wall()).count()}};
    if (connected) slots["connected_at_ms"] = to_millis(connected->since);
    return boost::json::value(std::move(slots));
  });
  return facts;
}

void House::Rooms::state_changed(const AgentId& agent, store::DeviceState state) {
  ingest->on_state_changed(agent);
  if (windows) windows->state_changed(agent, state);
  if (state == store::DeviceState::active) errands->agent_active(agent);
  if (state == store::DeviceState::revoked) {
    errands->agent_gone(agent);
    policy->agent_gone(agent);
    fan_out->identity_gone(agent);
  }
}

House::House(std::unique_ptr<Rooms> rooms) : rooms_(std::move(rooms)) {}
House::~House() = default;

Result<std::unique_ptr<House>> House::build(const Config& config, const Clock& clock) {
  auto rooms = std::make_unique<Rooms>(config, clock);
  if (auto built = rooms->build(); !built) return pass(built);
  return std::unique_ptr<House>(new House(std::move(rooms)));
}

Result<void> House::start() {
  auto started = rooms_->lifecycle->start();
  if (started) rooms_->fan_out->open_standing_sessions();
  if (started) rooms_->doors->set_ready(true);
  return started;
}

void House::shut_down(SteadyTime drain_until) { rooms_->lifecycle->shut_down(drain_until); }
std::string House::at() const { return rooms_->lifecycle->at(); }

std::string House::addresses() const {
  return boost::json::serialize(boost::json::object{
      {"agent_endpoint", rooms_->ingest->endpoint()},
      {"gateway_key", rooms_->ingest->public_key()},
      {"admin_socket", rooms_->config.gateway.admin_socket},
      {"observe_port", rooms_->doors->observe_port()},
      {"mdm_port", rooms_->windows ? rooms_->windows->port() : 0}});
}

}  // namespace greengate::gateway
