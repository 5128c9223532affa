#pragma once

#include "adapters/mp/mof.h"
#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::ctl {

/// One class's shape out of JSON: what `greengate-agent inventory --json` prints (its "shapes"), one such shape, or what a custom
/// inventory script prints, when it says its "properties" with types.
/// Errors    mof.json, mof.class_absent, mof.shape (reject)
Result<adapters::ClassShape> shape_from_json(std::string_view text, const std::string& class_name);

/// A file's content, or standard input's for "-"; 32 MiB at most.
/// Errors    mof.file (reject)
Result<std::string> content_of(const std::string& file);

}  // namespace greengate::ctl
