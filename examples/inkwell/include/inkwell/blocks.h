// What a document is made of: headings, paragraphs, quotes, lists, code, tables.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inkwell/ast.h"
#include "inkwell/diagnostics.h"
#include "inkwell/lines.h"
#include "inkwell/links.h"

namespace inkwell {

// Parses lines into blocks. Inlines come last, in `finish`, when every link definition is known:
// a definition may stand behind its use.
class BlockParser {
 public:
  BlockParser(Arena& arena, Links& links, Diagnostics& diagnostics)
      : arena_(arena), links_(links), diagnostics_(diagnostics) {}

  void parse(Node* parent, const std::vector<Line>& lines);
  void finish();

 private:
  using Lines = std::vector<Line>;
  // Each takes the block that begins at `at` and returns the index of the line behind it.
  std::size_t heading(Node* parent, const Lines& lines, std::size_t at);
  std::size_t fence(Node* parent, const Lines& lines, std::size_t at);
  std::size_t quote(Node* parent, const Lines& lines, std::size_t at);
  std::size_t list(Node* parent, const Lines& lines, std::size_t at);
  std::size_t list_item(Node* list, const Lines& lines, std::size_t at);
  std::size_t table(Node* parent, const Lines& lines, std::size_t at);
  std::size_t definition(const Lines& lines, std::size_t at);
  std::size_t paragraph(Node* parent, const Lines& lines, std::size_t at);
  void row(Node* table, const Line& line, const std::vector<Align>& columns, bool head);

  // The lines [from, to) as one text that lives in the arena.
  std::string_view joined(const Lines& lines, std::size_t from, std::size_t to);
  void later(Node* node, std::string_view text, Position position) { waiting_.push_back({node, text, position}); }

  struct Waiting {
    Node* node;
    std::string_view text;
    Position position;
  };
  Arena& arena_;
  Links& links_;
  Diagnostics& diagnostics_;
  std::vector<Waiting> waiting_;
  std::size_t depth_ = 0;
};

}  // namespace inkwell
