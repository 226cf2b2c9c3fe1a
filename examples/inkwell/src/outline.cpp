#include "inkwell/outline.h"

#include <array>
#include <map>
#include <sstream>

#include "inkwell/escape.h"

namespace inkwell {

std::vector<OutlineEntry> outline_of(const Node& document) {
  std::vector<OutlineEntry> entries;
  std::array<std::size_t, 7> counters{};
  std::map<std::string, std::size_t> taken;
  walk(document, [&](const Node& node, std::size_t) {
    if (node.kind != Kind::Heading) return;
    ++counters[node.level];
    for (std::size_t deeper = node.level + 1; deeper < counters.size(); ++deeper) counters[deeper] = 0;
    std::ostringstream number;
    for (std::size_t level = 1; level <= node.level; ++level) number << (level == 1 ? "" : ".") << counters[level];
    const std::string title = text_of(node);
    std::string unique = slug(title);
    if (const std::size_t before = taken[unique]++; before != 0) unique += '-' + std::to_string(before);
    entries.push_back({node.level, number.str(), title, unique, node.position});
  });
  return entries;
}

void write_outline(std::ostream& output, const Node& document) {
  for (const OutlineEntry& entry : outline_of(document)) {
    output << std::string((entry.level - 1) * 2, ' ') << entry.number << ' ' << entry.title << "  #" << entry.slug
           << '\n';
  }
}

}  // namespace inkwell
