#include "inkwell/utf8.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace inkwell {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

constexpr std::array<Range, 5> kCombining{{
    {0x0300, 0x036F}, {0x1AB0, 0x1AFF}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F},
}};
constexpr std::array<Range, 8> kWide{{
    {0x1100, 0x115F}, {0x2E80, 0x303E}, {0x3041, 0x33FF}, {0x3400, 0x4DBF},
    {0x4E00, 0x9FFF}, {0xAC00, 0xD7A3}, {0xFF00, 0xFF60}, {0x1F300, 0x1FAFF},
}};

template <std::size_t N>
bool contains(const std::array<Range, N>& ranges, char32_t character) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [character](Range r) { return r.first <= character && character <= r.last; });
}

std::size_t column_width(char32_t character) {
  if (contains(kCombining, character)) return 0;
  return contains(kWide, character) ? 2 : 1;
}

}  // namespace

char32_t decode(std::string_view text, std::size_t& offset) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(offset++);
  if (first < 0x80) return first;
  const std::size_t more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  if (first < 0xC2 || first > 0xF4 || offset + more > text.size()) return kReplacement;
  char32_t character = first & (0x3F >> more);
  for (std::size_t i = 0; i < more; ++i) {
    const unsigned char next = byte(offset + i);
    if ((next & 0xC0) != 0x80) return kReplacement;
    character = (character << 6) | (next & 0x3F);
  }
  // Too long a form, a surrogate, or beyond the last plane.
  const char32_t least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
  if (character < least || (character >= 0xD800 && character <= 0xDFFF) || character > 0x10FFFF) return kReplacement;
  offset += more;
  return character;
}

void encode(char32_t character, std::string& output) {
  const auto put = [&](char32_t byte) { output.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xC0 | (character >> 6));
    put(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    put(0xE0 | (character >> 12));
    put(0x80 | ((character >> 6) & 0x3F));
    put(0x80 | (character & 0x3F));
  } else {
    put(0xF0 | (character >> 18));
    put(0x80 | ((character >> 12) & 0x3F));
    put(0x80 | ((character >> 6) & 0x3F));
    put(0x80 | (character & 0x3F));
  }
}

bool is_valid(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t before = at;
    if (decode(text, at) == kReplacement && text.substr(before, at - before) != "\xEF\xBF\xBD") return false;
  }
  return true;
}

std::size_t character_count(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) decode(text, at);
  return count;
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t at = 0; at < text.size();) width += column_width(decode(text, at));
  return width;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\n";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

}  // namespace inkwell
