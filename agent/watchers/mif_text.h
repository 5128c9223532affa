#pragma once

#include "core/result.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace greengate::agent {

/// What a MIF file says about itself.
struct MifFacts {
  std::string architecture;  ///< Of its header; empty without one.
  std::string unique_id;
  std::size_t groups = 0;
  std::size_t attributes = 0;
};

/// Reads a MIF file as the DMI's grammar has it: one component of groups, tables, enumerations and paths; statements `name = value`;
/// texts in double quotes; comments from // to the line's end. With `header`, also what makes it an IDMIF: the two comments
/// //Architecture<…> and //UniqueID<…> before the component, and a group whose class is the architecture.
///
/// Limits    1,000 groups and tables, 10,000 attributes, 65,536 statements; texts of 32 KiB. No recursion.
/// Threads   Any.
/// Errors    mif.empty, mif.charset (neither UTF-8 nor Latin-1), mif.header, mif.syntax, mif.too_many (reject); each names the line.
/// Source    DMTF "Desktop Management Interface Specification" 2.0, chapter MIF; Microsoft "Requirements of IDMIF files".
Result<MifFacts> check_mif(std::string_view text, bool header);

}  // namespace greengate::agent
