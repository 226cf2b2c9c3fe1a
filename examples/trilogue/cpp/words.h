// How often each word of a text occurs.
#pragma once

#include <string>
#include <string_view>

namespace trilogue {

// One line for each word: how often, then the word. The most frequent first, equally frequent ones in the order of
// the alphabet. A word is a run of ASCII letters, in lower case.
std::string table(std::string_view text);

}  // namespace trilogue
