#include "cpp/words.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace trilogue {
namespace {

// Not <cctype>: what a letter is depends on the locale there.
bool letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::map<std::string, int> counts(std::string_view text) {
    std::map<std::string, int> counts;
    std::string word;
    for (char c : text) {
        if (letter(c)) {
            word += lower(c);
        } else if (!word.empty()) {
            ++counts[std::exchange(word, {})];
        }
    }
    if (!word.empty()) {
        ++counts[word];
    }
    return counts;
}

}  // namespace

std::string table(std::string_view text) {
    const auto counted = counts(text);
    std::vector<std::pair<std::string, int>> rows(counted.begin(), counted.end());
    std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::string table;
    for (const auto& [word, count] : rows) {
        table += std::to_string(count) + " " + word + "\n";
    }
    return table;
}

}  // namespace trilogue
