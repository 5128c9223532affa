#pragma once

#include <boost/json/fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greengate::ctl {

/// Reads the gateway's answers by path ("queue.waiting"); what is missing shows as "-", so that an older gateway is not an error.
const boost::json::value* find(const boost::json::value& in, std::string_view path);
std::optional<std::int64_t> number(const boost::json::value& in, std::string_view path);
bool is_true(const boost::json::value& in, std::string_view path);
std::string text(const boost::json::value& in, std::string_view path);
std::string time_at(const boost::json::value& in, std::string_view path);
const boost::json::array& items(const boost::json::value& in, std::string_view path);
/// From one moment to another: "+2.4 s".
std::string step(const boost::json::value& in, std::string_view from, std::string_view to);

}  // namespace greengate::ctl
