#pragma once

#include "core/config_reader.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace greengate::adapters {

/// Where the full report lies in the payload stream (mp-protocol 2.2, Q11).
enum class InventoryLayout {
  inline_body,  ///< Body holds the full report. The only shape with public evidence of being
                ///< processed (S).
  attach,    ///< Body holds the header report, one attachment named after the action holds the full
             ///< one (2007, D).
  captured,  ///< The overlapping byte ranges of the one public capture (S).
};

/// How a relayed message says what it carries (Q12).
enum class FileTypeForm {
  element,   ///< <FileType>SMX</FileType> below Msg (I).
  hookprop,  ///< <Property Name="FileType"> in the clientauth hook (I).
};

/// What a collected file's attachment is called (Q7).
enum class FileAttachmentName {
  file_name,  ///< "agent.conf" (I)
  path,       ///< "/etc/contoso/agent.conf" (I)
};

/// What stands in HistoricalMeterData, whose inner form is not public (Q7).
enum class MeteringHistory {
  empty,       ///< Nothing, as in the documented shape: the site learns which programs there are, not how often they ran.
  attributes,  ///< One element a user, with attributes named after the site's own usage views (I).
};

/// Hash inside every signature (3.2, Q13). SHA-1 only for sites that still force it.
enum class SignatureHash { sha256, sha1 };

/// Whose key signs for a client (mp-protocol 4.7, Q8).
enum class IdentityMode {
  per_client_key,  ///< Each client its own. Fully evidenced.
  shared_key,      ///< Every client registers the same certificate as an ordinary client (I).
  isv_proxy,       ///< The proxy's, which an administrator has imported (D); how a message names it is I.
};

/// When a registration carries the signature of a key registered before (4.6).
enum class HintUse { ca, always, never };

/// How the self-signed certificate of a client is made (mp-protocol 4.3).
struct CertificateSettings {
  std::string common_name = "ConfigMgr Client";  ///< Free (M).
  std::uint32_t days = 365;                      ///< One year is typical (S).
  std::uint32_t back_dated_days = 2;             ///< Survives clock skew (S).
};

/// Everything about the management point's protocol that a site may need changed. Each default is
/// the specification's; the letter is its evidence grade: D documented, M seen in several lineages,
/// S in one, I inferred.
struct MpSettings {
  std::string site_code;    ///< Three letters or digits; from the administrator, no default.
  std::string target_host;  ///< Msg/TargetHost: the MP's name. Not checked by an MP (I, Q16).
  std::string ad_site = "Default-First-Site-Name";

  // The envelope
  std::string request_path = "/ccm_system/request";            ///< D, M 1.1
  std::string boundary = "aAbBcCdDv1234567890VxXyYzZ";         ///< Free (M 1.2).
  std::string user_agent = "ConfigMgr Messaging HTTP Sender";  ///< S 1.2; not checked (M).
  std::string post_reply_mode = "ASync";                       ///< S, Q3
  std::string reply_compression = "zlib";                      ///< M 1.5; "none" is S.
  std::string timeout = "60000";  ///< Msg/Timeout; unit undocumented on the wire (M 2).
  std::string reply_endpoint = "SccmMessaging";  ///< Last part of ReplyTo (M 2).
  bool offer_registration_reset = false;         ///< S (one lineage), Q10
  bool compress = true;                          ///< Off is not evidenced with signatures: Q2.
  int compression_level = 1;  ///< Free (M 1.4). 1 is by far the fastest (adapters/mp/compression.h).
  bool trailing_crlf = true;  ///< 0D 0A after the NUL; may be omitted (M 1.4).

  // Who signs, and how
  SignatureHash hash = SignatureHash::sha256;  ///< M; the OID text of SHA-1 is I (Q13).
  bool send_public_key = true;                 ///< Optional, S 3.2
  bool send_client_id_signature = true;        ///< Optional, S 3.2
  std::string client_capabilities = "NonSSL";  ///< For HTTP; not checked (M 3.2).
  IdentityMode identity_mode = IdentityMode::per_client_key;  ///< 4.7, Q8
  std::string proxy_property;  ///< isv_proxy only: clientauth property naming the proxy; empty
                               ///< sends none (I, Q8).
  CertificateSettings certificate;

  bool encrypt = false;       ///< Messages encrypted to the management point: not public, so only off (Q1).
  bool verify_reply = false;  ///< Signed replies: no public client verifies one, so only off (Q14).

  // Registration
  std::string agent_identity = "Greengate";  ///< Free (D, M 4.2).
  int agent_type = 0;                        ///< 0 client · 8 client of an ISV proxy (D 4.2).
  int key_type = 1;       ///< 1 self-signed · 2 issued by a CA (S; meaning D 4.2).
  HintUse registration_hint = HintUse::ca;  ///< D for certificates of a CA; beyond that I (4.6).
  int internet_flag = 0;  ///< 0 intranet · 1 may · 2 always Internet (D 4.2).
  std::map<std::string, std::string> reg_extra_properties;  ///< Names not public: Q6.

  // The machine part of every report
  std::string client_version = "5.00.8325.0000";  ///< D / S 4.2, 5.1
  std::uint32_t code_page = 437;                  ///< M 5.1
  std::uint32_t lcid = 1033;                      ///< M 5.1

  // Reports
  InventoryLayout inventory_layout = InventoryLayout::inline_body;  ///< Q11
  FileTypeForm relay_filetype_form = FileTypeForm::element;         ///< I, Q12
  /// PlatformID of a discovery record: text with {kernel}, {os} and {arch}. "`Linux` plus release"
  /// is I (Q9).
  std::string platform_id = "{kernel}";
  FileAttachmentName file_attachment_name = FileAttachmentName::file_name;  ///< I, Q7
  MeteringHistory metering_history = MeteringHistory::empty;                ///< I, Q7
  int idmif_action = 11;  ///< End of the action id: 11 in one document, 12 in another (D, in conflict, 5.1).
  int state_priority = 5;  ///< Machine/Priority of a state report, 0..5; -1 leaves it out (M 5.1).
  std::string policy_request_type = "Always";  ///< M 5.2; D has Full and OnUpdate.
  std::string policy_validation;  ///< RequestAssignments/@ValidationRequested; "CRC" is S 5.2, empty sends none.
  // What location requests say of where a client is
  std::string forest, domain;  ///< Empty: the domain part of the client's own name, upper case.
  std::string update_source_id;  ///< WSUSLocationRequest/Content: the site's own, from its administrator (D 5.4).
  std::uint32_t update_source_version = 0;
  std::size_t message_bytes_warn = 5u << 20;   ///< Uncompressed; 6.1 (I)
  std::size_t message_bytes_max = 32u << 20;   ///< Uncompressed; a longer one is refused (I 6.1).

  // Replies
  std::size_t reply_bytes_max = 32u << 20;  ///< After inflating.
  std::size_t reply_depth_max = 64;         ///< Nesting of XML elements.
  std::size_t policy_assignments_max = 10'000;
  std::size_t policy_body_bytes_max = 4u << 20;  ///< One policy's body, as sent and after inflating.
  std::chrono::milliseconds exchange_timeout{
      60'000};  ///< From connecting to the last byte of the reply.
  std::chrono::milliseconds retry_after_max{
      3'600'000};  ///< A peer's Retry-After is obeyed up to this.
  std::chrono::milliseconds configuration_retry{
      900'000};  ///< 401, 403, 404, 405: a person must act; asked again this seldom.

  /// Every complaint at once. `prefix` is the section's name in the file, such as "site".
  std::vector<ConfigProblem> problems(const std::string& prefix) const;
};

}  // namespace greengate::adapters
