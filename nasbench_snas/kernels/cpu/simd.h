// Vectors, scratch memory and NaN-keeping comparisons. GCC/Clang vector extensions: no intrinsics, any instruction set.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

template <class T>
struct Simd {
  static constexpr int V = 32 / sizeof(T);
  typedef T vec __attribute__((vector_size(32)));
  typedef T loose __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));

  static inline vec load(const T* p) { return *(const loose*)p; }
  static inline void store(T* p, vec v) { *(loose*)p = v; }
  static inline vec splat(T x) { return x - vec{}; }  // not x + 0, which would be added

  // The first n < V numbers; the other lanes are zero.
  static inline vec load(const T* p, int64_t n) {
    if (n >= V) return load(p);
    vec v{};
    std::memcpy(&v, p, n * sizeof(T));
    return v;
  }
  static inline void store(T* p, vec v, int64_t n) {
    if (n >= V) store(p, v);
    else std::memcpy(p, &v, n * sizeof(T));
  }

  // max(x, 0) that returns NaN for NaN: the comparison is false for it.
  static inline vec relu(vec x) { return x < vec{} ? vec{} : x; }
  // The gradient g where relu's result is not zero (NaN counts as not zero, as in torch).
  static inline vec relu_mask(vec result, vec g) { return result <= vec{} ? vec{} : g; }
  // to[i] += factor * v[i], in double.
  static inline void add(double* to, vec v, double factor) {
    typedef double wide __attribute__((vector_size(V * sizeof(double))));
    typedef double loose_wide __attribute__((vector_size(V * sizeof(double)), aligned(sizeof(double)), may_alias));
    *(loose_wide*)to = *(loose_wide*)to + __builtin_convertvector(v, wide) * factor;
  }
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Zeros, aligned to lines of the cache.
template <class T>
class Aligned {
 public:
  Aligned() = default;
  Aligned(Aligned&&) = default;
  void allocate(size_t count) {
    memory_.assign(count + 64 / sizeof(T), 0);
    data_ = (T*)(((uintptr_t)memory_.data() + 63) / 64 * 64);
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  std::vector<T> memory_;  // moves, but does not copy: data_ would be stale
  T* data_ = nullptr;
};

// A thread's scratch memory: grows, is kept between calls, and is handed out in order.
class Scratch {
 public:
  static Scratch& mine() {
    static thread_local Scratch scratch;
    return scratch;
  }
  // Makes room for `bytes` in total and starts again from the beginning.
  void reserve(size_t bytes) {
    used_ = 0;
    if (bytes <= size_) return;
    std::free(base_);
    size_ = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    base_ = (char*)std::aligned_alloc(4096, size_);
    if (!base_) { size_ = 0; throw std::bad_alloc(); }
  }
  template <class T>
  T* take(int64_t count) {
    T* p = (T*)(base_ + used_);
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return p;
  }
  ~Scratch() { std::free(base_); }

 private:
  char* base_ = nullptr;
  size_t size_ = 0, used_ = 0;
};
