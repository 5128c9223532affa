#pragma once

#include "core/result.h"
#include "store/baselines.h"
#include "store/device_registry.h"

#include <boost/json/value.hpp>

#include <string>

namespace greengate::gateway {

/// What an inventory class is made of, as agents report it: {"class", "namespace", "keys": […], "properties": {name: type}}. Taken from
/// the first agent whose inventory the site has and that reports it, and a property's type from the first instance that has it.
///
/// Limits    Looks into at most 200 agents' inventories.
/// Threads   Any that may wait for the disk.
/// Errors    admin.not_found (reject): no agent looked at reports such a class.
Result<boost::json::value> class_shape(store::DeviceRegistry& devices, store::Baselines& baselines, const std::string& class_name);

}  // namespace greengate::gateway
