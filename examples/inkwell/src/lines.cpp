#include "inkwell/lines.h"

#include <algorithm>
#include <cctype>

#include "inkwell/utf8.h"

namespace inkwell {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Three or more of one of "*-_", with blanks between them.
bool is_rule(std::string_view text) {
  if (text.empty() || std::string_view("*-_").find(text.front()) == std::string_view::npos) return false;
  std::size_t count = 0;
  for (const char c : text) {
    if (c == text.front()) ++count;
    else if (c != ' ') return false;
  }
  return count >= 3;
}

bool begins_item(std::string_view rest, std::size_t marker) {
  return rest.size() == marker || (rest.size() > marker && rest[marker] == ' ');
}

Classified heading(std::string_view rest, Classified line) {
  const std::size_t level = std::min(rest.find_first_not_of('#'), rest.size());
  if (level > 6 || (level < rest.size() && rest[level] != ' ')) return line;
  line.kind = LineKind::Heading;
  line.number = level;
  line.content = trim(rest.substr(level));
  // Hashes at the end are decoration.
  const std::size_t last = line.content.find_last_not_of('#');
  if (last == std::string_view::npos) line.content = {};
  else if (last + 1 < line.content.size() && line.content[last] == ' ') line.content = trim(line.content.substr(0, last));
  return line;
}

Classified item(std::string_view rest, std::size_t marker, Classified line) {
  line.marker = line.indent + marker + (rest.size() > marker ? 1 : 0);
  line.content = rest.substr(std::min(rest.size(), marker + 1));
  return line;
}

}  // namespace

Classified classify(std::string_view line) {
  Classified result;
  const std::size_t indent = line.find_first_not_of(" \t");
  if (indent == std::string_view::npos) {
    result.kind = LineKind::Blank;
    return result;
  }
  result.indent = indent;
  result.marker = indent;
  const std::string_view rest = line.substr(indent);
  result.content = rest;
  if (rest.front() == '#') return heading(rest, result);
  if (is_rule(rest)) {
    result.kind = LineKind::Rule;
    return result;
  }
  if (rest.substr(0, 3) == "```") {
    result.kind = LineKind::Fence;
    result.number = std::min(rest.find_first_not_of('`'), rest.size());
    result.content = trim(rest.substr(result.number));
    return result;
  }
  if (rest.front() == '>') {
    result.kind = LineKind::Quote;
    return item(rest, 1, result);
  }
  if (std::string_view("-+*").find(rest.front()) != std::string_view::npos && begins_item(rest, 1)) {
    result.kind = LineKind::Bullet;
    return item(rest, 1, result);
  }
  std::size_t digits = 0;
  while (digits < rest.size() && digits < 9 && is_digit(rest[digits])) ++digits;
  if (digits > 0 && digits < rest.size() && rest[digits] == '.' && begins_item(rest, digits + 1)) {
    result.kind = LineKind::Number;
    for (const char c : rest.substr(0, digits)) result.number = result.number * 10 + static_cast<std::size_t>(c - '0');
    return item(rest, digits + 1, result);
  }
  const std::size_t colon = rest.find("]:");
  if (rest.front() == '[' && colon != std::string_view::npos && colon > 1) result.kind = LineKind::Definition;
  return result;
}

std::vector<Line> split_lines(const Source& source) {
  std::vector<Line> lines;
  lines.reserve(source.line_count());
  for (std::size_t number = 1; number <= source.line_count(); ++number) {
    lines.push_back({source.line(number), Position{number, 1}});
  }
  return lines;
}

Line without_prefix(Line line, std::size_t bytes) {
  const std::size_t taken = std::min(bytes, line.text.size());
  line.text.remove_prefix(taken);
  line.position.column += taken;
  return line;
}

}  // namespace inkwell
