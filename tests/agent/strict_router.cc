#include "tests/agent/strict_router.h"

#include "core/check.h"
#include "greengate/v1/report.pb.h"

#include <openssl/sha.h>
#include <zmq.h>

#include <array>
#include <cstring>

namespace greengate::test {
namespace {

// All parts of the next message; empty when there is none.
std::vector<std::string> receive(void* socket, std::string* user_id) {
  std::vector<std::string> parts;
  for (;;) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&message);
      return parts;
    }
    parts.emplace_back(static_cast<char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    if (user_id) {
      if (const char* id = zmq_msg_gets(&message, "User-Id")) *user_id = id;
    }
    const bool more = zmq_msg_more(&message) != 0;
    zmq_msg_close(&message);
    if (!more) return parts;
  }
}

std::string z85(const std::string& raw) {
  std::array<char, 41> text{};
  GREENGATE_CHECK(zmq_z85_encode(text.data(), reinterpret_cast<const std::uint8_t*>(raw.data()),
                                 raw.size()) != nullptr,
                  "a ZAP CURVE credential has 32 bytes");
  return text.data();
}

void set_int(void* socket, int option, int value) {
  zmq_setsockopt(socket, option, &value, sizeof value);
}

}  // namespace

StrictRouter::StrictRouter(Options options) : options_(std::move(options)) {
  std::array<char, 41> public_key{}, secret_key{};
  zmq_curve_keypair(public_key.data(), secret_key.data());
  public_key_ = public_key.data();
  secret_key_ = secret_key.data();
}

StrictRouter::~StrictRouter() {
  stop();
}

void StrictRouter::start() {
  GREENGATE_CHECK(!thread_.joinable(), "started once at a time");
  {
    std::lock_guard lock(mutex_);
    stopping_ = false;
    peers_.clear();
    outbound_.clear();
  }
  std::unique_lock lock(mutex_);
  bool bound = false;
  thread_ = std::thread([this, &bound] {
    void* context = zmq_ctx_new();
    void* zap = zmq_socket(context, ZMQ_REP);
    zmq_bind(zap, "inproc://zeromq.zap.01");
    void* router = zmq_socket(context, ZMQ_ROUTER);
    set_int(router, ZMQ_LINGER, 0);
    set_int(router, ZMQ_CURVE_SERVER, 1);
    set_int(router, ZMQ_ROUTER_MANDATORY, 1);
    zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, secret_key_.data(), 40);
    zmq_setsockopt(router, ZMQ_ZAP_DOMAIN, "agents", 6);
    int result = -1;
    std::string address;
    {
      std::lock_guard guard(mutex_);
      address = "tcp://127.0.0.1:" + (port_ ? std::to_string(port_) : std::string("*"));
    }
    for (int tries = 0; tries < 200 && result != 0; ++tries) {
      result = zmq_bind(router, address.c_str());
      // The listener of the router just stopped may take a moment to go.
      if (result != 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    GREENGATE_CHECK(result == 0, "the test router gets its port");
    std::array<char, 256> bound_to{};
    std::size_t size = bound_to.size();
    zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, bound_to.data(), &size);
    {
      std::lock_guard guard(mutex_);
      port_ = std::stoi(
          std::string(bound_to.data()).substr(std::string(bound_to.data()).rfind(':') + 1));
      router_ = router;
      bound = true;
    }
    changed_.notify_all();
    for (;;) {
      zmq_pollitem_t items[] = {{zap, 0, ZMQ_POLLIN, 0},
                                {router, 0, ZMQ_POLLIN, 0},
                                {nullptr, wakeup_.fd(), ZMQ_POLLIN, 0}};
      zmq_poll(items, 3, -1);
      wakeup_.clear();
      if (items[0].revents) answer_zap(zap);
      std::lock_guard guard(mutex_);
      if (stopping_) break;
      for (int i = 0; i < 100; ++i) {
        std::string key;
        const auto parts = receive(router, &key);
        if (parts.empty()) break;
        if (parts.size() != 2) {
          complain("a message has " + std::to_string(parts.size() - 1) + " parts instead of one");
          continue;
        }
        on_frame(parts[0], key, parts[1]);
      }
      for (const std::string& frame : std::exchange(outbound_, {})) {
        for (const auto& [route, peer] : peers_) {
          if (!peer.greeted) continue;
          zmq_send(router, route.data(), route.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT);
          zmq_send(router, frame.data(), frame.size(), ZMQ_DONTWAIT);
        }
      }
    }
    zmq_close(router);
    zmq_close(zap);
    zmq_ctx_term(context);
  });
  changed_.wait(lock, [&] { return bound; });
}

