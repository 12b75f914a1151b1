// 3x3 pooling with padding one, image by image. NaN wins a maximum, as in torch.
#pragma once
#include "image.h"

template <class T>
class Pool {
  using S = Simd<T>;
  using I = Image<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

 public:
  Pool(const PoolArgs<T>& args, const Input<T>& input)
      : a(args), x_(input.images), from(input.x), pixels(x_.strided(1, a.stride, 1).pixels()) {}

  int64_t dy_size() const { return pixels * x_.channels; }

  void forward(int64_t row, int64_t b, double* mean, double* square) {
    int64_t image = row * x_.batch + b, channels = x_.channels;
    T* y = a.y + image * pixels * channels;
    windows(image, [&](int64_t out, int64_t c, int64_t n, const T* x, const int64_t* at, int count) {
      vec v = S::load(x + at[0], n);
      if (a.max)
        for (int i = 1; i < count; i++) v = larger(v, S::load(x + at[i], n));
      else {
        for (int i = 1; i < count; i++) v += S::load(x + at[i], n);
        v /= (T)count;
      }
      S::store(y + out + c, v, n);
    });
    if (a.y_mean) I::moments(y, pixels, channels, mean + image * channels, square + image * channels);
  }

  // Adds to dx, the gradient of all images.
  void backward(int64_t row, int64_t b, T* dx, T* dy) {
    int64_t image = row * x_.batch + b, channels = x_.channels;
    I::upstream(a.upstream, row, b, x_.batch, a.y, pixels, channels, 0, channels, channels, V, dy);
    dx += image * x_.image();
    windows(image, [&](int64_t out, int64_t c, int64_t n, const T* x, const int64_t* at, int count) {
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

  void merge_moments(int64_t row, const double* mean, const double* square) {
    int64_t from = row * x_.batch * x_.channels, to = row * x_.channels;
    I::merge(mean + from, square + from, x_.batch, x_.channels, (double)pixels, a.y_mean + to, a.y_var + to);
  }

  PoolArgs<T> a;

 private:
  static inline vec larger(vec v, vec u) { return ((u > v) | (u != u)) ? u : v; }

  // Calls body(offset of the output pixel, first channel, channels left, x + channel, offsets, count) for every window.
  template <class Body>
  void windows(int64_t image, Body body) {
    const T* x = from + image * x_.image();
    Images to = x_.strided(1, a.stride, 1);
    int64_t at[9];
    for (int64_t h = 0; h < to.height; h++)
      for (int64_t w = 0; w < to.width; w++) {
        int count = 0;
        for (int64_t i = h * a.stride - 1; i <= h * a.stride + 1; i++)
          for (int64_t j = w * a.stride - 1; j <= w * a.stride + 1; j++)
            if (i >= 0 && i < x_.height && j >= 0 && j < x_.width) at[count++] = (i * x_.width + j) * x_.channels;
        for (int64_t c = 0; c < x_.channels; c += V) body((h * to.width + w) * x_.channels, c, x_.channels - c, x + c, at, count);
      }
  }

  Images x_;
  const T* from;
  int64_t pixels;
};
