// What stands inside a paragraph: emphasis, code, links, images.
#pragma once

#include <string_view>

#include "inkwell/ast.h"
#include "inkwell/diagnostics.h"
#include "inkwell/links.h"

namespace inkwell {

// Parses texts into children of a node. The texts must outlive the arena's nodes.
class InlineParser {
 public:
  InlineParser(Arena& arena, Links& links, Diagnostics& diagnostics)
      : arena_(arena), links_(links), diagnostics_(diagnostics) {}

  // `position` is the place of the first byte of `text`.
  void parse(Node* parent, std::string_view text, Position position);

 private:
  struct Cursor {
    std::string_view text;
    std::size_t at = 0;
    Position position;
  };

  bool escape(Node* parent, Cursor& cursor, std::size_t& plain);
  bool code(Node* parent, Cursor& cursor, std::size_t& plain);
  bool emphasis(Node* parent, Cursor& cursor, std::size_t& plain);
  bool link(Node* parent, Cursor& cursor, std::size_t& plain);
  bool line_break(Node* parent, Cursor& cursor, std::size_t& plain);
  // Hangs what was passed over since `plain` under `parent` as text.
  void flush(Node* parent, const Cursor& cursor, std::size_t plain);
  void finish_link(Node* parent, Cursor& cursor, bool image, std::string_view label, std::string_view target,
                   std::size_t length);

  Arena& arena_;
  Links& links_;
  Diagnostics& diagnostics_;
};

}  // namespace inkwell
