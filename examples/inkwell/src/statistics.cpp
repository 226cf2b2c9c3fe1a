#include "inkwell/statistics.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "inkwell/interner.h"
#include "inkwell/utf8.h"

namespace inkwell {
namespace {

// Counts words by symbol: a vector of counters instead of a map of strings.
class WordCounter {
 public:
  std::size_t count(const std::string& text) {
    std::istringstream words(text);
    std::size_t found = 0;
    for (std::string word; words >> word;) {
      const std::string bare = letters_of(word);
      if (bare.empty()) continue;
      ++found;
      if (character_count(bare) < 4) continue;
      const auto index = static_cast<std::size_t>(interner_.intern(lower(bare)));
      if (index == counts_.size()) counts_.push_back(0);
      ++counts_[index];
    }
    return found;
  }

  std::vector<std::pair<std::string, std::size_t>> most_frequent(std::size_t at_most) const {
    std::vector<std::pair<std::string, std::size_t>> all;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      all.emplace_back(std::string(interner_.text(static_cast<Symbol>(i))), counts_[i]);
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    all.resize(std::min(all.size(), at_most));
    return all;
  }

 private:
  static std::string letters_of(const std::string& word) {
    constexpr std::string_view kPunctuation = ".,;:!?()[]{}\"'`*_<>/\\|=+-";
    const std::size_t first = word.find_first_not_of(kPunctuation);
    if (first == std::string::npos) return {};
    return word.substr(first, word.find_last_not_of(kPunctuation) - first + 1);
  }

  Interner interner_;
  std::vector<std::size_t> counts_;
};

std::size_t sentences_in(const std::string& text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool ends = text[i] == '.' || text[i] == '!' || text[i] == '?';
    if (ends && (i + 1 == text.size() || text[i + 1] == ' ' || text[i + 1] == '\n')) ++count;
  }
  return count;
}

}  // namespace

std::size_t Statistics::minutes() const { return std::max<std::size_t>(1, (words + 110) / 220); }

Statistics statistics_of(const Node& document, std::size_t frequent_at_most) {
  Statistics result;
  WordCounter words;
  walk(document, [&](const Node& node, std::size_t) {
    if (node.kind == Kind::Heading) ++result.headings;
    if (node.kind == Kind::Link) ++result.links;
    if (node.kind == Kind::CodeBlock && !node.text.empty()) {
      result.code_lines += 1 + static_cast<std::size_t>(std::count(node.text.begin(), node.text.end(), '\n'));
    }
    if (node.kind != Kind::Heading && node.kind != Kind::Paragraph && node.kind != Kind::Cell) return;
    const std::string text = text_of(node);
    result.words += words.count(text);
    result.characters += character_count(text);
    result.sentences += sentences_in(text);
  });
  result.frequent = words.most_frequent(frequent_at_most);
  return result;
}

void write_statistics(std::ostream& output, const Statistics& statistics) {
  const auto line = [&](const char* what, std::size_t count) {
    output << std::left << std::setw(12) << what << std::right << std::setw(8) << count << '\n';
  };
  line("words", statistics.words);
  line("sentences", statistics.sentences);
  line("characters", statistics.characters);
  line("headings", statistics.headings);
  line("links", statistics.links);
  line("code lines", statistics.code_lines);
  line("minutes", statistics.minutes());
  for (const auto& [word, count] : statistics.frequent) {
    output << "  " << std::left << std::setw(16) << word << std::right << std::setw(4) << count << '\n';
  }
}

}  // namespace inkwell
