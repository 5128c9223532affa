// The site of notify_bench: greengate-sim notify in a process of its own, and its admin calls.
#pragma once

#include <boost/json.hpp>

#include <sys/types.h>

#include <filesystem>
#include <string>

namespace greengate::test {

/// Stops the program with a sentence when what it needs is not there.
void must(bool holds, const std::string& sentence);

/// Resident memory of a process, "self" for our own.
double resident_kib(const std::string& pid);

class NotifySite {
 public:
  NotifySite(const std::filesystem::path& program, const std::filesystem::path& folder, int sessions);
  ~NotifySite();

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::filesystem::path certificate_file() const { return folder_ / "notify" / "server-certificate.pem"; }
  std::string http_url() const { return "https://127.0.0.1:" + std::to_string(http_port_); }
  /// Admin call below /notify/; an empty body is a GET.
  boost::json::value call(const std::string& path, const std::string& body = "") const;
  std::string pid() const { return std::to_string(child_); }

 private:
  const std::filesystem::path folder_;
  pid_t child_ = -1;
  int port_ = 0, http_port_ = 0, admin_port_ = 0;
};

/// What nobody can do without: resident KiB of a bare OpenSSL session over a connected descriptor, its buffers released, and nothing
/// else. Measured with `sessions` of them in a process of its own.
double bare_session_kib(const NotifySite& site, const std::string& certificate_pem, const std::string& key_pem, int sessions);

}  // namespace greengate::test
