#include "inkwell/arena.h"

#include <algorithm>
#include <cstring>

namespace inkwell {

Arena::Arena(std::size_t block_bytes) : block_bytes_(block_bytes) {}

void* Arena::allocate(std::size_t bytes, std::size_t alignment) {
  void* here = next_;
  if (here == nullptr || std::align(alignment, bytes, here, left_) == nullptr) {
    grow(bytes + alignment);
    here = next_;
    std::align(alignment, bytes, here, left_);
  }
  next_ = static_cast<std::byte*>(here) + bytes;
  left_ -= bytes;
  used_ += bytes;
  return here;
}

std::string_view Arena::copy(std::string_view text) {
  if (text.empty()) return {};
  auto* to = static_cast<char*>(allocate(text.size(), 1));
  std::memcpy(to, text.data(), text.size());
  return {to, text.size()};
}

void Arena::grow(std::size_t at_least) {
  const std::size_t bytes = std::max(block_bytes_, at_least);
  blocks_.push_back(std::make_unique<std::byte[]>(bytes));
  next_ = blocks_.back().get();
  left_ = bytes;
}

}  // namespace inkwell
