// What is wrong with a document, where, and how to show it.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "inkwell/source.h"

namespace inkwell {

enum class Severity { Note, Warning, Error };

struct Diagnostic {
  Severity severity;
  Position position;
  std::string message;
};

class Diagnostics {
 public:
  void report(Severity severity, Position position, std::string message);
  const std::vector<Diagnostic>& all() const { return all_; }
  std::size_t count(Severity severity) const;

  // In order of place: name, line, column, message, and the line with a caret under the column.
  void print(std::ostream& output, const Source& source) const;

 private:
  std::vector<Diagnostic> all_;
};

const char* name_of(Severity severity);

}  // namespace inkwell
