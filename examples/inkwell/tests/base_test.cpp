#include <cstdint>
#include <sstream>
#include <string>

#include "inkwell/arena.h"
#include "inkwell/interner.h"
#include "inkwell/source.h"
#include "inkwell/utf8.h"
#include "tests/check.h"

using namespace inkwell;

TEST("an arena gives aligned memory that stays where it is") {
  Arena arena(64);
  const std::string_view first = arena.copy("first");
  for (int i = 0; i < 100; ++i) {
    CHECK_EQUAL(0u, reinterpret_cast<std::uintptr_t>(arena.allocate(3, 8)) % 8);
  }
  CHECK(arena.blocks() > 1);
  CHECK_EQUAL("first", first);
  const std::string large(1000, 'x');
  CHECK_EQUAL(large, arena.copy(large));
}

TEST("equal strings are one symbol, other strings another") {
  Interner interner;
  std::string text = "ink";
  const Symbol ink = interner.intern(text);
  text = "well";
  CHECK(interner.intern("ink") == ink);
  CHECK(interner.intern(text) != ink);
  CHECK_EQUAL("ink", interner.text(ink));
  CHECK_EQUAL(2u, interner.size());
  CHECK_THROWS(std::out_of_range, interner.text(static_cast<Symbol>(7)));
}

TEST("a source knows its lines and columns") {
  std::istringstream input("one\r\ntwo\n\nfour");
  const Source source = Source::read("test", input);
  CHECK_EQUAL(4u, source.line_count());
  CHECK_EQUAL("two", source.line(2));
  CHECK_EQUAL("", source.line(3));
  CHECK_EQUAL("", source.line(99));
  CHECK(source.position(5) == (Position{2, 2}));
  CHECK_THROWS(std::runtime_error, Source::open("no/such/file"));
}

TEST("UTF-8 goes in and out, and what is not UTF-8 is replaced") {
  for (const char32_t character : {U'a', U'\u00e9', U'\u20ac', U'\U0001F58B'}) {
    std::string text;
    encode(character, text);
    std::size_t at = 0;
    CHECK(decode(text, at) == character);
    CHECK_EQUAL(text.size(), at);
  }
  CHECK(is_valid("gr\xc3\xbc\xc3\x9f"));
  for (const char* bad : {"\xc3", "\xff", "\xc0\x80", "\xed\xa0\x80", "a\x80", "\xf5\x80\x80\x80"}) CHECK(!is_valid(bad));
}

TEST("a string has bytes, characters and columns") {
  const std::string text = "e\xcc\x81\xe5\x85\xa5";  // e with a combining accent, a wide character
  CHECK_EQUAL(6u, text.size());
  CHECK_EQUAL(3u, character_count(text));
  CHECK_EQUAL(3u, display_width(text));
  CHECK_EQUAL("abc\xc3\x89", lower("ABC\xc3\x89"));
  CHECK_EQUAL("a b", trim(" \ta b\n"));
}

int main() { return check::run_all(); }
