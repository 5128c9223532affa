#pragma once

#include "adapters/mp/settings.h"
#include "core/result.h"

#include <pugixml.hpp>

#include <string_view>

namespace greengate::adapters {

/// A management point's reply as a tree, for the .cc files that read replies. UTF-8 in.
/// Limits    reply_bytes_max, reply_depth_max; no DOCTYPE, no entities but XML's own five.
/// Errors    mp.reply_xml (reject).
Result<void> parse_reply_xml(const MpSettings& settings, std::string_view utf8,
                             pugi::xml_document& document);

}  // namespace greengate::adapters
