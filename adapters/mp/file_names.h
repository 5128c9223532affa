#pragma once

#include "core/result.h"

#include <string>
#include <string_view>

namespace greengate::adapters {

/// Names of files as an agent gives them: anything a file system allows, or anything at all from an agent that lies.

/// Can a file have this name in this folder? 1 to 255 bytes without a slash and not "." or ".."; a folder of 1 to 4096 bytes.
/// Fails with `code` (reject).
Result<void> check_file_name(const char* code, std::string_view name, std::string_view path);

/// The name with every control character as \x and two hex digits: XML cannot hold them, and dropping them would give two files one name.
std::string printable_name(std::string_view name);

/// The name as an attachment may bear it, which the site may well use to write a file: what Windows reserves or would take for a path
/// or a stream becomes _, control characters too.
std::string attachment_name(std::string_view name);
/// The same of a folder and a file in it; the slashes between stay. Names that climb ("..") become _ each.
std::string attachment_path(std::string_view path, std::string_view name);

}  // namespace greengate::adapters
