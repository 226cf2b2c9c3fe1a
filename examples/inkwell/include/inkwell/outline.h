// The headings of a document.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "inkwell/ast.h"

namespace inkwell {

struct OutlineEntry {
  std::size_t level;
  std::string number;  // "2.1"
  std::string title;
  std::string slug;    // unique in the document
  Position position;
};

std::vector<OutlineEntry> outline_of(const Node& document);
void write_outline(std::ostream& output, const Node& document);

}  // namespace inkwell
