#pragma once

#include "adapters/mp/settings.h"
#include "core/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// What every client may ask a management point by GET before it is known there (mp-protocol 1.6).
enum class Bootstrap { mp_list, mp_list_of_site, mp_certificate, site_signing_certificate, key_information, liveness };

/// "/SMS_MP/.sms_aut?MPLIST". MPLIST1 names MpSettings::site_code.
std::string bootstrap_target(const MpSettings& settings, Bootstrap what);

/// A management point of the site's own list.
struct ListedPoint {
  std::string host;       ///< A host name, lower case: never an address, never this machine's own name, unless any name was asked for.
  bool https = false;     ///< SSLState is not 0 (M 1.6).
  std::string site_code;  ///< MPLIST1 only.
  std::string version;
};

/// May this be the name of a management point learned from a list? A DNS name of at least two labels, no address in any notation, not
/// of localhost or of a kind that only means something on one machine or network.
bool fit_for_learned_host(std::string_view name);

/// Reads MPLIST and MPLIST1, and the reply of EnumerateMPLocationRequest, whose form is not public, as the same elements.
/// Limits    256 management points; entries without a fit name are passed over and counted in `unfit`.
/// Errors    mp.list (reject): no list; mp.reply_xml (reject).
Result<std::vector<ListedPoint>> parse_mp_list(const MpSettings& settings, std::string_view document, std::size_t* unfit = nullptr);

/// The same with every host that has only letters, digits and ".-_:", addresses included, for a caller who knows which of them it uses.
Result<std::vector<ListedPoint>> parse_named_points(const MpSettings& settings, std::string_view document);

/// The certificate in MPCERT or SITESIGNCERT, as DER: hex in X509Certificate, at the root or below it (readings 14); for MPCERT,
/// whose form is not public, in any one element. It is read as a certificate before it is believed to be one.
/// Errors    mp.certificate (reject), mp.reply_xml (reject).
Result<std::string> parse_certificate(const MpSettings& settings, std::string_view document);

/// MPKEYINFORMATION, as far as it is public (S 1.6).
struct KeyInformation {
  std::string fqdn, site_code;
};
Result<KeyInformation> parse_key_information(const MpSettings& settings, std::string_view document);

/// A certificate file of an operator's, PEM or DER, as DER; and DER as PEM, to be kept in one.
/// Errors    mp.certificate (reject).
Result<std::string> certificate_of_file(std::string_view bytes);
std::string pem_of_certificate(std::string_view der);

/// 64 upper-case hex digits for people: SHA-256 of a certificate's DER.
std::string fingerprint_of(std::string_view der);

}  // namespace greengate::adapters
