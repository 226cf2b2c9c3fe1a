// The guide in every format, compared with what is kept in data/. Run from the project's folder.
#include <sstream>
#include <string>

#include "inkwell/document.h"
#include "inkwell/html.h"
#include "inkwell/outline.h"
#include "inkwell/plain.h"
#include "inkwell/statistics.h"
#include "tests/check.h"

using namespace inkwell;

namespace {

const Document& guide() {
  static const Document document(Source::open("data/guide.md"));
  return document;
}

std::string kept(const std::string& name) { return std::string(Source::open("data/" + name).text()); }

}  // namespace

TEST("the guide has nothing wrong with it") {
  CHECK_EQUAL(0u, guide().diagnostics().all().size());
  CHECK(guide().memory() > 10'000);
}

TEST("the guide as a page") {
  std::ostringstream output;
  write_html(output, guide().root(), {true});
  CHECK_EQUAL(kept("guide.html"), output.str());
}

TEST("the guide as text") {
  std::ostringstream output;
  write_plain(output, guide().root(), 72);
  CHECK_EQUAL(kept("guide.txt"), output.str());
}

TEST("the guide as an outline and as numbers") {
  std::ostringstream output;
  write_outline(output, guide().root());
  write_statistics(output, statistics_of(guide().root()));
  CHECK_EQUAL(kept("guide.outline"), output.str());
}

int main() { return check::run_all(); }
