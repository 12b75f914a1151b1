// 3x3 pooling with padding one, and the identity's gradient. NaN wins a maximum, as in torch.
#pragma once
#include "image.h"

template <class T>
class Pool {
  using S = Simd<T>;
  using I = Image<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

 public:
  explicit Pool(const PoolArgs<T>& args) : a(args), s(args.shape), pixels(s.out_height * s.out_width) {}

  void forward(const Parallel& parallel) {
    std::vector<double> mean, square;
    if (a.y_mean) mean.resize(a.rows * s.batch * s.c_in), square.resize(mean.size());
    parallel(a.rows * s.batch, [&](int64_t lo, int64_t hi, int) {
      for (int64_t task = lo; task < hi; task++) {
        T* y = a.y + task * pixels * s.c_in;
        windows(task, [&](int64_t out, int64_t c, int64_t n, const T* x, const int64_t* at, int count) {
          vec v = S::load(x + at[0], n);
          if (a.max)
            for (int i = 1; i < count; i++) v = larger(v, S::load(x + at[i], n));
          else {
            for (int i = 1; i < count; i++) v += S::load(x + at[i], n);
            v /= (T)count;
          }
          S::store(y + out + c, v, n);
        });
        if (a.y_mean) I::moments(y, pixels, s.c_in, &mean[task * s.c_in], &square[task * s.c_in]);
      }
    });
    if (!a.y_mean) return;
    for (int64_t row = 0; row < a.rows; row++) {
      int64_t place = row * s.batch * s.c_in;
      I::merge(&mean[place], &square[place], s.batch, s.c_in, (double)pixels, a.y_mean + row * s.c_in,
               a.y_var + row * s.c_in);
    }
  }

  void backward(const Parallel& parallel) {
    parallel(a.rows * s.batch, [&](int64_t lo, int64_t hi, int) {
      Scratch& scratch = Scratch::mine();
      scratch.reserve(pixels * s.c_in * sizeof(T) + 64);
      T* dy = scratch.take<T>(pixels * s.c_in);
      for (int64_t task = lo; task < hi; task++) {
        int64_t row = task / s.batch;
        I::upstream(a.upstream, row, task % s.batch, s.batch, a.y, pixels, s.c_in, 0, s.c_in, s.c_in, V, dy);
        T* dx = a.dx + task * s.height * s.width * s.c_in;
        windows(task, [&](int64_t out, int64_t c, int64_t n, const T* x, const int64_t* at, int count) {
          vec g = S::load(dy + out + c, n);
          if (!a.max) {
            g /= (T)count;
            for (int i = 0; i < count; i++) S::store(dx + c + at[i], S::load(dx + c + at[i], n) + g, n);
            return;
          }
          vec v = S::load(x + at[0], n), chosen{};
          for (int i = 1; i < count; i++) {
            vec u = S::load(x + at[i], n);
            auto take = (u > v) | (u != u);
            v = take ? u : v;
            chosen = take ? S::splat((T)i) : chosen;
          }
          for (int i = 0; i < count; i++)
            S::store(dx + c + at[i], S::load(dx + c + at[i], n) + (chosen == S::splat((T)i) ? g : vec{}), n);
        });
      }
    });
  }

 private:
  static inline vec larger(vec v, vec u) { return ((u > v) | (u != u)) ? u : v; }

  // Calls body(offset of the output pixel, first channel, channels left, x + channel, offsets, count) for every window.
  template <class Body>
  void windows(int64_t task, Body body) {
    const T* x = a.x + task * s.height * s.width * s.c_in;
    int64_t at[9];
    for (int64_t h = 0; h < s.out_height; h++)
      for (int64_t w = 0; w < s.out_width; w++) {
        int count = 0;
        for (int64_t i = h * a.stride - 1; i <= h * a.stride + 1; i++)
          for (int64_t j = w * a.stride - 1; j <= w * a.stride + 1; j++)
            if (i >= 0 && i < s.height && j >= 0 && j < s.width) at[count++] = (i * s.width + j) * s.c_in;
        for (int64_t c = 0; c < s.c_in; c += V) body((h * s.out_width + w) * s.c_in, c, s.c_in - c, x + c, at, count);
      }
  }

  const PoolArgs<T>& a;
  Shape s;
  int64_t pixels;
};