void StrictRouter::stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wakeup_.wake();
  thread_.join();
}

void StrictRouter::change(const std::function<void(Options&)>& how) {
  std::lock_guard lock(mutex_);
  how(options_);
}

void StrictRouter::send(const v1::Frame& frame) {
  {
    std::lock_guard lock(mutex_);
    outbound_.push_back(frame.SerializeAsString());
  }
  wakeup_.wake();
}

bool StrictRouter::wait(const std::function<bool(const Seen&)>& when,
                        std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return when(seen_); });
}

StrictRouter::Seen StrictRouter::seen() {
  std::lock_guard lock(mutex_);
  return seen_;
}

void StrictRouter::complain(std::string what) {
  seen_.complaints.push_back(std::move(what));
  changed_.notify_all();
}

void StrictRouter::answer_zap(void* zap) {
  const auto request = receive(zap, nullptr);
  if (request.size() < 7) return;
  const bool curve = request[5] == "CURVE" && request[6].size() == 32;
  const std::string key = curve ? z85(request[6]) : "";
  bool welcome = curve;
  {
    std::lock_guard lock(mutex_);
    welcome = welcome && !options_.revoked.contains(key);
    if (welcome) seen_.keys.insert(key);
  }
  const std::string answer[] = {"1.0", request[1], welcome ? "200" : "400", welcome ? "OK" : "No",
                                key,   ""};
  for (std::size_t i = 0; i < std::size(answer); ++i) {
    zmq_send(zap, answer[i].data(), answer[i].size(), i + 1 < std::size(answer) ? ZMQ_SNDMORE : 0);
  }
}

void StrictRouter::reply(const std::string& route, const v1::Frame& frame) {
  const std::string bytes = frame.SerializeAsString();
  zmq_send(router_, route.data(), route.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT);
  zmq_send(router_, bytes.data(), bytes.size(), ZMQ_DONTWAIT);
}

