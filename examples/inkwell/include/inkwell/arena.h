// Memory that is given back all at once: a document's nodes live and die together.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace inkwell {

class Arena {
 public:
  explicit Arena(std::size_t block_bytes = 16 * 1024);
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Memory of `bytes` bytes, aligned to `alignment` (a power of two). Never null.
  void* allocate(std::size_t bytes, std::size_t alignment);

  // A copy of `text` that lives as long as the arena.
  std::string_view copy(std::string_view text);

  // A `T` that is never destroyed, only forgotten; so it must not own anything.
  template <typename T, typename... Arguments>
  T* make(Arguments&&... arguments) {
    static_assert(std::is_trivially_destructible_v<T>, "the arena runs no destructors");
    return new (allocate(sizeof(T), alignof(T))) T{std::forward<Arguments>(arguments)...};
  }

  std::size_t bytes_used() const { return used_; }
  std::size_t blocks() const { return blocks_.size(); }

 private:
  void grow(std::size_t at_least);

  std::size_t block_bytes_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
  std::size_t used_ = 0;
};

}  // namespace inkwell
