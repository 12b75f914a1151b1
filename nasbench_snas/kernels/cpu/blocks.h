// Memory that is kept between steps. What a step needs at once is tens of megabytes that the system would hand out anew,
// page by page, at every step: touching them costs as much as a fifth of the computation.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <list>
#include <mutex>
#include <new>

class Blocks {
 public:
  static Blocks& shared() {
    static Blocks* blocks = new Blocks;  // tensors may outlive everything else
    return *blocks;
  }

  struct Block {
    void* memory;
    size_t size;
    int64_t last;
  };

  // A block of at least `bytes`: the smallest kept one that is large enough, or a new one.
  Block take(size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex_);
    clock_++;
    auto best = free_.end();
    for (auto block = free_.begin(); block != free_.end();) {
      if (clock_ - block->last > unused) {
        std::free(block->memory);
        block = free_.erase(block);
        continue;
      }
      if (block->size >= bytes && (best == free_.end() || block->size < best->size)) best = block;
      block++;
    }
    if (best != free_.end()) {
      Block found = *best;
      free_.erase(best);
      return found;
    }
    size_t size = (bytes + bytes / 32 + 4095) / 4096 * 4096;
    void* memory = std::aligned_alloc(4096, size);
    if (!memory) throw std::bad_alloc();
    return {memory, size, clock_};
  }

  void give(Block block) {
    std::lock_guard<std::mutex> guard(mutex_);
    block.last = clock_;
    free_.push_back(block);
  }

 private:
  static constexpr int64_t unused = 64;  // a block that so many requests passed by is freed
  std::mutex mutex_;
  std::list<Block> free_;
  int64_t clock_ = 0;
};
