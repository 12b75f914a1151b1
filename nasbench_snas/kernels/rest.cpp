// Pooling, mix, statistics and the identity's gradient in both types.
#include <algorithm>

#include "mix.h"
#include "pool.h"

template <class T>
void pool_forward(const PoolArgs<T>& args, int, const Parallel& parallel) {
  Pool<T>(args).forward(parallel);
}
template <class T>
void pool_backward(const PoolArgs<T>& args, int, const Parallel& parallel) {
  Pool<T>(args).backward(parallel);
}

template <class T>
void mix_forward(const MixArgs<T>& args, const Parallel& parallel) {
  Mix<T>(args).forward(parallel);
}
template <class T>
void mix_backward(const MixArgs<T>& args, int threads, const Parallel& parallel) {
  Mix<T>(args).backward(threads, parallel);
}

template <class T>
void add_upstream(const Upstream<T>& up, T* dx, int64_t rows, const Shape& s, const Parallel& parallel) {
  int64_t size = s.height * s.width * s.c_out;
  parallel(rows * s.batch, [&](int64_t lo, int64_t hi, int) {
    Scratch& scratch = Scratch::mine();
    scratch.reserve(size * sizeof(T) + 64);
    T* dy = scratch.take<T>(size);
    for (int64_t task = lo; task < hi; task++) {
      int64_t row = task / s.batch;
      if (up.starts[row] == up.starts[row + 1]) continue;
      Image<T>::upstream(up, row, task % s.batch, s.batch, nullptr, s.height * s.width, s.c_out, 0, s.c_out, s.c_out,
                         Simd<T>::V, dy);
      for (int64_t i = 0; i < size; i++) dx[task * size + i] += dy[i];
    }
  });
}

template <class T>
void statistics(const T* y, T* mean, T* var, int64_t rows, int64_t parts, int64_t pixels, int64_t channels,
                const Parallel& parallel) {
  std::vector<double> m(rows * parts * channels), q(m.size());
  parallel(rows * parts, [&](int64_t lo, int64_t hi, int) {
    for (int64_t task = lo; task < hi; task++)
      Image<T>::moments(y + task * pixels * channels, pixels, channels, &m[task * channels], &q[task * channels]);
  });
  for (int64_t row = 0; row < rows; row++) {
    int64_t place = row * parts * channels;
    Image<T>::merge(&m[place], &q[place], parts, channels, (double)pixels, mean + row * channels, var + row * channels);
  }
}

#define BOTH(T)                                                                                                      \
  template void pool_forward<T>(const PoolArgs<T>&, int, const Parallel&);                                           \
  template void pool_backward<T>(const PoolArgs<T>&, int, const Parallel&);                                          \
  template void mix_forward<T>(const MixArgs<T>&, const Parallel&);                                                  \
  template void mix_backward<T>(const MixArgs<T>&, int, const Parallel&);                                            \
  template void add_upstream<T>(const Upstream<T>&, T*, int64_t, const Shape&, const Parallel&);                     \
  template void statistics<T>(const T*, T*, T*, int64_t, int64_t, int64_t, int64_t, const Parallel&);
BOTH(float)
BOTH(double)
