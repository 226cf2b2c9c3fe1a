#include "inkwell/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace inkwell {
namespace {

constexpr std::array<std::pair<const char*, Format>, 6> kFormats{{
    {"html", Format::Html},
    {"page", Format::Page},
    {"text", Format::Text},
    {"outline", Format::Outline},
    {"stats", Format::Statistics},
    {"tree", Format::Tree},
}};

Format parse_format(const std::string& name) {
  const auto found = std::find_if(kFormats.begin(), kFormats.end(), [&](const auto& one) { return name == one.first; });
  if (found == kFormats.end()) throw UsageError("there is no format '" + name + "'");
  return found->second;
}

std::size_t parse_width(const std::string& text) {
  std::size_t width = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), width);
  if (error != std::errc() || end != text.data() + text.size() || width < 20 || width > 1000) {
    throw UsageError("the width must be a number from 20 to 1000, not '" + text + "'");
  }
  return width;
}

}  // namespace

Options parse_options(const std::vector<std::string>& arguments) {
  Options options;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 >= arguments.size()) throw UsageError(argument + " needs a value");
      return arguments[++i];
    };
    if (argument == "--format") options.format = parse_format(value());
    else if (argument == "--width") options.width = parse_width(value());
    else if (argument == "--check") options.check = true;
    else if (argument == "--help") options.help = true;
    else if (argument.size() > 1 && argument.front() == '-') throw UsageError("there is no option '" + argument + "'");
    else if (!options.input.empty()) throw UsageError("one file at a time");
    else options.input = argument;
  }
  if (options.input.empty() && !options.help) throw UsageError("which file?");
  return options;
}

void write_usage(std::ostream& output) {
  output << "usage: inkwell [--format FORMAT] [--width COLUMNS] [--check] FILE\n"
            "\n"
            "Reads a Markdown file (or standard input: -) and writes it in another form.\n"
            "\n"
            "  --format   html, page, text, outline, stats or tree (html)\n"
            "  --width    columns of the text format, 20 to 1000 (80)\n"
            "  --check    write nothing, end with 1 if there are warnings or errors\n";
}

}  // namespace inkwell
