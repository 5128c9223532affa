#pragma once

#include "adapters/mp/envelope.h"
#include "adapters/mp/settings.h"
#include "adapters/mp/signing_key.h"
#include "core/clock.h"
#include "core/ids.h"
#include "core/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// One machine as the site knows it. A plain value; copies share the key.
struct MpIdentity {
  SmsId sms_id;  ///< Empty before registration.
  SigningKey key;
  std::string certificate_der;
  std::string netbios_name;  ///< netbios_name_of(host name)
  std::string fqdn;
  /// prepare_identity() makes it. Kept beside the key it saves every message a second signature;
  /// not a secret.
  std::string client_id_signature;
  SmsId proxy_sms_id;  ///< isv_proxy only: who signs for this client.
};

/// What a report's header says of the report itself.
struct ReportFacts {
  std::uint32_t version_major = 1;
  std::uint32_t version_minor = 0;
  WallTime made_at;
  WallTime inventory_policy_date;  ///< Must not lie behind the site's own (D 5.1): the policy's, or
                                   ///< a date safely past.
  std::string message_id;          ///< new_message_id(); a resend keeps it.
};

/// A message ready to go: compressed once, signed, in its two parts.
struct OutgoingMessage {
  std::string endpoint;  ///< "MP_DdrEndpoint"
  std::string http_body;
  std::string content_type;
  std::string message_id;
  bool expects_reply = false;          ///< Invoke; else Post.
  std::size_t xml_bytes = 0;           ///< Before compression.
  std::string target_host;             ///< Named in the envelope, at:
  std::size_t target_host_offset = 0;  ///< Byte of http_body
  std::size_t target_host_bytes = 0;

  /// The body with another TargetHost. What is signed does not change, so it is not signed again.
  std::string body_for(std::string_view host) const;
};

/// Upper case, at most 15 characters, only those NetBIOS allows; "UNNAMED" when nothing remains.
/// Domain parts are cut off.
std::string netbios_name_of(std::string_view host_name);
/// "{5A1B7C3D-0000-4000-8000-00000000A001}"
std::string new_message_id();
/// "GUID:" and 36 upper-case characters. Registration proposes one so that a lost answer does not
/// make a second record.
SmsId new_sms_id();
/// Reads either case, writes upper; nullopt for anything else.
std::optional<SmsId> parse_sms_id(std::string_view text);
/// Fills what is made once per identity: client_id_signature.
Result<void> prepare_identity(const MpSettings& settings, MpIdentity& identity);

/// A message before it is compressed, signed and put in its envelope. For the message families of
/// this folder.
struct Draft {
  std::string_view endpoint;
  bool invoke = false;
  bool is_signed = true;
  std::string_view file_type;
  std::string stream;  ///< UTF-16LE texts, each closed by text_end(); then attached bytes.
  ByteRange body;
  std::vector<ByteRange> attachments;
};

/// What ends a text in the stream: the NUL that Body/@Length counts and the 0D 0A it does not (1.4).
std::string_view text_end(const MpSettings& settings);
inline constexpr std::size_t nul_bytes = 2;
inline constexpr std::string_view whole_text_end{"\0\0\r\n", 4};
/// The ordinary case: one text, which is the body.
Draft draft_of(const MpSettings& settings, std::string_view endpoint, std::string text);

/// Errors    mp.message_too_large (reject), mp.sign (retry).
Result<OutgoingMessage> assemble(const MpSettings& settings, const MpIdentity& identity,
                                 const ReportFacts& facts, Draft draft);

}  // namespace greengate::adapters
