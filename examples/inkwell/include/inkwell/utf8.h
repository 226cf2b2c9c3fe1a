// Bytes, characters, columns: three different lengths of one string.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace inkwell {

// What takes the place of bytes that are not UTF-8.
inline constexpr char32_t kReplacement = 0xFFFD;

// The character at `offset`, which moves behind it. A malformed byte is one kReplacement.
char32_t decode(std::string_view text, std::size_t& offset);
void encode(char32_t character, std::string& output);

bool is_valid(std::string_view text);
std::size_t character_count(std::string_view text);
// Columns on a terminal: 0 for combining marks, 2 for East Asian wide characters.
std::size_t display_width(std::string_view text);

// ASCII letters only; other characters are left as they are.
std::string lower(std::string_view text);
std::string_view trim(std::string_view text);

}  // namespace inkwell
