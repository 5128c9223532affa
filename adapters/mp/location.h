#pragma once

#include "adapters/mp/message.h"
#include "adapters/mp/settings.h"
#include "core/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::adapters {

/// What a client can ask the location manager (mp-protocol 5.4).
enum class LocationKind { management_points, content, update_server, site };

struct LocationQuestion {
  LocationKind kind = LocationKind::site;
  std::string package_id;  ///< Content.
  std::uint32_t package_version = 0;
  std::string address, subnet;  ///< Of the client; boundaries decide by them. Empty ones are sent empty.
};

/// One place, or one fact about the site.
struct Location {
  std::string url, server, site_code, version, detail;
  bool https = false;
};

/// The request, an Invoke that is not signed (D, M): ContentLocationRequest, WSUSLocationRequest and SiteInformationRequest as
/// published; EnumerateMPLocationRequest, of which only the name is public, by analogy with them (I).
Result<OutgoingMessage> location_request(const MpSettings& settings, const MpIdentity& identity, const ReportFacts& facts,
                                         const LocationQuestion& question);

/// The answer to a question of that kind.
/// Management points are named as the site names them, addresses included: who uses one asks first whether it may.
/// Limits    512 places, each text 2 KiB (a longer one is left out).
/// Errors    mp.reply_xml, mp.location_reply (reject).
Result<std::vector<Location>> parse_location_reply(const MpSettings& settings, LocationKind kind, std::string_view xml);

}  // namespace greengate::adapters
