#include "inkwell/inlines.h"

#include <algorithm>
#include <string>

#include "inkwell/utf8.h"

namespace inkwell {
namespace {

// The place `bytes` bytes further on.
Position advanced(Position position, std::string_view text, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    if (text[i] == '\n') position = {position.line + 1, 1};
    else ++position.column;
  }
  return position;
}

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t'; }

// The end of what `[` at `open` begins: the index of its `]`, brackets inside counted.
std::size_t closing_bracket(std::string_view text, std::size_t open) {
  std::size_t depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\\') ++i;
    else if (text[i] == '[') ++depth;
    else if (text[i] == ']' && --depth == 0) return i;
  }
  return std::string_view::npos;
}

// Where the next `marker` is that closes: one behind a blank closes nothing.
std::size_t closing_run(std::string_view text, std::size_t from, std::string_view marker) {
  const std::string twice(2, marker.front());
  for (std::size_t i = from; i + marker.size() <= text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '`') {
      const std::size_t end = text.find('`', i + 1);
      if (end != std::string_view::npos) i = end;
    } else if (marker.size() == 1 && text.substr(i, 2) == twice) {
      ++i;  // In "*a **b** c*" the star that closes is not one of two.
    } else if (text.substr(i, marker.size()) == marker && i > from && !is_blank(text[i - 1])) {
      return i;
    }
  }
  return std::string_view::npos;
}

}  // namespace

void InlineParser::parse(Node* parent, std::string_view text, Position position) {
  Cursor cursor{text, 0, position};
  std::size_t plain = 0;
  while (cursor.at < text.size()) {
    bool taken = false;
    switch (text[cursor.at]) {
      case '\\': taken = escape(parent, cursor, plain); break;
      case '`': taken = code(parent, cursor, plain); break;
      case '*':
      case '_': taken = emphasis(parent, cursor, plain); break;
      case '!':
      case '[': taken = link(parent, cursor, plain); break;
      case '\n': taken = line_break(parent, cursor, plain); break;
      default: break;
    }
    if (!taken) ++cursor.at;
  }
  flush(parent, cursor, plain);
}

void InlineParser::flush(Node* parent, const Cursor& cursor, std::size_t plain) {
  if (cursor.at <= plain) return;
  append(arena_, parent, Kind::Text, advanced(cursor.position, cursor.text, plain),
         cursor.text.substr(plain, cursor.at - plain));
}

bool InlineParser::escape(Node* parent, Cursor& cursor, std::size_t& plain) {
  constexpr std::string_view kEscapable = "\\`*_[]!#>-+.|<&";
  if (cursor.at + 1 >= cursor.text.size()) return false;
  if (kEscapable.find(cursor.text[cursor.at + 1]) == std::string_view::npos) return false;
  flush(parent, cursor, plain);
  plain = cursor.at + 1;
  cursor.at += 2;
  return true;
}

bool InlineParser::code(Node* parent, Cursor& cursor, std::size_t& plain) {
  const std::size_t end = cursor.text.find('`', cursor.at + 1);
  const Position here = advanced(cursor.position, cursor.text, cursor.at);
  if (end == std::string_view::npos) {
    diagnostics_.report(Severity::Warning, here, "the code that begins here never ends");
    return false;
  }
  flush(parent, cursor, plain);
  append(arena_, parent, Kind::Code, here, cursor.text.substr(cursor.at + 1, end - cursor.at - 1));
  cursor.at = plain = end + 1;
  return true;
}

bool InlineParser::emphasis(Node* parent, Cursor& cursor, std::size_t& plain) {
  const std::string_view text = cursor.text;
  const bool twice = cursor.at + 1 < text.size() && text[cursor.at + 1] == text[cursor.at];
  const std::string_view marker = text.substr(cursor.at, twice ? 2 : 1);
  const std::size_t from = cursor.at + marker.size();
  // snake_case_words are not emphasised.
  const bool inside_word = marker.front() == '_' && cursor.at > 0 && !is_blank(text[cursor.at - 1]) &&
                           std::string_view("([\"'*").find(text[cursor.at - 1]) == std::string_view::npos;
  if (inside_word || from >= text.size() || is_blank(text[from])) return false;
  const std::size_t end = closing_run(text, from, marker);
  if (end == std::string_view::npos) return false;
  flush(parent, cursor, plain);
  Node* node = append(arena_, parent, twice ? Kind::Strong : Kind::Emphasis,
                      advanced(cursor.position, text, cursor.at));
  parse(node, text.substr(from, end - from), advanced(cursor.position, text, from));
  cursor.at = plain = end + marker.size();
  return true;
}

bool InlineParser::link(Node* parent, Cursor& cursor, std::size_t& plain) {
  const std::string_view text = cursor.text;
  const bool image = text[cursor.at] == '!';
  const std::size_t open = cursor.at + (image ? 1 : 0);
  if (open >= text.size() || text[open] != '[') return false;
  const std::size_t close = closing_bracket(text, open);
  if (close == std::string_view::npos) return false;
  const std::string_view label = text.substr(open + 1, close - open - 1);
  const char after = close + 1 < text.size() ? text[close + 1] : '\0';
  if (after == '(') {
    const std::size_t end = text.find(')', close);
    if (end == std::string_view::npos) return false;
    flush(parent, cursor, plain);
    finish_link(parent, cursor, image, label, trim(text.substr(close + 2, end - close - 2)), end + 1 - cursor.at);
    plain = cursor.at;
    return true;
  }
  const std::size_t second = after == '[' ? closing_bracket(text, close + 1) : std::string_view::npos;
  const bool full = second != std::string_view::npos && second > close + 2;
  const std::string_view name = full ? text.substr(close + 2, second - close - 2) : label;
  const auto target = links_.resolve(name);
  if (!target) {
    if (full) {
      diagnostics_.report(Severity::Error, advanced(cursor.position, text, cursor.at),
                          "the label '" + normalised_label(name) + "' is not defined");
    }
    return false;
  }
  flush(parent, cursor, plain);
  const std::size_t end = second != std::string_view::npos ? second : close;
  finish_link(parent, cursor, image, label, *target, end + 1 - cursor.at);
  plain = cursor.at;
  return true;
}

void InlineParser::finish_link(Node* parent, Cursor& cursor, bool image, std::string_view label,
                               std::string_view target, std::size_t length) {
  const Position here = advanced(cursor.position, cursor.text, cursor.at);
  if (kind_of_target(std::string(target)) == TargetKind::Dangerous) {
    diagnostics_.report(Severity::Error, here, "a link must not run a script");
    target = "#";
  }
  Node* node = append(arena_, parent, image ? Kind::Image : Kind::Link, here);
  node->target = arena_.copy(target);
  if (image) {
    node->text = label;
  } else {
    const auto into = static_cast<std::size_t>(label.data() - cursor.text.data());
    parse(node, label, advanced(cursor.position, cursor.text, into));
  }
  cursor.at += length;
}

bool InlineParser::line_break(Node* parent, Cursor& cursor, std::size_t& plain) {
  // Two blanks or a backslash at the end of a line.
  const std::string_view before = cursor.text.substr(0, cursor.at);
  const std::size_t spaces = before.size() - std::min(before.find_last_not_of(' ') + 1, before.size());
  const bool backslash = !before.empty() && before.back() == '\\';
  if (spaces < 2 && !backslash) return false;
  Cursor until = cursor;
  until.at -= backslash ? 1 : spaces;
  flush(parent, until, plain);
  append(arena_, parent, Kind::LineBreak, advanced(cursor.position, cursor.text, until.at));
  plain = ++cursor.at;
  return true;
}

}  // namespace inkwell
