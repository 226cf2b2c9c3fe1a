// A text and the places in it.
#pragma once

#include <cstddef>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

namespace inkwell {

// A place as people count: lines and columns start at 1, a column is one byte.
struct Position {
  std::size_t line = 1;
  std::size_t column = 1;
  friend bool operator==(Position a, Position b) { return a.line == b.line && a.column == b.column; }
};

class Source {
 public:
  Source(std::string name, std::string text);

  // Reads everything. Throws std::runtime_error when the stream fails.
  static Source read(std::string name, std::istream& input);
  static Source open(const std::string& path);

  const std::string& name() const { return name_; }
  std::string_view text() const { return text_; }
  std::size_t line_count() const { return starts_.size(); }
  // The line of this number, without its end. Empty for a line that is not there.
  std::string_view line(std::size_t number) const;
  Position position(std::size_t offset) const;
  std::size_t line_start(std::size_t number) const { return starts_.at(number - 1); }

 private:
  std::string name_;
  std::string text_;
  std::vector<std::size_t> starts_;
};

}  // namespace inkwell
