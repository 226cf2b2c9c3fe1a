#include "inkwell/diagnostics.h"

#include <algorithm>
#include <iomanip>
#include <tuple>

namespace inkwell {

void Diagnostics::report(Severity severity, Position position, std::string message) {
  all_.push_back({severity, position, std::move(message)});
}

std::size_t Diagnostics::count(Severity severity) const {
  return static_cast<std::size_t>(std::count_if(
      all_.begin(), all_.end(), [severity](const Diagnostic& one) { return one.severity == severity; }));
}

void Diagnostics::print(std::ostream& output, const Source& source) const {
  std::vector<const Diagnostic*> sorted;
  for (const Diagnostic& one : all_) sorted.push_back(&one);
  std::stable_sort(sorted.begin(), sorted.end(), [](const Diagnostic* a, const Diagnostic* b) {
    return std::tie(a->position.line, a->position.column) < std::tie(b->position.line, b->position.column);
  });
  for (const Diagnostic* one : sorted) {
    const Position at = one->position;
    output << source.name() << ':' << at.line << ':' << at.column << ": " << name_of(one->severity) << ": "
           << one->message << '\n';
    const std::string_view line = source.line(at.line);
    if (line.empty()) continue;
    output << std::setw(5) << at.line << " | " << line << '\n' << "      | ";
    // Tabs stay tabs, so that the caret stands under its column whatever a tab is worth.
    for (std::size_t i = 0; i + 1 < at.column && i < line.size(); ++i) output << (line[i] == '\t' ? '\t' : ' ');
    output << "^\n";
  }
}

const char* name_of(Severity severity) {
  switch (severity) {
    case Severity::Note: return "note";
    case Severity::Warning: return "warning";
    case Severity::Error: return "error";
  }
  return "unknown";
}

}  // namespace inkwell
