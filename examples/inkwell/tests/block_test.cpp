#include <sstream>
#include <string>

#include "inkwell/document.h"
#include "inkwell/lines.h"
#include "tests/check.h"

using namespace inkwell;

namespace {

std::string tree_of(const std::string& text) {
  const Document document(Source("test", text));
  std::ostringstream output;
  dump(output, document.root());
  return output.str();
}

std::string diagnosed(const std::string& text) {
  const Document document(Source("t.md", text));
  std::ostringstream output;
  document.diagnostics().print(output, document.source());
  return output.str();
}

}  // namespace

TEST("a line tells which block it begins") {
  CHECK(classify("   ").kind == LineKind::Blank);
  CHECK(classify("## Title ##").kind == LineKind::Heading);
  CHECK_EQUAL("Title", classify("## Title ##").content);
  CHECK(classify("#hashtag").kind == LineKind::Text);
  CHECK(classify("* * *").kind == LineKind::Rule);
  CHECK(classify("* item").kind == LineKind::Bullet);
  CHECK(classify("*emphasis*").kind == LineKind::Text);
  CHECK_EQUAL(12u, classify("12. item").number);
  CHECK(classify("```cpp").kind == LineKind::Fence);
  CHECK(classify("[label]: target").kind == LineKind::Definition);
}

TEST("paragraphs end at blank lines and at other blocks") {
  CHECK_EQUAL(
      "document\n"
      "  paragraph\n    text \"one\ntwo\"\n"
      "  heading 1\n    text \"three\"\n"
      "  paragraph\n    text \"four\"\n"
      "  rule\n",
      tree_of("one\n  two\n# three\nfour\n\n---\n"));
  CHECK_EQUAL("document\n  paragraph\n    text \"in\n1984. A book\"\n", tree_of("in\n1984. A book\n"));
}

TEST("lists nest, and items go on over indented lines") {
  CHECK_EQUAL(
      "document\n"
      "  list\n"
      "    item\n      paragraph\n        text \"one\"\n"
      "      list 1\n        item\n          paragraph\n            text \"inner\"\n"
      "    item\n      paragraph\n        text \"two\"\n      code-block \"x\" -> sh\n",
      tree_of("- one\n  1. inner\n- two\n\n  ```sh\n  x\n  ```\n"));
}

TEST("quotes hold blocks") {
  CHECK_EQUAL("document\n  quote\n    heading 2\n      text \"in\"\n    quote\n      paragraph\n        text \"deep\"\n",
              tree_of("> ## in\n> > deep\n"));
}

TEST("a table has as many cells in a row as in its head") {
  CHECK_EQUAL(
      "document\n  table\n"
      "    row 1\n      cell\n        text \"a\"\n      cell\n        text \"b\"\n"
      "    row\n      cell\n        text \"1\"\n      cell\n",
      tree_of("| a | b |\n|---|--:|\n| 1 |\n"));
  CHECK_EQUAL("t.md:3:1: warning: this row has 2 cells, the table has 1 columns\n    3 | 1 | 2\n      | ^\n",
              diagnosed("| a |\n|---|\n1 | 2\n"));
}

TEST("what is wrong is shown where it is") {
  CHECK_EQUAL("t.md:2:1: error: the code block that begins here never ends\n    2 | ```\n      | ^\n", diagnosed("a\n```\nb"));
  CHECK_EQUAL("t.md:1:1: error: this line is not UTF-8\n    1 | \xff\n      | ^\n", diagnosed("\xff"));
}

TEST("hostile nesting ends with an error, not with the stack") {
  CHECK(diagnosed(std::string(5000, '>')).find("nested too deeply") != std::string::npos);
}

int main() { return check::run_all(); }
