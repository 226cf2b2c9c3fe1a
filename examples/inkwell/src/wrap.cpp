#include "inkwell/wrap.h"

#include <algorithm>

#include "inkwell/utf8.h"

namespace inkwell {
namespace {

void wrap_line(std::string_view text, std::size_t width, std::vector<std::string>& lines) {
  std::string line;
  std::size_t columns = 0;
  std::size_t at = 0;
  while ((at = text.find_first_not_of(' ', at)) != std::string_view::npos) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    const std::size_t wide = display_width(word);
    if (columns != 0 && columns + 1 + wide > width) {
      lines.push_back(std::move(line));
      line.clear();
      columns = 0;
    }
    if (columns != 0) {
      line.push_back(' ');
      ++columns;
    }
    line.append(word);
    columns += wide;
    at = end;
  }
  lines.push_back(std::move(line));
}

}  // namespace

std::vector<std::string> wrap(std::string_view text, std::size_t width) {
  std::vector<std::string> lines;
  std::size_t start = 0;
  while (start <= text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    wrap_line(text.substr(start, end - start), width, lines);
    start = end + 1;
  }
  return lines;
}

std::string pad(std::string_view text, std::size_t width, Align align) {
  const std::size_t columns = display_width(text);
  const std::size_t room = columns < width ? width - columns : 0;
  const std::size_t before = align == Align::Right ? room : align == Align::Centre ? room / 2 : 0;
  return std::string(before, ' ') + std::string(text) + std::string(room - before, ' ');
}

}  // namespace inkwell
