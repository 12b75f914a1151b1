// 3x3 pooling with padding one, image by image, on a padded copy. NaN wins a maximum, the first one a tie, as in torch.
#pragma once
#include <limits>

#include "image.h"

template <class T>
class Pool {
  using S = Simd<T>;
  using I = Image<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

 public:
  Pool(const PoolArgs<T>& args, const Input<T>& input)
      : a(args), x_(input.images), y_(x_.strided(x_.rows, a.stride, x_.channels)), from(input.x) {
    line = x_.width + 2, area = line * (x_.height + 2);
    for (int64_t i = 0; i < 9; i++) tap[i] = (i / 3 * line + i % 3) * V;
  }

  // Scratch memory for a block of V channels, twice, and for the gradient of y.
  int64_t padded_size() const { return 2 * area * V; }
  int64_t dy_size() const { return (ceil_div(y_.channels, V)) * y_.pixels() * V; }

  void forward(int64_t row, int64_t b, T* padded, double* mean, double* square) {
    int64_t image = row * x_.batch + b, channels = x_.channels;
    T* y = a.y + image * y_.image();
    for (int64_t c = 0; c < channels; c += V) {
      pad(image, c, padded);
      for (int64_t h = 0; h < y_.height; h++)
        for (int64_t w = 0; w < y_.width; w++) {
          const T* x = corner(padded, h, w);
          vec v = S::load(x);
#pragma GCC unroll 8
          for (int i = 1; i < 9; i++) v = a.max ? larger(v, S::load(x + tap[i])) : v + S::load(x + tap[i]);
          if (!a.max) v /= (T)members(h, w);
          S::store(y + (h * y_.width + w) * channels + c, v, channels - c);
        }
    }
    if (a.y_mean) I::moments(y, y_.pixels(), channels, mean + image * channels, square + image * channels);
  }

  // Adds to dx, the gradient of all images.
  void backward(int64_t row, int64_t b, T* dx, T* padded, T* dy) {
    int64_t image = row * x_.batch + b, channels = x_.channels, pixels = y_.pixels();
    I::upstream(a.upstream, row, b, x_.batch, a.y, pixels, channels, 0, channels, V, pixels * V, dy);
    T* sum = padded + area * V;
    for (int64_t c = 0; c < channels; c += V, dy += pixels * V) {
      if (a.max) pad(image, c, padded);
      std::memset(sum, 0, area * V * sizeof(T));
      for (int64_t h = 0; h < y_.height; h++)
        for (int64_t w = 0; w < y_.width; w++) {
          vec g = S::load(dy + (h * y_.width + w) * V);
          if (a.max) spread_to_largest(corner(padded, h, w), first(h, w), g, corner(sum, h, w));
          else spread(g / (T)members(h, w), corner(sum, h, w));
        }
      for (int64_t h = 0; h < x_.height; h++)
        for (int64_t w = 0; w < x_.width; w++) {
          T* to = dx + ((image * x_.height + h) * x_.width + w) * channels + c;
          S::store(to, S::load(to, channels - c) + S::load(sum + ((h + 1) * line + w + 1) * V), channels - c);
        }
    }
  }

  void merge_moments(int64_t row, const double* mean, const double* square) {
    int64_t at = row * x_.batch * x_.channels, to = row * x_.channels;
    I::merge(mean + at, square + at, x_.batch, x_.channels, (double)y_.pixels(), a.y_mean + to, a.y_var + to);
  }

  PoolArgs<T> a;

 private:
  static inline vec larger(vec v, vec u) { return ((u > v) | (u != u)) ? u : v; }

  T* corner(T* padded, int64_t h, int64_t w) const { return padded + (h * line + w) * a.stride * V; }

  // Pixels of the image in a window, and the first of the window's nine.
  int64_t members(int64_t h, int64_t w) const {
    auto inside = [&](int64_t i, int64_t size) { return std::min(size, i * a.stride + 2) - std::max<int64_t>(0, i * a.stride - 1); };
    return inside(h, x_.height) * inside(w, x_.width);
  }
  static int first(int64_t h, int64_t w) { return (h == 0 ? 3 : 0) + (w == 0 ? 1 : 0); }

  void pad(int64_t image, int64_t c, T* out) const {
    int64_t channels = x_.channels;
    vec around = S::splat(a.max ? -std::numeric_limits<T>::infinity() : T(0));
    for (int64_t i = 0; i < area; i++) S::store(out + i * V, around);
    const T* in = from + image * x_.image() + c;
    for (int64_t h = 0; h < x_.height; h++)
      for (int64_t w = 0; w < x_.width; w++)
        S::store(out + ((h + 1) * line + w + 1) * V, S::load(in + (h * x_.width + w) * channels, channels - c));
  }

  inline void spread(vec g, T* to) const {
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) S::store(to + tap[i], S::load(to + tap[i]) + g);
  }
  inline void spread_to_largest(const T* x, int start, vec g, T* to) const {
    vec v = S::load(x + tap[start]), chosen = S::splat((T)start);
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) {
      vec u = S::load(x + tap[i]);
      auto take = (u > v) | (u != u);
      v = take ? u : v;
      chosen = take ? S::splat((T)i) : chosen;
    }
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) S::store(to + tap[i], S::load(to + tap[i]) + (chosen == S::splat((T)i) ? g : vec{}));
  }

  Images x_, y_;
  const T* from;
  int64_t line, area, tap[9];
};
