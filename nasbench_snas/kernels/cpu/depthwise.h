// Depthwise convolutions of one block of V channels of one padded image, [rows][columns][V].
#pragma once
#include "simd.h"

template <class T, int K, int D, int ST>
struct Depthwise {
  using S = Simd<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

  // R rows of W results: out[r, t] (+)= sum_ij x[r * ST + i * D rows, t * ST + j * D] * taps[i][j]; `count` are stored.
  // Not inlined: side by side with other strips, the compiler's schedule is half as fast.
  template <int W, int R, bool Add>
  __attribute__((noinline)) static void strip(const T* x, int64_t line, const T* taps, T* out, int64_t out_line, int64_t count) {
    vec acc[R][W];
#pragma GCC unroll 2
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
      for (int t = 0; t < W; t++) acc[r][t] = Add ? S::load(out + (r * out_line + t) * V) : vec{};
#pragma GCC unroll 7
    for (int i = 0; i < K; i++)
#pragma GCC unroll 7
      for (int j = 0; j < K; j++) {
        vec tap = S::load(taps + (i * K + j) * V);
#pragma GCC unroll 2
        for (int r = 0; r < R; r++) {
          const T* row = x + ((r * ST + i * D) * line + j * D) * V;
#pragma GCC unroll 8
          for (int t = 0; t < W; t++) acc[r][t] += S::load(row + t * ST * V) * tap;
        }
      }
    if (count >= W) {
#pragma GCC unroll 2
      for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int t = 0; t < W; t++) S::store(out + (r * out_line + t) * V, acc[r][t]);
    } else {
      for (int r = 0; r < R; r++)
        for (int t = 0; t < count; t++) S::store(out + (r * out_line + t) * V, acc[r][t]);
    }
  }

  // out[h * out_line + w] (+)= the convolution, h < height, w < width. Reads up to 7 * ST pixels past a row's end.
  template <bool Add>
  static void forward(const T* x, int64_t line, const T* taps, T* out, int64_t out_line, int64_t height, int64_t width) {
    int64_t wide = width % 8 > 4 ? width : width / 8 * 8;  // in strips of eight, then two rows of four at once
    for (int64_t h = 0; h < height; h++)
      for (int64_t w = 0; w < wide; w += 8)
        strip<8, 1, Add>(x + (h * line + w) * ST * V, line, taps, out + (h * out_line + w) * V, out_line, width - w);
    if (wide >= width) return;
    int64_t h = 0;
    for (; h + 2 <= height; h += 2)
      strip<4, 2, Add>(x + (h * line + wide) * ST * V, line, taps, out + (h * out_line + wide) * V, out_line, width - wide);
    if (h < height)
      strip<4, 1, Add>(x + (h * line + wide) * ST * V, line, taps, out + (h * out_line + wide) * V, out_line, width - wide);
  }

  // dtaps[i][j] += sum_hw g[h, w] * x[h * ST + i * D, w * ST + j * D]; R rows of taps at once, from row i.
  template <int R>
  __attribute__((noinline)) static void taps_rows(const T* x, int64_t line, const T* g, int64_t g_line, int64_t height, int64_t width, int i,
                               T* dtaps) {
    constexpr int U = R * K < 8 ? 2 : 1;
    vec acc[U][R][K] = {};
    for (int64_t h = 0; h < height; h++) {
      const T* row = x + (h * ST + i * D) * line * V;
      const T* gr = g + h * g_line * V;
      int64_t w = 0;
      for (; w + U <= width; w += U)
#pragma GCC unroll 2
        for (int u = 0; u < U; u++) {
          vec gg = S::load(gr + (w + u) * V);
          const T* at = row + (w + u) * ST * V;
#pragma GCC unroll 3
          for (int r = 0; r < R; r++)
#pragma GCC unroll 7
            for (int j = 0; j < K; j++) acc[u][r][j] += gg * S::load(at + (r * D * line + j * D) * V);
        }
      for (; w < width; w++)
        for (int r = 0; r < R; r++)
          for (int j = 0; j < K; j++)
            acc[0][r][j] += S::load(gr + w * V) * S::load(row + (w * ST + r * D * line + j * D) * V);
    }
    for (int r = 0; r < R; r++)
      for (int j = 0; j < K; j++) {
        T* to = dtaps + ((i + r) * K + j) * V;
        S::store(to, S::load(to) + (U > 1 ? acc[0][r][j] + acc[U - 1][r][j] : acc[0][r][j]));
      }
  }
  static void taps_gradient(const T* x, int64_t line, const T* g, int64_t g_line, int64_t height, int64_t width, T* dtaps) {
    if constexpr (K == 3) {
      taps_rows<3>(x, line, g, g_line, height, width, 0, dtaps);
    } else if constexpr (K == 5) {
      taps_rows<2>(x, line, g, g_line, height, width, 0, dtaps);
      taps_rows<2>(x, line, g, g_line, height, width, 2, dtaps);
      taps_rows<1>(x, line, g, g_line, height, width, 4, dtaps);
    } else {
      for (int i = 0; i < K; i++) taps_rows<1>(x, line, g, g_line, height, width, i, dtaps);
    }
  }

  // dx[h * ST + i * D, w * ST + j * D] += g[h, w] * taps[i][j], for strides (at stride 1 the flipped forward is faster).
  static void scatter(T* dx, int64_t line, const T* taps, const T* g, int64_t g_line, int64_t height, int64_t width) {
    for (int64_t h = 0; h < height; h++)
      for (int i = 0; i < K; i++) {
        T* row = dx + (h * ST + i * D) * line * V;
        const T* gr = g + h * g_line * V;
        vec tap[K];
        for (int j = 0; j < K; j++) tap[j] = S::load(taps + (i * K + j) * V);
        for (int64_t w = 0; w < width; w++) {
          vec gg = S::load(gr + w * V);
          T* at = row + w * ST * V;
#pragma GCC unroll 7
          for (int j = 0; j < K; j++) S::store(at + j * D * V, S::load(at + j * D * V) + gg * tap[j]);
        }
      }
  }
};
