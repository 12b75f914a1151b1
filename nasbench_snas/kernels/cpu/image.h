// Loading an image into padded channel blocks, forming upstream gradients, statistics of a part.
#pragma once
#include <algorithm>
#include <vector>

#include "gemm.h"
#include "kernels.h"

// Where an image lies in scratch memory: [block of V channels][pixel of the padded image][V].
struct Layout {
  int64_t pad, line, area;  // pixels around, of a line, of a block
  int64_t inside() const { return pad * line + pad; }
};

template <class T>
struct Image {
  using S = Simd<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

  // out = relu(scale * x + shift), zeros around.
  static void load(const T* x, const T* scale, const T* shift, const Images& im, const Layout& to, T* out) {
    int64_t channels = im.channels;
    std::memset(out, 0, ceil_div(channels, V) * to.area * V * sizeof(T));
    for (int64_t c = 0; c < channels; c += V, out += to.area * V) {
      int64_t n = channels - c;
      vec a = scale ? S::load(scale + c, n) : vec{}, b = scale ? S::load(shift + c, n) : vec{};
      for (int64_t h = 0; h < im.height; h++) {
        const T* in = x + h * im.width * channels + c;
        T* o = out + (to.inside() + h * to.line) * V;
        if (n >= V) {
          if (scale)
            for (int64_t w = 0; w < im.width; w++) S::store(o + w * V, S::relu(S::load(in + w * channels) * a + b));
          else
            for (int64_t w = 0; w < im.width; w++) S::store(o + w * V, S::relu(S::load(in + w * channels)));
        } else {
          for (int64_t w = 0; w < im.width; w++) {
            vec v = S::load(in + w * channels, n);
            S::store(o + w * V, S::relu(scale ? v * a + b : v));
          }
        }
      }
    }
  }

  // dy for image b of a row, channels [from, from + count), into blocks [block][pixel] (line = V, area = pixels * V)
  // or into rows (line = count): out[block * area + pixel * line].
  static void upstream(const Upstream<T>& up, int64_t row, int64_t b, int64_t batch, const T* y, int64_t pixels,
                       int64_t channels, int64_t from, int64_t count, int64_t line, int64_t area, T* out) {
    int64_t first = up.starts[row], last = up.starts[row + 1];
    const T* yy = y ? y + (row * batch + b) * pixels * channels : nullptr;
    for (int64_t c = 0; c < count; c += V, out += area) {
      int64_t n = count - c, at = from + c, room = line == V ? V : n;
      vec p = up.p ? S::load(up.p + row * channels + at, n) : vec{};
      vec r = up.r ? S::load(up.r + row * channels + at, n) : vec{};
      if (last == first) {
        for (int64_t i = 0; i < pixels; i++) {
          vec v = r;
          if (up.p) v += p * S::load(yy + i * channels + at, n);
          S::store(out + i * line, v, room);
        }
        continue;
      }
      for (int64_t q = first; q < last; q++) {
        const T* g = up.g + (up.index[q] * batch + b) * pixels * channels + at;
        vec a = S::load(up.a + q * channels + at, n);
        if (up.mask) a *= up.mask[q * batch + b];
        if (q == first) {
          if (n >= V && up.p)
            for (int64_t i = 0; i < pixels; i++)
              S::store(out + i * line, r + p * S::load(yy + i * channels + at) + a * S::load(g + i * channels));
          else
            for (int64_t i = 0; i < pixels; i++) {
              vec v = r + a * S::load(g + i * channels, n);
              if (up.p) v += p * S::load(yy + i * channels + at, n);
              S::store(out + i * line, v, room);
            }
        } else {
          for (int64_t i = 0; i < pixels; i++)
            S::store(out + i * line, S::load(out + i * line, room) + a * S::load(g + i * channels, n), room);
        }
      }
    }
  }

  // Mean and sum of squares about it of every channel of one part, in two passes.
  static void moments(const T* y, int64_t pixels, int64_t channels, double* mean, double* square) {
    int64_t c = 0;
    for (; c + 4 * V <= channels; c += 4 * V) moments_of<4>(y + c, pixels, channels, 4 * V, mean + c, square + c);
    for (; c + 2 * V <= channels; c += 2 * V) moments_of<2>(y + c, pixels, channels, 2 * V, mean + c, square + c);
    for (; c < channels; c += V) moments_of<1>(y + c, pixels, channels, channels - c, mean + c, square + c);
  }

  // Mean and biased variance from the moments of equal parts of `count` values (Chan, Golub & LeVeque 1983).
  static void merge(const double* mean, const double* square, int64_t parts, int64_t channels, double count, T* out_mean,
                    T* out_var) {
    for (int64_t c = 0; c < channels; c += 8) {
      int n = (int)std::min<int64_t>(8, channels - c);
      double about[8] = {}, total[8] = {};
      for (int64_t i = 0; i < parts; i++)
        for (int l = 0; l < n; l++) about[l] += mean[i * channels + c + l];
      for (int l = 0; l < n; l++) about[l] /= (double)parts;
      for (int64_t i = 0; i < parts; i++)
        for (int l = 0; l < n; l++) {
          double d = mean[i * channels + c + l] - about[l];
          total[l] += square[i * channels + c + l] + count * d * d;
        }
      for (int l = 0; l < n; l++) {
        out_mean[c + l] = (T)about[l];
        out_var[c + l] = (T)(total[l] / (count * (double)parts));
      }
    }
  }

 private:
  template <int N>
  static void moments_of(const T* y, int64_t pixels, int64_t channels, int64_t count, double* mean, double* square) {
    constexpr int U = N == 1 ? 4 : N == 2 ? 2 : 1;
    vec total[U][N] = {}, about[N], squares[U][N] = {};
    auto read = [&](int64_t i, int n) { return N > 1 ? S::load(y + i * channels + n * V) : S::load(y + i * channels, count); };
    int64_t i = 0;
    for (; i + U <= pixels; i += U)
      for (int u = 0; u < U; u++)
        for (int n = 0; n < N; n++) total[u][n] += read(i + u, n);
    for (; i < pixels; i++)
      for (int n = 0; n < N; n++) total[0][n] += read(i, n);
    for (int n = 0; n < N; n++) {
      for (int u = 1; u < U; u++) total[0][n] += total[u][n];
      about[n] = total[0][n] / (T)pixels;
    }
    for (i = 0; i + U <= pixels; i += U)
      for (int u = 0; u < U; u++)
        for (int n = 0; n < N; n++) {
          vec d = read(i + u, n) - about[n];
          squares[u][n] += d * d;
        }
    for (; i < pixels; i++)
      for (int n = 0; n < N; n++) {
        vec d = read(i, n) - about[n];
        squares[0][n] += d * d;
      }
    for (int n = 0; n < N; n++) {
      for (int u = 1; u < U; u++) squares[0][n] += squares[u][n];
      for (int l = 0; l < V && n * V + l < count; l++) {
        mean[n * V + l] = about[n][l];
        square[n * V + l] = squares[0][n][l];
      }
    }
  }
};
