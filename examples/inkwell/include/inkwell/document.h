// From a text to a tree.
#pragma once

#include <memory>

#include "inkwell/ast.h"
#include "inkwell/diagnostics.h"
#include "inkwell/links.h"
#include "inkwell/source.h"

namespace inkwell {

// A parsed text. It owns everything its nodes point at.
class Document {
 public:
  explicit Document(Source source);
  Document(const Document&) = delete;
  Document& operator=(const Document&) = delete;

  const Node& root() const { return *root_; }
  const Source& source() const { return source_; }
  const Diagnostics& diagnostics() const { return diagnostics_; }
  std::size_t memory() const { return arena_.bytes_used(); }

 private:
  Source source_;
  Arena arena_;
  Links links_;
  Diagnostics diagnostics_;
  Node* root_;
};

}  // namespace inkwell
