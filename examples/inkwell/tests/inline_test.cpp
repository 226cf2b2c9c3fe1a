#include <sstream>
#include <string>

#include "inkwell/document.h"
#include "inkwell/html.h"
#include "inkwell/links.h"
#include "tests/check.h"

using namespace inkwell;

namespace {

// The first paragraph as HTML, without its tags.
std::string inlines(const std::string& text) {
  const Document document(Source("test", text));
  std::ostringstream output;
  write_html(output, document.root());
  const std::string html = output.str();
  const std::size_t start = html.find("<p>") + 3;
  return html.substr(start, html.find("</p>") - start);
}

std::size_t errors(const std::string& text) {
  return Document(Source("test", text)).diagnostics().count(Severity::Error);
}

}  // namespace

TEST("emphasis nests and needs no blank inside its marks") {
  CHECK_EQUAL("<em>a</em> <strong>b</strong> <em>c <strong>d</strong> e</em>", inlines("*a* __b__ *c **d** e*"));
  CHECK_EQUAL("2 * 3 * 4", inlines("2 * 3 * 4"));
  CHECK_EQUAL("snake_case_name", inlines("snake_case_name"));
  CHECK_EQUAL("**open", inlines("**open"));
}

TEST("code is taken word for word") {
  CHECK_EQUAL("<code>a *b* &lt;c&gt;</code>", inlines("`a *b* <c>`"));
  CHECK_EQUAL("<em>x <code>*</code> y</em>", inlines("*x `*` y*"));
  CHECK_EQUAL("a ` b", inlines("a ` b"));
}

TEST("a backslash takes the meaning from a mark") {
  CHECK_EQUAL("*a* [b] \\n &amp;", inlines("\\*a\\* \\[b\\] \\n \\&"));
}

TEST("links by place and by label") {
  CHECK_EQUAL("<a href=\"https://example.org/a%20b\">x <em>y</em></a>", inlines("[x *y*](https://example.org/a b)"));
  CHECK_EQUAL("<a href=\"there\">Here</a> <a href=\"there\">h</a>", inlines("[Here] [h][ HERE ]\n\n[here]: there"));
  CHECK_EQUAL("[not a link]", inlines("[not a link]"));
  CHECK_EQUAL("<img src=\"cat.png\" alt=\"a cat\">", inlines("![a cat](cat.png)"));
  CHECK_EQUAL(1u, errors("[a][nowhere]"));
}

TEST("a link never runs a script") {
  CHECK_EQUAL("<a href=\"#\">x</a>", inlines("[x](JavaScript:alert)"));
  CHECK_EQUAL(1u, errors("[x](javascript:alert)"));
}

TEST("targets are told apart") {
  CHECK(kind_of_target("https://example.org") == TargetKind::Web);
  CHECK(kind_of_target("mailto:ink@example.org") == TargetKind::Mail);
  CHECK(kind_of_target("#top") == TargetKind::Fragment);
  CHECK(kind_of_target("docs/a.md") == TargetKind::Path);
  CHECK(kind_of_target("data:text/html,x") == TargetKind::Dangerous);
}

TEST("labels are defined once and used") {
  const Document document(Source("test", "[a]: one\n[A]: two\n"));
  CHECK_EQUAL(1u, document.diagnostics().count(Severity::Warning));
  CHECK_EQUAL(1u, document.diagnostics().count(Severity::Note));
}

TEST("a line breaks behind two blanks or a backslash") {
  CHECK_EQUAL("a<br>\nb<br>\nc\nd", inlines("a  \nb\\\nc\nd"));
}

int main() { return check::run_all(); }
