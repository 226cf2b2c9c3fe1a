// Which kind of block a line begins, judged by the line alone.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "inkwell/source.h"

namespace inkwell {

enum class LineKind { Blank, Heading, Rule, Fence, Quote, Bullet, Number, Definition, Text };

// A line, or what is left of it once the markers of the blocks around it are taken off.
struct Line {
  std::string_view text;
  Position position;
};

struct Classified {
  LineKind kind = LineKind::Text;
  std::size_t indent = 0;       // columns before the first character
  std::size_t marker = 0;       // bytes up to the content, indent and marker included
  std::size_t number = 0;       // Heading: its level; Number: its number; Fence: its length
  std::string_view content;     // what follows the marker
};

Classified classify(std::string_view line);
std::vector<Line> split_lines(const Source& source);
// The line without its first `bytes` bytes (or empty, if it is shorter), the position moved along.
Line without_prefix(Line line, std::size_t bytes);

}  // namespace inkwell
