#include <sstream>
#include <string>

#include "inkwell/document.h"
#include "inkwell/options.h"
#include "inkwell/outline.h"
#include "inkwell/statistics.h"
#include "inkwell/table.h"
#include "tests/check.h"

using namespace inkwell;

TEST("an outline counts its headings") {
  const Document document(Source("test", "# A\n## B\n## C\n# D\n### E *f*\n"));
  std::ostringstream output;
  write_outline(output, document.root());
  CHECK_EQUAL("1 A  #a\n  1.1 B  #b\n  1.2 C  #c\n2 D  #d\n    2.0.1 E f  #e-f\n", output.str());
}

TEST("statistics count prose, not code") {
  const Document document(Source("test", "# Ink\n\nThe quick well. The *quick* ink!\n\n```\nnot prose\nat all\n```\n"));
  const Statistics statistics = statistics_of(document.root());
  CHECK_EQUAL(7u, statistics.words);
  CHECK_EQUAL(2u, statistics.sentences);
  CHECK_EQUAL(2u, statistics.code_lines);
  CHECK_EQUAL(1u, statistics.minutes());
  CHECK_EQUAL(2u, statistics.frequent.size());
  CHECK_EQUAL("quick", statistics.frequent.at(0).first);
  CHECK_EQUAL(2u, statistics.frequent.at(0).second);
}

TEST("rows are split at bars that are not escaped") {
  CHECK_EQUAL(3u, split_row("| a \\| b | c |  |").size());
  CHECK(alignments("|:-:|---|").value().at(0) == Align::Centre);
  CHECK(!alignments("| a | b |"));
  CHECK(!alignments("---"));
}

TEST("a command line means what it says") {
  const Options options = parse_options({"--format", "text", "--width", "60", "--check", "a.md"});
  CHECK(options.format == Format::Text);
  CHECK_EQUAL(60u, options.width);
  CHECK(options.check);
  CHECK_EQUAL("a.md", options.input);
  CHECK_EQUAL("-", parse_options({"-"}).input);
}

TEST("a command line that cannot be understood is refused") {
  CHECK_THROWS(UsageError, parse_options({}));
  CHECK_THROWS(UsageError, parse_options({"--format"}));
  CHECK_THROWS(UsageError, parse_options({"--format", "pdf", "a.md"}));
  CHECK_THROWS(UsageError, parse_options({"--width", "7", "a.md"}));
  CHECK_THROWS(UsageError, parse_options({"--width", "80x", "a.md"}));
  CHECK_THROWS(UsageError, parse_options({"--colour", "a.md"}));
  CHECK_THROWS(UsageError, parse_options({"a.md", "b.md"}));
}

int main() { return check::run_all(); }
