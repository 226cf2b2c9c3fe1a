#include "inkwell/html.h"

#include <sstream>

#include "inkwell/escape.h"
#include "inkwell/outline.h"

namespace inkwell {
namespace {

class Writer {
 public:
  Writer(std::ostream& output, const Node& document) : output_(output), outline_(outline_of(document)) {}

  void children(const Node& node) {
    for (const Node* child = node.first; child != nullptr; child = child->next) write(*child);
  }

  void write(const Node& node) {
    switch (node.kind) {
      case Kind::Document: children(node); break;
      case Kind::Heading: heading(node); break;
      case Kind::Paragraph: block("p", node); break;
      case Kind::Quote: lines("blockquote", node); break;
      case Kind::List: list(node); break;
      case Kind::Item: item(node); break;
      case Kind::CodeBlock: code_block(node); break;
      case Kind::Rule: output_ << "<hr>\n"; break;
      case Kind::Table: lines("table", node); break;
      case Kind::Row: row(node); break;
      case Kind::Cell: children(node); break;
      case Kind::Text: output_ << escape_html(node.text); break;
      case Kind::Emphasis: span("em", node); break;
      case Kind::Strong: span("strong", node); break;
      case Kind::Code: output_ << "<code>" << escape_html(node.text) << "</code>"; break;
      case Kind::Link:
        output_ << "<a href=\"" << escape_url(node.target) << "\">";
        children(node);
        output_ << "</a>";
        break;
      case Kind::Image:
        output_ << "<img src=\"" << escape_url(node.target) << "\" alt=\"" << escape_html(node.text) << "\">";
        break;
      case Kind::LineBreak: output_ << "<br>\n"; break;
    }
  }

 private:
  void span(const char* tag, const Node& node) {
    output_ << '<' << tag << '>';
    children(node);
    output_ << "</" << tag << '>';
  }
  void block(const char* tag, const Node& node) {
    span(tag, node);
    output_ << '\n';
  }
  void lines(const char* tag, const Node& node) {
    output_ << '<' << tag << ">\n";
    children(node);
    output_ << "</" << tag << ">\n";
  }

  void heading(const Node& node) {
    output_ << "<h" << node.level;
    if (next_heading_ < outline_.size()) output_ << " id=\"" << escape_html(outline_[next_heading_++].slug) << '"';
    output_ << '>';
    children(node);
    output_ << "</h" << node.level << ">\n";
  }

  void list(const Node& node) {
    if (!node.ordered) return lines("ul", node);
    output_ << "<ol";
    if (node.level != 1) output_ << " start=\"" << node.level << '"';
    output_ << ">\n";
    children(node);
    output_ << "</ol>\n";
  }

  // An item that is one paragraph needs no paragraph inside.
  void item(const Node& node) {
    output_ << "<li>";
    const Node* first = node.first;
    if (first != nullptr && first->kind == Kind::Paragraph) {
      children(*first);
      if (first->next != nullptr) output_ << '\n';
      first = first->next;
    }
    for (; first != nullptr; first = first->next) write(*first);
    output_ << "</li>\n";
  }

  void code_block(const Node& node) {
    output_ << "<pre><code";
    if (!node.target.empty()) output_ << " class=\"language-" << escape_html(node.target) << '"';
    output_ << '>' << escape_html(node.text) << (node.text.empty() ? "" : "\n") << "</code></pre>\n";
  }

  void row(const Node& node) {
    const char* tag = node.level == 1 ? "th" : "td";
    output_ << "<tr>";
    for (const Node* cell = node.first; cell != nullptr; cell = cell->next) {
      output_ << '<' << tag;
      if (cell->align == Align::Left) output_ << " align=\"left\"";
      if (cell->align == Align::Centre) output_ << " align=\"center\"";
      if (cell->align == Align::Right) output_ << " align=\"right\"";
      output_ << '>';
      children(*cell);
      output_ << "</" << tag << '>';
    }
    output_ << "</tr>\n";
  }

  std::ostream& output_;
  std::vector<OutlineEntry> outline_;
  std::size_t next_heading_ = 0;
};

}  // namespace

void write_html(std::ostream& output, const Node& document, const HtmlOptions& options) {
  if (options.page) {
    const std::vector<OutlineEntry> outline = outline_of(document);
    const std::string title = outline.empty() ? "Untitled" : outline.front().title;
    output << "<!doctype html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<title>" << escape_html(title)
           << "</title>\n</head>\n<body>\n";
  }
  Writer(output, document).write(document);
  if (options.page) output << "</body>\n</html>\n";
}

}  // namespace inkwell
