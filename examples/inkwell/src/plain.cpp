#include "inkwell/plain.h"

#include <algorithm>
#include <string>
#include <vector>

#include "inkwell/table.h"
#include "inkwell/utf8.h"
#include "inkwell/wrap.h"

namespace inkwell {
namespace {

std::string one_line(std::string_view text) {
  std::string result(text);
  std::replace(result.begin(), result.end(), '\n', ' ');
  return result;
}

class Writer {
 public:
  Writer(std::ostream& output, std::size_t width) : output_(output), width_(width) {}

  void blocks(const Node& node, const std::string& prefix) {
    for (const Node* child = node.first; child != nullptr; child = child->next) {
      if (child != node.first) line(prefix, "");
      block(*child, prefix, prefix);
    }
  }

  void notes() {
    if (notes_.empty()) return;
    output_ << '\n';
    for (std::size_t i = 0; i < notes_.size(); ++i) output_ << '[' << i + 1 << "] " << notes_[i] << '\n';
  }

 private:
  void line(const std::string& prefix, const std::string& text) {
    const std::string whole = prefix + text;
    output_ << whole.substr(0, whole.find_last_not_of(' ') + 1) << '\n';
  }

  // Text whose first line begins with `first` and the others with `rest`, wrapped to what is left.
  void wrapped(const std::string& text, const std::string& first, const std::string& rest) {
    const std::size_t taken = display_width(rest);
    bool is_first = true;
    for (const std::string& one : wrap(text, width_ > taken + 10 ? width_ - taken : 10)) {
      line(is_first ? first : rest, one);
      is_first = false;
    }
  }

  void block(const Node& node, const std::string& first, const std::string& rest) {
    switch (node.kind) {
      case Kind::Heading: heading(node, first, rest); break;
      case Kind::Quote: blocks(node, rest + "> "); break;
      case Kind::List: list(node, rest); break;
      case Kind::CodeBlock: code(node, rest); break;
      case Kind::Rule: line(first, std::string(std::min<std::size_t>(width_, 40), '-')); break;
      case Kind::Table: table(node, rest); break;
      default: wrapped(inlines(node), first, rest); break;
    }
  }

  void heading(const Node& node, const std::string& first, const std::string& rest) {
    const std::string title = inlines(node);
    wrapped(title, first, rest);
    const std::size_t columns = std::min(display_width(title), width_);
    if (node.level <= 2) line(rest, std::string(columns, node.level == 1 ? '=' : '-'));
  }

  void list(const Node& node, const std::string& prefix) {
    std::size_t number = node.level;
    for (const Node* item = node.first; item != nullptr; item = item->next, ++number) {
      const std::string marker = node.ordered ? std::to_string(number) + ". " : "* ";
      const std::string inner = prefix + std::string(marker.size(), ' ');
      if (item->first == nullptr) line(prefix, marker);
      for (const Node* child = item->first; child != nullptr; child = child->next) {
        block(*child, child == item->first ? prefix + marker : inner, inner);
      }
    }
  }

  void code(const Node& node, const std::string& prefix) {
    std::size_t start = 0;
    while (start < node.text.size()) {
      const std::size_t end = std::min(node.text.find('\n', start), node.text.size());
      line(prefix, "    " + std::string(node.text.substr(start, end - start)));
      start = end + 1;
    }
  }

  void table(const Node& node, const std::string& prefix) {
    std::vector<std::size_t> widths = column_widths(node);
    for (const Node* row = node.first; row != nullptr; row = row->next) {
      std::string text;
      std::size_t column = 0;
      for (const Node* cell = row->first; cell != nullptr; cell = cell->next, ++column) {
        if (column != 0) text += " | ";
        text += pad(text_of(*cell), widths[column], cell->align);
      }
      line(prefix, text);
      if (row->level != 1) continue;
      std::string rule;
      for (std::size_t i = 0; i < widths.size(); ++i) rule += (i == 0 ? "" : "-+-") + std::string(widths[i], '-');
      line(prefix, rule);
    }
  }

  std::string inlines(const Node& node) {
    std::string result;
    for (const Node* child = node.first; child != nullptr; child = child->next) inline_of(*child, result);
    return result;
  }

  void inline_of(const Node& node, std::string& result) {
    switch (node.kind) {
      case Kind::Text: result += one_line(node.text); break;
      case Kind::Emphasis: result += '_' + inlines(node) + '_'; break;
      case Kind::Strong: result += '*' + inlines(node) + '*'; break;
      case Kind::Code: result += '`' + std::string(node.text) + '`'; break;
      case Kind::Link: result += inlines(node) + note(node); break;
      case Kind::Image: result += "(picture: " + one_line(node.text) + ')' + note(node); break;
      case Kind::LineBreak: result += '\n'; break;
      default: result += inlines(node); break;
    }
  }

  std::string note(const Node& node) {
    const auto found = std::find(notes_.begin(), notes_.end(), node.target);
    const auto index = static_cast<std::size_t>(std::distance(notes_.begin(), found));
    if (found == notes_.end()) notes_.emplace_back(node.target);
    return '[' + std::to_string(index + 1) + ']';
  }

  std::ostream& output_;
  std::size_t width_;
  std::vector<std::string> notes_;
};

}  // namespace

void write_plain(std::ostream& output, const Node& document, std::size_t width) {
  Writer writer(output, width);
  writer.blocks(document, "");
  writer.notes();
}

}  // namespace inkwell
