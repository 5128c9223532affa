#pragma once

#include "core/clock.h"
#include "core/result.h"
#include "gateway/admin_call.h"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greengate::gateway {

/// What every part of the admin API does alike: answers, refusals, paths, queries and bodies.
AdminReply ok(const boost::json::value& value);
AdminReply problem(unsigned status, std::string_view code, std::string_view message);
/// 404 for admin.not_found and queue.no_letter, 409 for what must not be, 503 for the disk's trouble.
AdminReply problem(const Error& error);

boost::json::value time_or_null(const std::optional<WallTime>& time);
boost::json::value time_or_null(WallTime time);

/// The path's parts, percent-decoded after splitting, so that an encoded slash stays inside its part.
std::vector<std::string> split_path(std::string_view target);
/// The query's value of that name, percent-decoded; nothing when it is absent.
std::optional<std::string> query_text(std::string_view target, std::string_view name);
std::optional<std::uint64_t> query_number(std::string_view target, std::string_view name);

/// A body that must be a JSON object, at most 16 deep. Empty: an empty object. Fails admin.bad_request (reject).
Result<boost::json::object> body_object(const std::string& body);

}  // namespace greengate::gateway