void StrictRouter::on_frame(const std::string& route, const std::string& key,
                            const std::string& bytes) {
  v1::Frame frame;
  if (!frame.ParseFromString(bytes) || frame.kind_case() == v1::Frame::KIND_NOT_SET)
    return complain("a frame is no Frame");
  const bool first = !peers_.contains(route);
  Peer& peer = peers_[route];
  peer.key = key;
  Account& account = accounts_[key];
  v1::Frame answer;
  switch (frame.kind_case()) {
    case v1::Frame::kEnrol: {
      seen_.enrols.push_back(frame.enrol());
      if (frame.enrol().protocol_version() != 1) complain("Enrol has another protocol version");
      if (frame.enrol().host_name().empty()) complain("Enrol has no host name");
      account.active = account.active || options_.tokens.contains(frame.enrol().token());
      v1::EnrolResult& result = *answer.mutable_enrol_result();
      result.set_state(account.active ? v1::ENROL_STATE_ACTIVE : v1::ENROL_STATE_PENDING);
      result.set_agent_id("00000000000000a1");
      if (!account.active) result.set_retry_after_ms(options_.pending_retry_ms);
      reply(route, answer);
      break;
    }
    case v1::Frame::kHello: {
      seen_.hellos.push_back(frame.hello());
      if (!account.active) {
        answer.mutable_refused()->set_code("agent.unknown");
        reply(route, answer);
        break;
      }
      if (frame.hello().incarnation() == 0) complain("Hello has no incarnation");
      if (frame.hello().host_name().empty() || frame.hello().operating_system().empty())
        complain("Hello lacks a name");
      if (peer.greeted) complain("Hello came twice on one connection");
      if (account.incarnation != frame.hello().incarnation()) account.last_stored = 0;
      account.incarnation = peer.incarnation = frame.hello().incarnation();
      peer.greeted = true;
      v1::Welcome& welcome = *answer.mutable_welcome();
      welcome.set_protocol_version(1);
      welcome.set_agent_id("00000000000000a1");
      welcome.set_last_stored_sequence(account.last_stored);
      welcome.set_frame_bytes_max(options_.frame_bytes_max);
      welcome.set_in_flight_max(options_.in_flight_max);
      welcome.set_reconnect_slot_ms(options_.reconnect_slot_ms);
      welcome.set_heartbeat_interval_s(86'400);
      welcome.set_inventory_interval_s(604'800);
      welcome.set_ping_interval_s(options_.ping_interval_s);
      welcome.set_full_state_wanted(options_.full_state_wanted);
      reply(route, answer);
      break;
    }
    case v1::Frame::kPublish:
      if (first || !peer.greeted) {
        complain("Publish came before Hello");
        break;
      }
      on_publish(route, peer, frame.publish(), bytes.size());
      break;
    case v1::Frame::kTaskResult:
      seen_.results.push_back(frame.task_result());
      break;
    case v1::Frame::kAsk: {
      const v1::Ask& ask = frame.ask();
      if (!peer.greeted) complain("Ask came before Hello");
      if (ask.nonce() == 0) complain("an Ask has no nonce");
      if (!seen_.nonces.insert(ask.nonce()).second) complain("an Ask repeats a nonce");
      if (ask.what_case() == v1::Ask::WHAT_NOT_SET) complain("an Ask asks nothing");
      if (ask.has_locate() && ask.locate().kind() == v1::LOCATE_KIND_UNSPECIFIED) complain("an Ask locates nothing");
      if (ask.has_locate() && (ask.locate().kind() == v1::LOCATE_KIND_CONTENT) == ask.locate().package_id().empty())
        complain("content, and only content, has an id");
      seen_.asks.push_back(ask);
      if (!options_.answers) break;
      *answer.mutable_answer() = options_.answers(ask);
      answer.mutable_answer()->set_nonce(ask.nonce());
      reply(route, answer);
      break;
    }
    case v1::Frame::kPing:
      ++seen_.pings;
      answer.mutable_pong()->set_nonce(frame.ping().nonce());
      reply(route, answer);
      break;
    default:
      complain("an agent sent a gateway's frame");
  }
  changed_.notify_all();
}

void StrictRouter::on_publish(const std::string& route, Peer& peer, const v1::Publish& publish,
                              std::size_t bytes) {
  ++seen_.publishes;
  Account& account = accounts_[peer.key];
  if (bytes > options_.frame_bytes_max) complain("a frame is larger than frame_bytes_max");
  if (publish.reports_size() == 0) complain("a Publish is empty");
  if (static_cast<std::uint32_t>(publish.reports_size()) > options_.in_flight_max)
    complain("more reports than in_flight_max");
  v1::Frame answer;
  v1::Receipt& receipt = *answer.mutable_receipts()->add_receipts();
  receipt.set_incarnation(peer.incarnation);
  receipt.set_status(v1::RECEIPT_STATUS_STORED);
  receipt.set_at_ms(1'700'000'000'000);
  std::uint64_t previous = 0;
  for (const v1::Report& report : publish.reports()) {
    if (report.sequence() == 0 ||
        (previous && report.sequence() - report.skipped() - 1 != previous)) {
      complain("sequences inside a frame do not follow each other");
    }
    previous = report.sequence();
    if (report.lane() == v1::LANE_UNSPECIFIED || report.kind() == v1::KIND_UNSPECIFIED)
      complain("a report has no lane or kind");
    if (report.collected_at_ms() <= 0) complain("a report has no time");
    const auto parses = [&](auto message) { return message.ParseFromString(report.body()); };
    bool whole = true;
    switch (report.kind()) {
      case v1::KIND_DISCOVERY:
        whole = parses(v1::Discovery());
        break;
      case v1::KIND_HARDWARE_INVENTORY:
        whole = parses(v1::HardwareInventory());
        break;
      case v1::KIND_STATE_MESSAGES:
        whole = parses(v1::StateMessages());
        break;
      case v1::KIND_SOFTWARE_INVENTORY:
        whole = parses(v1::SoftwareInventory()) && report.lane() == v1::LANE_INVENTORY;
        break;
      case v1::KIND_FILE_CHUNK:
        whole = parses(v1::FileChunk()) && report.lane() == v1::LANE_FILES;
        break;
      case v1::KIND_STATUS: {
        v1::StatusMessage event;
        whole = event.ParseFromString(report.body()) && report.lane() == v1::LANE_STATE && !event.type().empty() && event.time_ms() > 0;
        break;
      }
      case v1::KIND_METERING: {
        v1::MeteringData data;
        whole = data.ParseFromString(report.body()) && report.lane() == v1::LANE_STATE && data.programs_size() > 0 &&
                data.from_ms() > 0 && data.from_ms() <= data.until_ms();
        break;
      }
      case v1::KIND_IDMIF: {
        v1::IdMif file;
        whole = file.ParseFromString(report.body()) && report.lane() == v1::LANE_FILES && !file.file_name().empty() && !file.text().empty();
        break;
      }
      default:
        whole = false;
    }
    if (!whole) complain("a body is not what its kind says");
    if (report.sequence() <= account.last_stored) {
      ++seen_.repeats;
    } else if (report.sequence() - report.skipped() - 1 > account.last_stored) {
      complain("a gap: " + std::to_string(report.sequence()) + " came after " +
               std::to_string(account.last_stored));
      receipt.set_status(v1::RECEIPT_STATUS_RESEND);
      receipt.set_first_sequence(account.last_stored + 1);
      receipt.set_last_sequence(report.sequence());
      receipt.set_code("report.gap");
      break;
    } else {
      seen_.stored.push_back(report);
      if (report.kind() == v1::KIND_FILE_CHUNK) on_chunk(peer.key, report);
      account.last_stored = report.sequence();
    }
    if (receipt.first_sequence() == 0) receipt.set_first_sequence(report.sequence());
    receipt.set_last_sequence(report.sequence());
  }
  if (!options_.withhold_receipts) reply(route, answer);
}

// Chunks of one transfer follow each other from the first; a new transfer may begin at any time.
void StrictRouter::on_chunk(const std::string& key, const v1::Report& report) {
  v1::FileChunk chunk;
  chunk.ParseFromString(report.body());
  const bool sensible = chunk.transfer() != 0 && chunk.index() < chunk.count() &&
                        chunk.sha256().size() == SHA256_DIGEST_LENGTH && !chunk.name().empty() &&
                        chunk.path().starts_with('/') && chunk.path().ends_with('/');
  if (!sensible) return complain("a chunk's fields make no sense");
  Arriving& arriving = accounts_[key].arriving;
  if (seen_.transfers.insert(chunk.transfer()).second) {
    arriving = {chunk, 0, ""};
    arriving.first.clear_data();
  }
  if (chunk.transfer() != arriving.first.transfer())
    return complain("a chunk belongs to a transfer that was given up");
  if (chunk.index() != arriving.next++) return complain("a chunk is out of its order");
  arriving.content += chunk.data();
  v1::FileChunk told = chunk;
  told.clear_data();
  told.set_index(arriving.first.index());
  if (told.SerializeAsString() != arriving.first.SerializeAsString())
    complain("a chunk tells another file than the first of its transfer");
  if (chunk.index() + 1 < chunk.count()) return;
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(arriving.content.data()), arriving.content.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  if (arriving.content.size() != chunk.size()) complain("a file has another size than was told");
  if (digest != chunk.sha256()) complain("a file has another hash than was told");
  seen_.files[chunk.path() + chunk.name()] = std::move(arriving.content);
}

}  // namespace greengate::test
