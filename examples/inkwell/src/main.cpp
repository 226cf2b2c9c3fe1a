// inkwell: a Markdown file as HTML, as text for a terminal, as an outline, or as numbers.
#include <exception>
#include <iostream>

#include "inkwell/document.h"
#include "inkwell/html.h"
#include "inkwell/options.h"
#include "inkwell/outline.h"
#include "inkwell/plain.h"
#include "inkwell/statistics.h"

namespace {

using inkwell::Format;

void write(std::ostream& output, const inkwell::Node& root, const inkwell::Options& options) {
  switch (options.format) {
    case Format::Html: inkwell::write_html(output, root); break;
    case Format::Page: inkwell::write_html(output, root, {true}); break;
    case Format::Text: inkwell::write_plain(output, root, options.width); break;
    case Format::Outline: inkwell::write_outline(output, root); break;
    case Format::Statistics: inkwell::write_statistics(output, inkwell::statistics_of(root)); break;
    case Format::Tree: inkwell::dump(output, root); break;
  }
}

int run(const inkwell::Options& options) {
  inkwell::Source source = options.input == "-" ? inkwell::Source::read("standard input", std::cin)
                                                : inkwell::Source::open(options.input);
  const inkwell::Document document(std::move(source));
  document.diagnostics().print(std::cerr, document.source());
  const std::size_t errors = document.diagnostics().count(inkwell::Severity::Error);
  const std::size_t warnings = document.diagnostics().count(inkwell::Severity::Warning);
  if (!options.check) write(std::cout, document.root(), options);
  return errors != 0 || (options.check && warnings != 0) ? 1 : 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const inkwell::Options options = inkwell::parse_options({arguments + 1, arguments + count});
    if (options.help) {
      inkwell::write_usage(std::cout);
      return 0;
    }
    return run(options);
  } catch (const inkwell::UsageError& error) {
    std::cerr << "inkwell: " << error.what() << '\n';
    inkwell::write_usage(std::cerr);
    return 2;
  } catch (const std::exception& error) {
    std::cerr << "inkwell: " << error.what() << '\n';
    return 1;
  }
}
