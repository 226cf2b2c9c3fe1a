// A tree as HTML.
#pragma once

#include <ostream>

#include "inkwell/ast.h"

namespace inkwell {

struct HtmlOptions {
  bool page = false;  // a whole page with a head, not only the body's content
};

void write_html(std::ostream& output, const Node& document, const HtmlOptions& options = {});

}  // namespace inkwell
