// A document as a tree. Nodes live in an arena and own nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

#include "inkwell/arena.h"
#include "inkwell/source.h"

namespace inkwell {

enum class Kind {
  // Blocks
  Document, Heading, Paragraph, Quote, List, Item, CodeBlock, Rule, Table, Row, Cell,
  // Inlines
  Text, Emphasis, Strong, Code, Link, Image, LineBreak,
};

enum class Align { None, Left, Centre, Right };

struct Node {
  Kind kind;
  Position position;
  std::string_view text;      // Text, Code, CodeBlock: what it says; Image: its alternative text
  std::string_view target;    // Link, Image: where it leads; CodeBlock: its language
  std::size_t level = 0;      // Heading: 1 to 6; ordered List: its first number; head Row: 1
  bool ordered = false;       // List
  Align align = Align::None;  // Cell
  Node* parent = nullptr;
  Node* first = nullptr;
  Node* last = nullptr;
  Node* next = nullptr;
};

// Makes a node and hangs it behind the last child of `parent` (which may be null).
Node* append(Arena& arena, Node* parent, Kind kind, Position position, std::string_view text = {});

// Calls `visit` for every node, parents first, in the order of the document.
void walk(const Node& node, const std::function<void(const Node&, std::size_t depth)>& visit);

std::size_t child_count(const Node& node);
// All text below a node, without its markup.
std::string text_of(const Node& node);
const char* name_of(Kind kind);

// One line for each node, indented by depth. For tests and for `--format tree`.
void dump(std::ostream& output, const Node& node);

}  // namespace inkwell
