// A tree as text for a terminal.
#pragma once

#include <cstddef>
#include <ostream>

#include "inkwell/ast.h"

namespace inkwell {

// Lines of at most `width` columns where words allow it. Links become numbered notes at the end.
void write_plain(std::ostream& output, const Node& document, std::size_t width);

}  // namespace inkwell
