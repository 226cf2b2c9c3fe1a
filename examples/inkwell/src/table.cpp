#include "inkwell/table.h"

#include <algorithm>

#include "inkwell/utf8.h"

namespace inkwell {

std::vector<std::string_view> split_row(std::string_view line) {
  line = trim(line);
  if (!line.empty() && line.front() == '|') line.remove_prefix(1);
  if (!line.empty() && line.back() == '|' && (line.size() < 2 || line[line.size() - 2] != '\\')) line.remove_suffix(1);
  std::vector<std::string_view> cells;
  std::size_t start = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\') {
      ++i;
    } else if (line[i] == '|') {
      cells.push_back(trim(line.substr(start, i - start)));
      start = i + 1;
    }
  }
  cells.push_back(trim(line.substr(start)));
  return cells;
}

std::optional<std::vector<Align>> alignments(std::string_view line) {
  if (line.find('|') == std::string_view::npos) return std::nullopt;
  std::vector<Align> result;
  for (std::string_view cell : split_row(line)) {
    const bool left = !cell.empty() && cell.front() == ':';
    const bool right = cell.size() > 1 && cell.back() == ':';
    if (left) cell.remove_prefix(1);
    if (right) cell.remove_suffix(1);
    if (cell.empty() || cell.find_first_not_of('-') != std::string_view::npos) return std::nullopt;
    result.push_back(left && right ? Align::Centre : right ? Align::Right : left ? Align::Left : Align::None);
  }
  return result;
}

std::vector<std::size_t> column_widths(const Node& table) {
  std::vector<std::size_t> widths;
  for (const Node* row = table.first; row != nullptr; row = row->next) {
    std::size_t column = 0;
    for (const Node* cell = row->first; cell != nullptr; cell = cell->next, ++column) {
      if (column == widths.size()) widths.push_back(0);
      widths[column] = std::max(widths[column], display_width(text_of(*cell)));
    }
  }
  return widths;
}

}  // namespace inkwell
