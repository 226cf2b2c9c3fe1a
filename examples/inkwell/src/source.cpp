#include "inkwell/source.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace inkwell {

Source::Source(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {
  // A file written on another system ends its lines with "\r\n".
  text_.erase(std::remove(text_.begin(), text_.end(), '\r'), text_.end());
  starts_.push_back(0);
  for (std::size_t i = 0; i + 1 < text_.size(); ++i) {
    if (text_[i] == '\n') starts_.push_back(i + 1);
  }
}

Source Source::read(std::string name, std::istream& input) {
  std::string text{std::istreambuf_iterator<char>(input), std::istreambuf_iterator<char>()};
  if (input.bad()) throw std::runtime_error(name + ": cannot be read");
  return Source(std::move(name), std::move(text));
}

Source Source::open(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  return read(path, file);
}

std::string_view Source::line(std::size_t number) const {
  if (number == 0 || number > starts_.size()) return {};
  const std::size_t start = starts_[number - 1];
  const std::size_t end = text_.find('\n', start);
  return std::string_view(text_).substr(start, (end == std::string::npos ? text_.size() : end) - start);
}

Position Source::position(std::size_t offset) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), offset);
  const auto line = static_cast<std::size_t>(std::distance(starts_.begin(), after));
  return {line, offset - starts_[line - 1] + 1};
}

}  // namespace inkwell
