#pragma once

#include "adapters/http/client.h"
#include "adapters/mp/settings.h"
#include "core/clock.h"
#include "core/result.h"
#include "gateway/config.h"
#include "workers/courier.h"

#include <memory>
#include <string>
#include <vector>

namespace greengate::gateway {

/// The real doors of `site.management_points`, in order. Fails http.url (reject).
Result<std::vector<std::unique_ptr<workers::MpDoor>>> open_mp_doors(const SiteConfig& site, const adapters::MpSettings& settings,
                                                                    adapters::HttpClient& http, const Clock& clock);

/// One more, such as the site's own list names. Fails http.url (reject).
Result<std::unique_ptr<workers::MpDoor>> open_mp_door(const std::string& address, const adapters::MpSettings& settings,
                                                      adapters::HttpClient& http, const Clock& clock);

}  // namespace greengate::gateway
