#include <sstream>
#include <string>

#include "inkwell/document.h"
#include "inkwell/escape.h"
#include "inkwell/html.h"
#include "inkwell/plain.h"
#include "inkwell/wrap.h"
#include "tests/check.h"

using namespace inkwell;

namespace {

std::string html(const std::string& text, bool page = false) {
  const Document document(Source("test", text));
  std::ostringstream output;
  write_html(output, document.root(), {page});
  return output.str();
}

std::string plain(const std::string& text, std::size_t width) {
  const Document document(Source("test", text));
  std::ostringstream output;
  write_plain(output, document.root(), width);
  return output.str();
}

}  // namespace

TEST("text is never taken for markup") {
  CHECK_EQUAL("&lt;a b=&quot;c&quot;&gt; &amp;amp;", escape_html("<a b=\"c\"> &amp;"));
  CHECK_EQUAL("/%C3%BC?a=1&amp;b=%22", escape_url("/\xc3\xbc?a=1&b=\""));
  CHECK_EQUAL("<p>&lt;script&gt;</p>\n", html("<script>"));
}

TEST("headings have fragments that are unique") {
  CHECK_EQUAL("what-is-it", slug("What is it?"));
  CHECK_EQUAL("<h2 id=\"a\">A</h2>\n<h2 id=\"a-1\">A</h2>\n", html("## A\n## A\n"));
}

TEST("lists and code as HTML") {
  CHECK_EQUAL("<ol start=\"4\">\n<li>a</li>\n<li>b\n<pre><code>x\n</code></pre>\n</li>\n</ol>\n",
              html("4. a\n5. b\n   ```\n   x\n   ```\n"));
}

TEST("tables as HTML") {
  CHECK_EQUAL("<table>\n<tr><th align=\"right\">n</th></tr>\n<tr><td align=\"right\"><em>1</em></td></tr>\n</table>\n",
              html("| n |\n| --: |\n| *1* |\n"));
}

TEST("a page has a title") {
  CHECK(html("# Ink & well", true).find("<title>Ink &amp; well</title>") != std::string::npos);
  CHECK(html("no heading", true).find("<title>Untitled</title>") != std::string::npos);
}

TEST("words are wrapped by their width on a terminal") {
  const std::vector<std::string> lines = wrap("aa bb cc dddddddd e", 5);
  CHECK_EQUAL(4u, lines.size());
  CHECK_EQUAL("aa bb", lines.at(0));
  CHECK_EQUAL("dddddddd", lines.at(2));
  CHECK_EQUAL(2u, wrap("\xe5\x85\xa5\xe5\x85\xa5 \xe5\x85\xa5", 5).size());
  CHECK_EQUAL("  x", pad("x", 3, Align::Right));
  CHECK_EQUAL(" x  ", pad("x", 4, Align::Centre));
}

TEST("plain text keeps the shape of lists and quotes") {
  CHECK_EQUAL("> * one two\n>   three\n>   1. four\n", plain("> - one two three\n>   1. four\n", 14));
}

TEST("plain text numbers its links and names each target once") {
  CHECK_EQUAL("a[1] b[2] c[1]\n\n[1] x\n[2] y\n", plain("[a](x) [b](y) [c](x)", 40));
}

TEST("plain tables line up") {
  CHECK_EQUAL("name |  n\n-----+---\nink  | 10\n", plain("| name | n |\n|---|--:|\n| ink | 10 |\n", 40));
}

int main() { return check::run_all(); }
