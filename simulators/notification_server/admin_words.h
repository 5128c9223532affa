// Small words of the admin calls.
#pragma once

#include "core/clock.h"
#include "core/result.h"

#include <boost/json.hpp>

#include <string>
#include <string_view>
#include <utility>

namespace greengate::sim::notify {

using Answer = std::pair<unsigned, std::string>;

inline Answer ok(const boost::json::value& value) {
  return {200, boost::json::serialize(value)};
}

inline Answer error(unsigned status, std::string_view code, std::string_view message) {
  return {status, boost::json::serialize(boost::json::value{{"error", {{"code", code}, {"message", message}}}})};
}

inline Answer error(unsigned status, const Error& why) {
  return error(status, why.code, why.message);
}

inline boost::json::value time_value(WallTime time) {
  return time == WallTime{} ? boost::json::value() : boost::json::value(to_millis(time));
}

}  // namespace greengate::sim::notify
