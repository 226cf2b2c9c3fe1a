// Words, sentences, minutes.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "inkwell/ast.h"

namespace inkwell {

struct Statistics {
  std::size_t words = 0;
  std::size_t sentences = 0;
  std::size_t characters = 0;
  std::size_t headings = 0;
  std::size_t links = 0;
  std::size_t code_lines = 0;
  // The most frequent words of four letters and more, the most frequent first, equals by alphabet.
  std::vector<std::pair<std::string, std::size_t>> frequent;

  // At 220 words a minute, and at least one.
  std::size_t minutes() const;
};

Statistics statistics_of(const Node& document, std::size_t frequent_at_most = 5);
void write_statistics(std::ostream& output, const Statistics& statistics);

}  // namespace inkwell
