// Small matrix products on channel-blocked images.
//
// An image of P pixels and C channels is stored as [ceil(C / V)][P][V], padded by zeros. A matrix (C_in, C_out) is packed
// into panels of N vectors of columns: [panel][C_in padded][N * V], padded by zeros.
#pragma once
#include "simd.h"

template <class T>
struct Gemm {
  using S = Simd<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

  static int64_t blocks(int64_t channels) { return ceil_div(channels, V); }
  // Vectors a panel: two, but one for a single block of columns.
  static int64_t panel(int64_t columns) { return blocks(columns) > 1 ? 2 : 1; }
  static int64_t packed_size(int64_t rows, int64_t columns) {
    return ceil_div(blocks(columns), panel(columns)) * blocks(rows) * V * panel(columns) * V;
  }

  // out = packed w, where w[r * row_step + c * column_step] is row r, column c.
  static void pack(const T* w, int64_t rows, int64_t columns, int64_t row_step, int64_t column_step, T* out) {
    int64_t width = panel(columns) * V, padded = blocks(rows) * V;
    std::memset(out, 0, packed_size(rows, columns) * sizeof(T));
    for (int64_t c = 0; c < columns; c++) {
      T* to = out + c / width * padded * width + c % width;
      for (int64_t r = 0; r < rows; r++) to[r * width] = w[r * row_step + c * column_step];
    }
  }

  // acc[m][n] = sum over channels of a[pixel m] * b[:, n].
  template <int M, int N>
  static inline void tile(const T* a, int64_t block, int64_t nblocks, const T* b, vec (&acc)[M][N]) {
    for (int m = 0; m < M; m++)
      for (int n = 0; n < N; n++) acc[m][n] = vec{};
    for (int64_t k = 0; k < nblocks; k++, a += block) {
      for (int l = 0; l < V; l++, b += N * V) {
        vec w[N];
#pragma GCC unroll 2
        for (int n = 0; n < N; n++) w[n] = S::load(b + n * V);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
          T x = a[m * V + l];
#pragma GCC unroll 2
          for (int n = 0; n < N; n++) acc[m][n] += x * w[n];
        }
      }
    }
  }

  // Calls put(pixel, first column's block, vectors) with the rows of a (P, C_in) by packed (C_in, columns) product.
  template <int M, int N, class Put>
  static void product(const T* a, int64_t pixels, int64_t stride, int64_t nblocks, const T* b, int64_t npanels,
                      Put put) {
    int64_t p = 0;
    for (; p + M <= pixels; p += M)
      for (int64_t j = 0; j < npanels; j++) {
        vec acc[M][N];
        tile<M, N>(a + p * V, stride * V, nblocks, b + j * nblocks * V * N * V, acc);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) put(p + m, j * N, acc[m]);
      }
    for (; p < pixels; p++)
      for (int64_t j = 0; j < npanels; j++) {
        vec acc[1][N];
        tile<1, N>(a + p * V, stride * V, nblocks, b + j * nblocks * V * N * V, acc);
        put(p, j * N, acc[0]);
      }
  }

  // y[pixel * ld + column] = a (pixels, c_in) times packed (c_in, columns).
  static void to_rows(const T* a, int64_t pixels, int64_t c_in, const T* packed, int64_t columns, T* y, int64_t ld) {
    int64_t nb = blocks(c_in), cb = blocks(columns);
    if (panel(columns) == 1) {
      product<8, 1>(a, pixels, pixels, nb, packed, cb,
                    [&](int64_t p, int64_t j, vec (&v)[1]) { S::store(y + p * ld + j * V, v[0], columns - j * V); });
      return;
    }
    product<6, 2>(a, pixels, pixels, nb, packed, ceil_div(cb, 2), [&](int64_t p, int64_t j, vec (&v)[2]) {
      T* out = y + p * ld + j * V;
      S::store(out, v[0], columns - j * V);
      if (columns > (j + 1) * V) S::store(out + V, v[1], columns - (j + 1) * V);
    });
  }

  // The same into a blocked image of `area` pixels at the places offset[pixel]; stores, or adds.
  template <bool Add>
  static void to_blocks(const T* a, int64_t pixels, int64_t c_in, const T* packed, int64_t columns, T* out,
                        int64_t area, const int32_t* offset) {
    int64_t nb = blocks(c_in), cb = blocks(columns);
    auto write = [&](int64_t p, int64_t block, vec v) {
      T* o = out + (block * area + offset[p]) * V;
      S::store(o, Add ? S::load(o) + v : v);
    };
    if (panel(columns) == 1) {
      product<8, 1>(a, pixels, pixels, nb, packed, cb, [&](int64_t p, int64_t j, vec (&v)[1]) { write(p, j, v[0]); });
      return;
    }
    product<6, 2>(a, pixels, pixels, nb, packed, ceil_div(cb, 2), [&](int64_t p, int64_t j, vec (&v)[2]) {
      write(p, j, v[0]);
      if (j + 1 < cb) write(p, j + 1, v[1]);
    });
  }

  // dw += a^T b of blocked images; dw is (rows, columns) padded to blocks of V: lines of blocks(columns) * V.
  static int64_t gradient_size(int64_t rows, int64_t columns) { return blocks(rows) * V * blocks(columns) * V; }
  static void gradient(const T* a, int64_t rows, const T* b, int64_t columns, int64_t pixels, T* dw) {
    int64_t nb = blocks(rows), cb = blocks(columns), ld = cb * V;
    for (int64_t i = 0; i < nb; i++)
      for (int64_t j = 0; j < cb; j += 2) {
        const T *x = a + i * pixels * V, *y = b + j * pixels * V;
        T* to = dw + i * V * ld + j * V;
        if (j + 1 < cb)
          for (int l = 0; l < V; l += 4) outer<4, 2>(x + l, y, pixels, to + l * ld, ld);
        else
          for (int l = 0; l < V; l += 4) outer<4, 1>(x + l, y, pixels, to + l * ld, ld);
      }
  }

 private:
  template <int M, int N>
  static void outer(const T* a, const T* b, int64_t pixels, T* dw, int64_t ld) {
    constexpr int U = N == 1 ? 2 : 1;  // enough independent sums to hide the latency
    vec acc[U][M][N] = {};
    int64_t p = 0;
    for (; p + U <= pixels; p += U)
#pragma GCC unroll 2
      for (int u = 0; u < U; u++) {
        vec y[N];
#pragma GCC unroll 2
        for (int n = 0; n < N; n++) y[n] = S::load(b + (n * pixels + p + u) * V);
#pragma GCC unroll 4
        for (int m = 0; m < M; m++) {
          T x = a[(p + u) * V + m];
#pragma GCC unroll 2
          for (int n = 0; n < N; n++) acc[u][m][n] += x * y[n];
        }
      }
    for (; p < pixels; p++)
      for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) acc[0][m][n] += a[p * V + m] * S::load(b + (n * pixels + p) * V);
    for (int m = 0; m < M; m++)
      for (int n = 0; n < N; n++) {
        T* to = dw + m * ld + n * V;
        S::store(to, S::load(to) + (U > 1 ? acc[0][m][n] + acc[U - 1][m][n] : acc[0][m][n]));
      }
  }
};
