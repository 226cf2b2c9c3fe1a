#include "inkwell/blocks.h"

#include "inkwell/inlines.h"
#include "inkwell/table.h"
#include "inkwell/utf8.h"

namespace inkwell {
namespace {

// Quotes and lists nest by recursion; a hostile document must not use up the stack.
constexpr std::size_t kDeepest = 64;

bool begins_table(const std::vector<Line>& lines, std::size_t at) {
  if (at + 1 >= lines.size() || lines[at].text.find('|') == std::string_view::npos) return false;
  const auto columns = alignments(lines[at + 1].text);
  return columns && columns->size() == split_row(lines[at].text).size();
}

}  // namespace

void BlockParser::parse(Node* parent, const Lines& lines) {
  if (++depth_ > kDeepest) {
    diagnostics_.report(Severity::Error, parent->position, "blocks are nested too deeply");
    --depth_;
    return;
  }
  for (std::size_t at = 0; at < lines.size();) {
    const Classified line = classify(lines[at].text);
    switch (line.kind) {
      case LineKind::Blank: ++at; break;
      case LineKind::Heading: at = heading(parent, lines, at); break;
      case LineKind::Rule: append(arena_, parent, Kind::Rule, lines[at++].position); break;
      case LineKind::Fence: at = fence(parent, lines, at); break;
      case LineKind::Quote: at = quote(parent, lines, at); break;
      case LineKind::Bullet:
      case LineKind::Number: at = list(parent, lines, at); break;
      case LineKind::Definition: at = definition(lines, at); break;
      case LineKind::Text:
        at = begins_table(lines, at) ? table(parent, lines, at) : paragraph(parent, lines, at);
        break;
    }
  }
  --depth_;
}

void BlockParser::finish() {
  InlineParser inlines(arena_, links_, diagnostics_);
  for (const Waiting& one : waiting_) inlines.parse(one.node, one.text, one.position);
  waiting_.clear();
}

std::string_view BlockParser::joined(const Lines& lines, std::size_t from, std::size_t to) {
  std::string text;
  for (std::size_t i = from; i < to; ++i) {
    if (i != from) text.push_back('\n');
    text.append(lines[i].text);
  }
  return arena_.copy(text);
}

std::size_t BlockParser::heading(Node* parent, const Lines& lines, std::size_t at) {
  const Classified line = classify(lines[at].text);
  Node* node = append(arena_, parent, Kind::Heading, lines[at].position);
  node->level = line.number;
  if (line.content.empty()) {
    diagnostics_.report(Severity::Warning, lines[at].position, "this heading says nothing");
    return at + 1;
  }
  const auto into = static_cast<std::size_t>(line.content.data() - lines[at].text.data());
  later(node, line.content, without_prefix(lines[at], into).position);
  return at + 1;
}

std::size_t BlockParser::fence(Node* parent, const Lines& lines, std::size_t at) {
  const Classified open = classify(lines[at].text);
  Node* node = append(arena_, parent, Kind::CodeBlock, lines[at].position);
  node->target = open.content;
  std::size_t end = at + 1;
  for (; end < lines.size(); ++end) {
    const Classified line = classify(lines[end].text);
    if (line.kind == LineKind::Fence && line.content.empty() && line.number >= open.number) break;
  }
  if (end == lines.size()) {
    diagnostics_.report(Severity::Error, lines[at].position, "the code block that begins here never ends");
  }
  node->text = joined(lines, at + 1, end);
  return end == lines.size() ? end : end + 1;
}

std::size_t BlockParser::quote(Node* parent, const Lines& lines, std::size_t at) {
  Node* node = append(arena_, parent, Kind::Quote, lines[at].position);
  Lines inner;
  for (; at < lines.size(); ++at) {
    const Classified line = classify(lines[at].text);
    if (line.kind != LineKind::Quote) break;
    inner.push_back(without_prefix(lines[at], line.marker));
  }
  parse(node, inner);
  return at;
}

std::size_t BlockParser::list(Node* parent, const Lines& lines, std::size_t at) {
  const Classified first = classify(lines[at].text);
  Node* node = append(arena_, parent, Kind::List, lines[at].position);
  node->ordered = first.kind == LineKind::Number;
  node->level = first.number;
  while (at < lines.size()) {
    const Classified line = classify(lines[at].text);
    if (line.kind != first.kind || line.indent != first.indent) break;
    at = list_item(node, lines, at);
  }
  return at;
}

std::size_t BlockParser::list_item(Node* list, const Lines& lines, std::size_t at) {
  const Classified first = classify(lines[at].text);
  Node* node = append(arena_, list, Kind::Item, lines[at].position);
  Lines inner{without_prefix(lines[at], first.marker)};
  for (++at; at < lines.size(); ++at) {
    const Classified line = classify(lines[at].text);
    if (line.kind == LineKind::Blank) {
      // A blank line belongs to the item only when something indented follows it.
      const bool goes_on = at + 1 < lines.size() && classify(lines[at + 1].text).kind != LineKind::Blank &&
                           classify(lines[at + 1].text).indent >= first.marker;
      if (!goes_on) break;
      inner.push_back({{}, lines[at].position});
    } else if (line.indent >= first.marker) {
      inner.push_back(without_prefix(lines[at], first.marker));
    } else if (line.kind == LineKind::Text && classify(inner.back().text).kind == LineKind::Text) {
      inner.push_back(without_prefix(lines[at], line.indent));
    } else {
      break;
    }
  }
  parse(node, inner);
  while (at < lines.size() && classify(lines[at].text).kind == LineKind::Blank) {
    const bool next_item = at + 1 < lines.size() && classify(lines[at + 1].text).kind == first.kind;
    if (!next_item) break;
    ++at;
  }
  return at;
}

void BlockParser::row(Node* table, const Line& line, const std::vector<Align>& columns, bool head) {
  Node* node = append(arena_, table, Kind::Row, line.position);
  node->level = head ? 1 : 0;
  const std::vector<std::string_view> cells = split_row(line.text);
  if (cells.size() > columns.size()) {
    diagnostics_.report(Severity::Warning, line.position,
                        "this row has " + std::to_string(cells.size()) + " cells, the table has " +
                            std::to_string(columns.size()) + " columns");
  }
  for (std::size_t i = 0; i < columns.size(); ++i) {
    Node* cell = append(arena_, node, Kind::Cell, line.position);
    cell->align = columns[i];
    if (i >= cells.size() || cells[i].empty()) continue;
    const auto into = static_cast<std::size_t>(cells[i].data() - line.text.data());
    later(cell, cells[i], without_prefix(line, into).position);
  }
}

std::size_t BlockParser::table(Node* parent, const Lines& lines, std::size_t at) {
  Node* node = append(arena_, parent, Kind::Table, lines[at].position);
  const std::vector<Align> columns = *alignments(lines[at + 1].text);
  row(node, lines[at], columns, true);
  for (at += 2; at < lines.size() && lines[at].text.find('|') != std::string_view::npos; ++at) {
    row(node, lines[at], columns, false);
  }
  return at;
}

std::size_t BlockParser::definition(const Lines& lines, std::size_t at) {
  const std::string_view text = trim(lines[at].text);
  const std::size_t colon = text.find("]:");
  links_.define(text.substr(1, colon - 1), trim(text.substr(colon + 2)), lines[at].position, diagnostics_);
  return at + 1;
}

std::size_t BlockParser::paragraph(Node* parent, const Lines& lines, std::size_t at) {
  Node* node = append(arena_, parent, Kind::Paragraph, lines[at].position);
  Lines stripped;
  for (; at < lines.size(); ++at) {
    const Classified line = classify(lines[at].text);
    // A number begins a list inside a paragraph only when it is 1: "in\n1984. A book" is prose.
    const bool goes_on = line.kind == LineKind::Text || line.kind == LineKind::Definition ||
                         (line.kind == LineKind::Number && line.number != 1);
    if (!goes_on && !stripped.empty()) break;
    stripped.push_back(without_prefix(lines[at], line.indent));
  }
  later(node, joined(stripped, 0, stripped.size()), stripped.front().position);
  return at;
}

}  // namespace inkwell
