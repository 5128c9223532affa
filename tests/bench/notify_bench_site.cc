#include "tests/bench/notify_bench_site.h"

#include <boost/asio.hpp>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include <malloc.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace greengate::test {

namespace asio = boost::asio;
namespace json = boost::json;

void must(bool holds, const std::string& sentence) {
  if (holds) return;
  std::fprintf(stderr, "notify_bench: %s\n", sentence.c_str());
  std::exit(1);
}

double resident_kib(const std::string& pid) {
  std::ifstream statm("/proc/" + pid + "/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1024.0;
}

NotifySite::NotifySite(const std::filesystem::path& program, const std::filesystem::path& folder, int sessions) : folder_(folder) {
  std::filesystem::create_directories(folder_);
  const auto settings = folder_ / "notify.json";
  // Its own throttle (42 sends per 100 ms) would be all that a push wave measures; evidence of what is right would be its disk.
  std::ofstream(settings) << json::serialize(json::object{{"throttle_sends", 0},
                                                          {"evidence", "violations"},
                                                          {"signin_timeout_ms", 3'600'000},
                                                          {"sessions_max", sessions + 1'000}});
  int out[2];
  must(pipe(out) == 0, "no pipe");
  child_ = fork();
  must(child_ >= 0, "no second process");
  if (child_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // it does not outlive us, however we end
    dup2(out[1], 1);
    execl(program.c_str(), program.c_str(), "notify", "--dir", folder_.c_str(), "--notify-port", "0", "--admin-port", "0",
          "--notify-config", settings.c_str(), "--log-level", "error", nullptr);
    _exit(127);
  }
  close(out[1]);
  std::string line;
  for (char c; read(out[0], &c, 1) == 1 && c != '\n';) line += c;
  close(out[0]);
  boost::system::error_code bad;
  const json::value ready = json::parse(line, bad);
  must(!bad && ready.is_object() && ready.as_object().contains("notify_http_port"), "the simulator said: " + line);
  port_ = static_cast<int>(ready.at("notify_port").as_int64());
  http_port_ = static_cast<int>(ready.at("notify_http_port").as_int64());
  admin_port_ = static_cast<int>(ready.at("admin_port").as_int64());
}

NotifySite::~NotifySite() {
  kill(child_, SIGTERM);
  waitpid(child_, nullptr, 0);
}

json::value NotifySite::call(const std::string& path, const std::string& body) const {
  asio::io_context io;
  asio::ip::tcp::socket socket(io);
  boost::system::error_code wrong;
  socket.connect({asio::ip::make_address("127.0.0.1"), static_cast<unsigned short>(admin_port_)}, wrong);
  must(!wrong, "the simulator's admin port: " + wrong.message());
  const std::string request = (body.empty() ? "GET" : "POST") + std::string(" /notify/") + path +
                              " HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
                              "\r\n\r\n" + body;
  asio::write(socket, asio::buffer(request), wrong);
  std::string reply;
  asio::read(socket, asio::dynamic_buffer(reply), wrong);
  const auto head = reply.find("\r\n\r\n");
  must(reply.starts_with("HTTP/1.1 200") && head != std::string::npos, "admin call " + path + " was answered: " + reply.substr(0, 300));
  return json::parse(std::string_view(reply).substr(head + 4));
}

namespace {

double measure_bare(int port, const std::string& certificate_pem, const std::string& key_pem, int sessions) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  BIO* text = BIO_new_mem_buf(certificate_pem.data(), static_cast<int>(certificate_pem.size()));
  X509* certificate = PEM_read_bio_X509(text, nullptr, nullptr, nullptr);
  BIO_free(text);
  text = BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(text, nullptr, nullptr, nullptr);
  BIO_free(text);
  SSL_CTX_use_certificate(context, certificate);
  SSL_CTX_use_PrivateKey(context, key);

  double before = 0;
  for (int i = 0; i <= sessions; ++i) {  // the first pays for what is needed once
    if (i == 1) {
      malloc_trim(0);
      before = resident_kib("self");
    }
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return -1;
    SSL* ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) return -1;
  }
  return (resident_kib("self") - before) / sessions;
}

}  // namespace

double bare_session_kib(const NotifySite& site, const std::string& certificate_pem, const std::string& key_pem, int sessions) {
  int out[2];
  must(pipe(out) == 0, "no pipe");
  const pid_t child = fork();
  must(child >= 0, "no process for the bare limit");
  const int port = std::atoi(site.address().substr(site.address().find(':') + 1).c_str());
  if (child == 0) {
    const double kib = measure_bare(port, certificate_pem, key_pem, sessions);
    if (write(out[1], &kib, sizeof kib) < 0) _exit(1);
    _exit(0);
  }
  close(out[1]);
  double kib = -1;
  const bool said = read(out[0], &kib, sizeof kib) == sizeof kib;
  close(out[0]);
  waitpid(child, nullptr, 0);
  must(said && kib > 0, "the bare limit could not be measured");
  return kib;
}

}  // namespace greengate::test
