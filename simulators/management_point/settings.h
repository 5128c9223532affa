#pragma once

#include "simulators/common/evidence.h"
#include "simulators/management_point/checks.h"
#include "simulators/management_point/envelope.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

namespace greengate::sim {

/// Everything that can be set about the simulated management point. docs/reference/simulators.md
/// lists the flags.
struct MpSettings {
  std::string bind_address = "127.0.0.1";
  std::uint16_t port = 0;  ///< 0 chooses a free one.
  std::filesystem::path dir = "sim-evidence";
  EvidenceLevel evidence = EvidenceLevel::full;

  bool tls = false;
  std::uint16_t tls_port = 0;
  std::string tls_certificate_file, tls_key_file;  ///< PEM; without them a certificate is made.
  std::string client_ca_file;  ///< PEM; without it any client certificate will do.
  bool require_client_certificate = false;
  bool https_only = false;  ///< The plain port answers 403 (mp-protocol 1.7).

  std::string host_name = "mp01.example.test";
  std::string site_code = "P01";
  std::string site_version = "5.00.9128.1000";  ///< As in the samples of mp-protocol 5.4.
  std::chrono::milliseconds pending_for{0};     ///< From registration to the first Status 0.
  bool manual_approval = false;
  bool windows_auth_challenge = false;  ///< 401 on _windowsauth without an Authorization header.
  bool post_reply_header =
      false;  ///< An accepted Post is answered with a bare header part (Q4: I).
  FileTypeForm file_type_form = FileTypeForm::element;  ///< Q12: I.
  std::int64_t policy_date_ms =
      0;  ///< LastUpdateTime of the inventory policy; 0: the start of the simulator.
  std::filesystem::path policy_template_file;
  bool forbidden_policies = false;  ///< Assigns bodies that no gateway may download: flags 1, 2 and 4 (mp-protocol 5.2).

  std::size_t content_length_max = 32 * 1024 * 1024;
  std::size_t inflated_bytes_max = 64 * 1024 * 1024;  ///< mp-protocol 6.1.
  std::size_t header_bytes_max = 16 * 1024;
  std::size_t clients_max = 200'000;
  std::size_t connections_max = 4096;
  std::int64_t picture_bytes_max = 256 * 1024 * 1024;
  std::chrono::seconds read_timeout{60};  ///< For one request, and for an idle connection.
  std::uint64_t seed = 1;                 ///< Of the faults' chances.
  CheckLevels checks;
};

}  // namespace greengate::sim
