// Words into lines.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "inkwell/ast.h"

namespace inkwell {

// Lines of at most `width` columns; a word that is longer has a line of its own. A '\n' breaks.
std::vector<std::string> wrap(std::string_view text, std::size_t width);
// `text` in a field of `width` columns.
std::string pad(std::string_view text, std::size_t width, Align align);

}  // namespace inkwell
