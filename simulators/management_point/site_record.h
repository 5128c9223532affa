#pragma once

#include "simulators/management_point/site.h"

#include <boost/json.hpp>

#include <string>

namespace greengate::sim {

/// What the verdict's line will say.
struct Site::Record {
  WallTime time{};
  std::string endpoint, source_id, message_id, signature, msg_xml, body_xml;
  bool repeat = false;
  boost::json::object report, reply;
};

}  // namespace greengate::sim
