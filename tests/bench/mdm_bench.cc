// What a management session of a Windows device costs: TLS with a client certificate, package 1, a task and its answer, the end. Devices run in a child process,
// so that the server's processor time and memory are its own; they send recorded documents. Three servers in turn in the same run: bare Beast, which answers
// as many bytes; the management server with nothing behind it; the same with the enrolment table and the store on disk.
// Usage: mdm_bench [SESSIONS] [HELD] [ROUNDS]   (2000, 1000 and 5 by default)
#include "adapters/mdm/dm_endpoint.h"
#include "adapters/mdm/dm_server.h"
#include "core/log.h"
#include "gateway/windows_devices.h"
#include "store/open_store.h"
#include "tests/adapters/mdm/tls_client.h"

#include <malloc.h>
#include <openssl/rsa.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <thread>
#include <vector>

namespace greengate::test {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using namespace greengate::adapters;
using Tick = std::chrono::steady_clock;

constexpr int devices = 200;
constexpr int callers = 16;  ///< Threads of the device side.
constexpr std::string_view recorded_id = "0F1E2D3C4B5A69788796A5B4C3D2E1F0";
constexpr const char* push_root = "./Device/Vendor/MSFT/DMClient/Provider/FABRIKAM/Push/";

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// Of all arenas; what earlier rounds left free in them does not count.
double heap_bytes() {
  const auto about = mallinfo2();
  return static_cast<double>(about.uordblks + about.hblkhd);
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

double since(Tick::time_point began) { return std::chrono::duration<double>(Tick::now() - began).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

std::string device_id_of(int number) {
  char text[33];
  std::snprintf(text, sizeof text, "%032X", 0x10000 + number);
  return text;
}

void replace_all(std::string& text, std::string_view what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) text.replace(at, what.size(), with);
}

// ---- The devices' side: recorded documents, and no code of the product.

struct Wallet {
  std::vector<X509*> certificates;
  EVP_PKEY* key = nullptr;  ///< One for all: what it costs is the same, and making 2,000 takes minutes.
};

std::string package1(const std::string& recorded, int device, int session) {
  std::string text = recorded;
  replace_all(text, recorded_id, device_id_of(device));
  replace_all(text, "<SessionID>11<", "<SessionID>" + std::to_string(session) + "<");
  return text;
}

/// The answer to what the server asked in its first message; it asks in the order Get, Get, Exec.
std::string package2(const std::string& reply, int device, int session) {
  std::string text = "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto><SessionID>" + std::to_string(session) +
                     "</SessionID><MsgID>2</MsgID><Target><LocURI>https://dm.fabrikam.example/dm</LocURI></Target><Source><LocURI>" + device_id_of(device) +
                     "</LocURI></Source></SyncHdr><SyncBody><Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><Data>200</Data></Status>";
  int next = 2;
  const auto answer = [&](const std::string& verb, const std::string& node, const std::string& value, std::size_t& from) {
    const std::string opening = "<" + verb + "><CmdID>";
    const auto at = reply.find(opening, from);
    if (at == std::string::npos) return;
    from = at + opening.size();
    const std::string id = reply.substr(from, reply.find('<', from) - from);
    text += "<Status><CmdID>" + std::to_string(next++) + "</CmdID><MsgRef>1</MsgRef><CmdRef>" + id + "</CmdRef><Cmd>" + verb + "</Cmd><Data>200</Data></Status>";
    if (node.empty()) return;
    text += "<Results><CmdID>" + std::to_string(next++) + "</CmdID><MsgRef>1</MsgRef><CmdRef>" + id + "</CmdRef><Item><Source><LocURI>" + push_root + node +
            "</LocURI></Source><Data>" + value + "</Data></Item></Results>";
  };
  std::size_t gets = 0, execs = 0;
  answer("Get", "ChannelURI", "https://wns2-sim1p.notify.windows.com/?token=U0lN%2bQ0hBTk5FTC0wMDAx%2f" + std::to_string(device) + "%3d%3d", gets);
  answer("Get", "Status", "0", gets);
  answer("Exec", "", "", execs);
  return text + "<Final/></SyncBody></SyncML>";
}

class Line {
 public:
  Line(std::uint16_t port, ssl::context& tls, const Wallet& wallet, int device) : stream_(io_, tls) {
    SSL_use_certificate(stream_.native_handle(), wallet.certificates[static_cast<std::size_t>(device)]);
    SSL_use_PrivateKey(stream_.native_handle(), wallet.key);
    stream_.next_layer().connect(tcp::endpoint(asio::ip::address_v4::loopback(), port));
    stream_.next_layer().set_option(tcp::no_delay(true));
    stream_.handshake(ssl::stream_base::client);
  }
  /// The body; anything but 200 ends the run.
  std::string post(const std::string& body) {
    asio::write(stream_, asio::buffer("POST /dm HTTP/1.1\r\nHost: dm.fabrikam.example\r\nContent-Type: application/vnd.syncml.dm+xml\r\nContent-Length: " +
                                      std::to_string(body.size()) + "\r\n\r\n" + body));
    std::string text;
    std::array<char, 8192> part;
    for (;;) {
      const auto head = text.find("\r\n\r\n");
      if (head != std::string::npos) {
        const auto length = text.find("Content-Length: ");
        if (text.compare(9, 3, "200") != 0 || length > head) {
          std::fprintf(stderr, "%s\n", text.c_str());
          std::abort();
        }
        if (text.size() >= head + 4 + std::stoul(text.substr(length + 16))) return text.substr(head + 4);
      }
      text.append(part.data(), stream_.read_some(asio::buffer(part)));
    }
  }

 private:
  asio::io_context io_;
  ssl::stream<tcp::socket> stream_;
};

struct Wish {
  int kind = 0;  ///< 0: sessions; 1: hold so many open after their first message; 2: let go; 3: end.
  std::uint16_t port = 0;
  int count = 0, first_session = 0;
};

[[noreturn]] void be_the_devices(int channel, const Wallet& wallet, const std::string& recorded) {
  ssl::context tls(ssl::context::tls_client);
  std::vector<std::unique_ptr<Line>> held;
  for (Wish wish; read(channel, &wish, sizeof wish) == sizeof wish && wish.kind != 3;) {
    const auto began = Tick::now();
    if (wish.kind == 2) {
      held.clear();
    } else if (wish.kind == 1) {
      for (int i = 0; i < wish.count; ++i) {
        held.push_back(std::make_unique<Line>(wish.port, tls, wallet, i));
        held.back()->post(package1(recorded, i, wish.first_session));
      }
    } else {
      std::atomic<int> next{0};
      std::vector<std::thread> threads;
      for (int t = 0; t < callers; ++t) {
        threads.emplace_back([&] {
          for (int i; (i = next++) < wish.count;) {
            Line line(wish.port, tls, wallet, i % devices);
            const std::string reply = line.post(package1(recorded, i % devices, wish.first_session + i));
            const std::string last = line.post(package2(reply, i % devices, wish.first_session + i));
            if (last.find("<Exec>") != std::string::npos) std::abort();
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
    const double took = since(began);
    if (write(channel, &took, sizeof took) != sizeof took) break;
  }
  held.clear();
  _exit(0);
}

// ---- The servers.

/// What nobody can do faster: the same handshake and as many bytes each way, by Beast alone.
class Bare {
 public:
  Bare(const Certificate& identity, const Certificate& authority, std::string first, std::string second)
      : first_(std::move(first)), second_(std::move(second)), acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    tls_.use_certificate_chain_file(identity.certificate_file);
    tls_.use_private_key_file(identity.key_file, ssl::context::pem);
    tls_.load_verify_file(authority.certificate_file);
    tls_.set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert);
    SSL_CTX_set_options(tls_.native_handle(), SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(tls_.native_handle(), 0);
    SSL_CTX_set_session_cache_mode(tls_.native_handle(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls_.native_handle(), SSL_MODE_RELEASE_BUFFERS);
    asio::co_spawn(io_, accept(), asio::detached);
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { io_.run(); });
  }
  ~Bare() {
    io_.stop();
    for (std::thread& thread : threads_) thread.join();
  }
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
  static constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
  using Stream = ssl::stream<beast::tcp_stream>;
  asio::awaitable<void> accept() {
    for (;;) {
      auto strand = asio::make_strand(io_);
      auto [error, socket] = co_await acceptor_.async_accept(strand, as_result);
      if (error) co_return;
      asio::co_spawn(strand, serve(std::make_shared<Stream>(beast::tcp_stream(std::move(socket)), tls_)), asio::detached);
    }
  }
  asio::awaitable<void> serve(std::shared_ptr<Stream> stream) {
    auto [refused] = co_await stream->async_handshake(ssl::stream_base::server, as_result);
    if (refused) co_return;
    beast::flat_buffer buffer;
    for (int message = 0;; ++message) {
      http::request<http::string_body> request;
      auto [gone, bytes] = co_await http::async_read(*stream, buffer, request, as_result);
      static_cast<void>(bytes);
      if (gone) break;
      http::response<http::string_body> reply(http::status::ok, 11);
      reply.set(http::field::content_type, "application/vnd.syncml.dm+xml");
      reply.body() = message == 0 ? first_ : second_;
      reply.prepare_payload();
      auto [unsent, sent] = co_await http::async_write(*stream, reply, as_result);
      static_cast<void>(sent);
      if (unsent) break;
    }
    auto [not_closed] = co_await stream->async_shutdown(as_result);
    static_cast<void>(not_closed);
  }

  const std::string first_, second_;
  asio::io_context io_;
  ssl::context tls_{ssl::context::tls_server};
  tcp::acceptor acceptor_;
  std::vector<std::thread> threads_;
};

v1::Notification next_task() {
  static std::atomic<std::uint64_t> id{0};
  v1::Notification task;
  task.set_notification_id(++id);
  task.set_task(v1::TASK_UPDATE_SIGNATURES);
  return task;
}

/// Hands out one task a session, and keeps what is to be kept in memory.
class House final : public DmHost {
 public:
  void visit_opened(const DmDevice& device) override {
    std::lock_guard lock(mutex_);
    fresh_[device.agent] = true;
  }
  void visit_closed(const DmDevice&) override {}
  std::string pfn_to_set(const DmDevice&) override { return {}; }
  void channel_read(const DmDevice&, const DmChannel&) override {}
  void pfn_outcome(const DmDevice&, const std::string&, bool) override {}
  std::vector<v1::Notification> collect(const DmDevice& device, std::uint32_t) override {
    std::lock_guard lock(mutex_);
    if (!std::exchange(fresh_[device.agent], false)) return {};
    return {next_task()};
  }
  void task_result(const DmDevice&, const v1::TaskResult& result) override { done += result.outcome() == v1::TASK_OUTCOME_COMPLETED; }
  Result<DmMemory> recall(const DmDevice& device) override {
    std::lock_guard lock(mutex_);
    bool whole = false;
    return read_memory(kept_[device.agent], whole);
  }
  Result<void> remember(const DmDevice& device, const DmMemory& memory) override {
    std::lock_guard lock(mutex_);
    kept_[device.agent] = write_memory(memory);
    return {};
  }
  void unenrolled(const DmDevice&) override {}
  std::atomic<int> done{0};

 private:
  std::mutex mutex_;
  std::map<AgentId, bool> fresh_;
  std::map<AgentId, std::string> kept_;
};

struct Figures {
  std::vector<double> per_second, cpu_us;
  double resident = 0, heap = 0;  ///< Of an open session.
};

void check(bool sound, const char* what) {
  if (sound) return;
  std::fprintf(stderr, "mdm_bench: %s\n", what);
  std::exit(1);
}

void run(int sessions, int held, int rounds) {
  std::string pattern = (std::filesystem::temp_directory_path() / "mdm-bench-XXXXXX").string();
  check(mkdtemp(pattern.data()) != nullptr, "no folder");
  const std::filesystem::path folder = pattern;
  const SystemClock clock;
  const std::time_t now = std::chrono::system_clock::to_time_t(clock.wall());
  EVP_PKEY* const server_key = EVP_RSA_gen(2048);
  EVP_PKEY* const device_key = EVP_RSA_gen(2048);
  const Certificate authority(folder, "Device CA", nullptr, true, -10, 100, now);
  const Certificate identity(folder, "dm.fabrikam.example", nullptr, false, -1, 30, now, server_key);
  Wallet wallet;
  wallet.key = device_key;
  std::map<std::string, DmDevice> enrolled;
  std::ofstream table(folder / "devices.toml");
  for (int i = 0; i < std::max(devices, held); ++i) {
    const Certificate one(folder, "device", &authority, false, -1, 30, now, device_key, 0x1000 + i);
    X509_up_ref(one.get());
    wallet.certificates.push_back(one.get());
    DmDevice device;
    device.agent = AgentId(device_id_of(i).substr(16));
    device.device_id = device_id_of(i);
    device.enrolment = std::to_string(i);
    enrolled.emplace(one.fingerprint(), device);
    table << "[[device]]\nname = \"PC-" << i << "\"\ndevice_id = \"" << device_id_of(i) << "\"\ncertificate_sha256 = \"" << one.fingerprint() << "\"\n";
  }
  table.close();
  std::ifstream file(std::string(GREENGATE_SOURCE_DIR) + "/tests/data/mdm/01-client-package1.xml");
  const std::string recorded{std::istreambuf_iterator<char>(file), {}};
  check(!recorded.empty(), "no recorded document");

  // Before there are threads.
  int ends[2];
  check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "no socket pair");
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    be_the_devices(ends[1], wallet, recorded);
  }
  close(ends[1]);
  const auto ask = [&](const Wish& wish) {
    double took = 0;
    check(write(ends[0], &wish, sizeof wish) == sizeof wish && read(ends[0], &took, sizeof took) == sizeof took, "the devices are gone");
    return took;
  };

  Metrics metrics;
  DmEndpointConfig rules;
  rules.visit.provider = "FABRIKAM";
  rules.visit.same_work_window = std::chrono::milliseconds(0);
  rules.visit.session.timeout = std::chrono::minutes(10);
  rules.sessions_max = 1'000'000;
  rules.sessions_per_second = 100'000;
  rules.device_sessions_per_minute = 1'000'000;
  DmServerConfig config;
  config.listen = "127.0.0.1:0";
  config.certificate_file = identity.certificate_file;
  config.key_file = identity.key_file;
  config.client_ca_file = authority.certificate_file;
  config.connections_max = 100'000;
  config.idle_timeout = std::chrono::minutes(10);

  House house;
  DmEndpoint endpoint(
      rules,
      [&](const DmPeer& peer) -> Result<DmDevice> {
        const auto found = enrolled.find(peer.fingerprint);
        if (found == enrolled.end()) return fail(Remedy::reject, "mdm.unknown_certificate", "Nobody.");
        return found->second;
      },
      house, clock, metrics);
  std::string replies[2];  // as long as the bare server's shall be
  DmServer alone(
      config,
      [&](const DmPeer& peer, std::string_view body) {
        DmReply reply = endpoint.handle(peer, body);
        const bool second = body.find("<MsgID>2<") != std::string_view::npos;
        if (replies[second].empty()) replies[second] = reply.body;
        return reply;
      },
      clock, metrics);
  check(alone.start().has_value(), "the server does not start");
  int session = 1;
  ask({0, alone.port(), 1, session++});
  check(!replies[0].empty() && !replies[1].empty() && house.done == 1, "the session did not do its task");
  Bare bare(identity, authority, replies[0], replies[1]);

  store::StoreConfig keeping;
  keeping.directory = (folder / "store").string();
  auto store = store::open_store(keeping, clock, metrics);
  check(store && (*store)->start(), "the store does not open");
  gateway::WindowsConfig with_disk;
  with_disk.enabled = true;
  with_disk.enrolments = folder / "devices.toml";
  with_disk.server = config;
  with_disk.endpoint = rules;
  Metrics other_metrics;
  gateway::WindowsDevices windows(with_disk, (*store)->devices(), clock, other_metrics);
  std::mutex mutex;
  std::map<AgentId, v1::Notification> waiting;
  std::map<AgentId, bool> finished;
  std::atomic<int> standing{0}, kept_done{0};
  windows.connect({.collect =
                       [&](const AgentId& agent, std::uint32_t) -> std::vector<v1::Notification> {
                         std::lock_guard lock(mutex);
                         if (std::exchange(finished[agent], false)) return {};
                         return {waiting.try_emplace(agent, next_task()).first->second};
                       },
                   .task_result =
                       [&](const AgentId& agent, const v1::TaskResult& result) {
                         if (result.outcome() != v1::TASK_OUTCOME_COMPLETED) return;
                         std::lock_guard lock(mutex);
                         waiting.erase(agent);
                         finished[agent] = true;
                         ++kept_done;
                       },
                   .stands = [&](const AgentId&, bool) { ++standing; }},
                  nullptr);
  check(windows.start().has_value(), "the Windows part does not start");
  while (standing < std::max(devices, held)) std::this_thread::sleep_for(std::chrono::milliseconds(10));

  std::map<std::string, Figures> figures;
  const auto measure = [&](const std::string& name, std::uint16_t port, const std::atomic<int>* done) {
    Figures& mine = figures[name];
    const int done_before = done ? done->load() : 0;
    const double cpu = cpu_seconds();
    const double took = ask({0, port, sessions, session});
    session += sessions;
    mine.per_second.push_back(sessions / took);
    mine.cpu_us.push_back((cpu_seconds() - cpu) / sessions * 1e6);
    check(!done || *done - done_before == sessions, "not every session did its task");
  };
  const auto hold = [&](const std::string& name, std::uint16_t port) {
    malloc_trim(0);
    const double resident = resident_bytes(), heap = heap_bytes();
    ask({1, port, held, session++});
    malloc_trim(0);
    figures[name].resident = (resident_bytes() - resident) / held;
    figures[name].heap = (heap_bytes() - heap) / held;
    ask({2, 0, 0, 0});
    if (name == "server") endpoint.close_all();
  };
  hold("bare", bare.port());
  hold("server", alone.port());
  hold("store", windows.port());
  for (int round = 0; round < rounds; ++round) {
    measure("bare", bare.port(), nullptr);
    measure("server", alone.port(), &house.done);
    measure("store", windows.port(), &kept_done);
  }
  const Wish end{3, 0, 0, 0};
  check(write(ends[0], &end, sizeof end) == sizeof end, "the devices are gone");
  waitpid(child, nullptr, 0);

  std::printf("%d sessions a round, %d rounds, medians; %d devices, RSA-2048 on both sides, %d callers in another process; %zu and %zu bytes answered; %d sessions held\n",
              sessions, rounds, devices, callers, replies[0].size(), replies[1].size(), held);
  const Figures& limit = figures["bare"];
  for (const auto& [name, words] : {std::pair{"bare", "bare TLS and two posts on Beast"}, {"server", "management server, nothing behind it"},
                                    {"store", "management server, enrolment table and store"}}) {
    const Figures& mine = figures[name];
    std::printf("%-46s %7.0f sessions/s (%.2f of bare)   %6.0f us CPU a session (%.2f)   %6.1f KiB resident (%.1f allocated) an open session\n", words, median(mine.per_second),
                median(mine.per_second) / median(limit.per_second), median(mine.cpu_us), median(mine.cpu_us) / median(limit.cpu_us),
                mine.resident / 1024, mine.heap / 1024);
  }
  windows.stop();
  alone.stop();
  endpoint.close_all();
  (*store)->stop();
  store->reset();
  for (X509* each : wallet.certificates) X509_free(each);
  EVP_PKEY_free(server_key);
  EVP_PKEY_free(device_key);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace greengate::test

int main(int argc, char** argv) {
  greengate::set_log_level(greengate::LogLevel::error);
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  greengate::test::run(argc > 1 ? std::atoi(argv[1]) : 2'000, argc > 2 ? std::atoi(argv[2]) : 1'000, argc > 3 ? std::atoi(argv[3]) : 5);
  return 0;
}
