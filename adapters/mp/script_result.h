#pragma once

#include "core/result.h"

#include <string>

namespace greengate::v1 {
class ScriptResult;
}

namespace greengate::adapters {

/// The result of a script task as StateDetails: base64 of UTF-16LE XML `<result ResultCode="0"><e NAME="VALUE" …/></result>`, between
/// quotation marks that belong to it (D).
/// Limits    rows of 32 columns; XML of 128 KiB.
/// Errors    mp.script_result (reject): a column that cannot be an attribute, more values than columns, or too large.
/// Source    bgb-protocol 5.4; docs/reference/script-tasks.md
Result<std::string> script_result_details(const v1::ScriptResult& result);

}  // namespace greengate::adapters
