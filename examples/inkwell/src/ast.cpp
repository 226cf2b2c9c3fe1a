#include "inkwell/ast.h"

#include <iomanip>

namespace inkwell {
namespace {

void walk_from(const Node& node, std::size_t depth, const std::function<void(const Node&, std::size_t)>& visit) {
  visit(node, depth);
  for (const Node* child = node.first; child != nullptr; child = child->next) walk_from(*child, depth + 1, visit);
}

}  // namespace

Node* append(Arena& arena, Node* parent, Kind kind, Position position, std::string_view text) {
  Node* node = arena.make<Node>();
  node->kind = kind;
  node->position = position;
  node->text = text;
  node->parent = parent;
  if (parent != nullptr) {
    (parent->last == nullptr ? parent->first : parent->last->next) = node;
    parent->last = node;
  }
  return node;
}

void walk(const Node& node, const std::function<void(const Node&, std::size_t)>& visit) { walk_from(node, 0, visit); }

std::size_t child_count(const Node& node) {
  std::size_t count = 0;
  for (const Node* child = node.first; child != nullptr; child = child->next) ++count;
  return count;
}

std::string text_of(const Node& node) {
  std::string result;
  walk(node, [&](const Node& one, std::size_t) {
    if (one.kind == Kind::LineBreak) result.push_back(' ');
    if (one.kind == Kind::Text || one.kind == Kind::Code || one.kind == Kind::Image) result.append(one.text);
  });
  return result;
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::Document: return "document";
    case Kind::Heading: return "heading";
    case Kind::Paragraph: return "paragraph";
    case Kind::Quote: return "quote";
    case Kind::List: return "list";
    case Kind::Item: return "item";
    case Kind::CodeBlock: return "code-block";
    case Kind::Rule: return "rule";
    case Kind::Table: return "table";
    case Kind::Row: return "row";
    case Kind::Cell: return "cell";
    case Kind::Text: return "text";
    case Kind::Emphasis: return "emphasis";
    case Kind::Strong: return "strong";
    case Kind::Code: return "code";
    case Kind::Link: return "link";
    case Kind::Image: return "image";
    case Kind::LineBreak: return "line-break";
  }
  return "unknown";
}

void dump(std::ostream& output, const Node& node) {
  walk(node, [&](const Node& one, std::size_t depth) {
    output << std::string(depth * 2, ' ') << name_of(one.kind);
    if (one.level != 0) output << ' ' << one.level;
    if (!one.text.empty()) output << ' ' << std::quoted(std::string(one.text));
    if (!one.target.empty()) output << " -> " << one.target;
    output << '\n';
  });
}

}  // namespace inkwell
