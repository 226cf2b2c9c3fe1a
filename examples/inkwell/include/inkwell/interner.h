// Equal strings become equal small numbers.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "inkwell/arena.h"

namespace inkwell {

// The name of an interned string. Two symbols of one interner are equal exactly when their strings are.
enum class Symbol : std::uint32_t {};

class Interner {
 public:
  Symbol intern(std::string_view text);
  std::string_view text(Symbol symbol) const;
  std::size_t size() const { return texts_.size(); }

 private:
  Arena arena_;
  std::vector<std::string_view> texts_;
  std::unordered_map<std::string_view, Symbol> symbols_;
};

}  // namespace inkwell
