#pragma once

#include "greengate/v1/report.pb.h"

#include <string_view>

namespace greengate::agent {

/// Fills columns and rows of `into` from what a command printed. As lines: one column "Output", one row a line. As a table: the first line
/// names the columns, tabs part names and values. Whatever the bytes are, what is made of them is text fit for XML.
/// Answers false when a table was asked for and the first line has no fit names; then they are lines.
/// Limits    result_columns_max columns of names up to 64 letters; what comes after result_rows_max rows is left out.
bool fill_rows(v1::ScriptResult& into, std::string_view output, bool as_table);

inline constexpr int result_columns_max = 32;
inline constexpr int result_rows_max = 256;

}  // namespace greengate::agent
