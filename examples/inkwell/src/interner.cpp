#include "inkwell/interner.h"

#include <stdexcept>

namespace inkwell {

Symbol Interner::intern(std::string_view text) {
  if (const auto found = symbols_.find(text); found != symbols_.end()) return found->second;
  const auto symbol = static_cast<Symbol>(texts_.size());
  const std::string_view kept = arena_.copy(text);
  texts_.push_back(kept);
  symbols_.emplace(kept, symbol);
  return symbol;
}

std::string_view Interner::text(Symbol symbol) const {
  const auto index = static_cast<std::size_t>(symbol);
  if (index >= texts_.size()) throw std::out_of_range("a symbol of another interner");
  return texts_[index];
}

}  // namespace inkwell
