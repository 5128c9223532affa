#pragma once

#include "adapters/mp/settings.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// A stretch of the uncompressed payload stream (mp-protocol 1.4, 2.2).
struct ByteRange {
  std::size_t offset = 0;
  std::size_t length = 0;
  std::string name;   ///< Attachments only; may be empty.
  bool typed = true;  ///< Writes Type="ByteRange"; the captured layout has one attachment without.
};

/// What the clientauth hook says about the sender (3.2). Hex texts; an empty one is left out.
struct ClientAuth {
  std::string_view machine;
  std::string_view public_key;
  std::string_view client_id_signature;
  std::string_view payload_signature;
  std::string_view proxy_sms_id;
};

/// The facts of one <Msg>. Views last as long as the call.
struct Envelope {
  std::string_view endpoint;    ///< "MP_DdrEndpoint"
  std::string_view reply_mode;  ///< "Sync" for an Invoke
  std::string_view message_id;  ///< Braced, upper case
  std::string_view source_id;   ///< The SMSID; empty before registration
  std::string_view netbios_name;
  std::string_view sent_time;
  std::string_view file_type;  ///< "SMX" for relayed messages, else empty
  ByteRange body;
  std::vector<ByteRange> attachments;
  const ClientAuth* auth = nullptr;  ///< None: not signed.
};

/// The header part as sent, UTF-16LE with BOM, and where in it TargetHost's text lies: it is not
/// signed, so a message may go to another management point without being signed again.
struct EnvelopeText {
  std::string utf16;
  std::size_t target_host_offset = 0;
  std::size_t target_host_bytes = 0;
};

/// Elements in the order of Microsoft's own messaging SDK (alphabetical; an MP accepts any, M 2).
EnvelopeText write_envelope(const MpSettings& settings, const Envelope& envelope);

}  // namespace greengate::adapters
