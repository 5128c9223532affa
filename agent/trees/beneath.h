#pragma once

#include "core/descriptor.h"

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <utility>

namespace greengate::agent {

/// How the kernel is asked: one openat2, or one component after the other where it knows no
/// openat2 (before Linux 5.6, or behind a filter). Both promise the same.
enum class Opening { at_once, by_steps };

/// Opens `path`, which is relative and leads to no place above `base`.
///
/// Promise   No component is a symbolic link, the last included; "..", "." and empty components are
///           refused (EINVAL). On failure the descriptor is empty and errno says why (ELOOP: a link).
Descriptor open_beneath(int base, std::string_view path, int flags,
                        Opening how = Opening::at_once);

/// Opens a folder by its absolute path, no component of which may be a link.
Descriptor open_folder(std::string_view absolute_path, Opening how = Opening::at_once);

/// Opens a regular file for reading, and tells what it is. Whatever else is in its place (a pipe, a
/// device, a link) is looked at but never opened, even when it is put there meanwhile: errno is
/// then ELOOP or EINVAL.
Descriptor open_regular(int base, std::string_view path, struct stat& about,
                        Opening how = Opening::at_once);

/// A file as it stood at one moment; when nothing of this changes, its content has not.
struct Standing {
  std::uint64_t size = 0;
  std::uint64_t inode = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;  ///< ctime: no program can set it back.
  bool operator==(const Standing&) const = default;
};
Standing standing_of(const struct stat& about);

}  // namespace greengate::agent
