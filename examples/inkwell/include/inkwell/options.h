// The command line.
#pragma once

#include <cstddef>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace inkwell {

enum class Format { Html, Page, Text, Outline, Statistics, Tree };

struct Options {
  Format format = Format::Html;
  std::size_t width = 80;
  bool check = false;  // warnings count as errors, and nothing is written
  bool help = false;
  std::string input;   // a path, or "-" for standard input
};

// A command line that cannot be understood.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

Options parse_options(const std::vector<std::string>& arguments);
void write_usage(std::ostream& output);

}  // namespace inkwell
