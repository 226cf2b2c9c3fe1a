// Tables: rows of cells between bars, the second row telling how the columns align.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "inkwell/ast.h"

namespace inkwell {

// The cells of a row, trimmed; a bar behind a backslash does not separate.
std::vector<std::string_view> split_row(std::string_view line);
// What `| :-- | --: |` means; nothing when the line is no such row.
std::optional<std::vector<Align>> alignments(std::string_view line);
// The widest cell of each column, in columns of a terminal.
std::vector<std::size_t> column_widths(const Node& table);

}  // namespace inkwell
