#include "inkwell/document.h"

#include "inkwell/blocks.h"
#include "inkwell/utf8.h"

namespace inkwell {

Document::Document(Source source) : source_(std::move(source)) {
  root_ = append(arena_, nullptr, Kind::Document, Position{});
  for (std::size_t number = 1; number <= source_.line_count(); ++number) {
    if (!is_valid(source_.line(number))) {
      diagnostics_.report(Severity::Error, Position{number, 1}, "this line is not UTF-8");
    }
  }
  BlockParser parser(arena_, links_, diagnostics_);
  parser.parse(root_, split_lines(source_));
  parser.finish();
  links_.report_unused(diagnostics_);
}

}  // namespace inkwell
