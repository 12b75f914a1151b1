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
    for (int64_t from = 0; from < columns; from += width, out += padded * width)
      for (int64_t r = 0; r < rows; r++)
        for (int64_t c = from; c < columns && c < from + width; c++)
          out[r * width + c - from] = w[r * row_step + c * column_step];
  }

  // Calls put(pixel, first column's block, vectors) with N blocks of columns of M pixels of a (P, C_in) times packed
  // (C_in, columns). A function of its own, so that all sums are kept in registers.
  template <int M, int N, class Put>
  __attribute__((noinline)) static void tile(const T* a, int64_t p, int64_t pixels, int64_t nblocks, const T* b, int64_t j,
                                             Put put) {
    vec acc[M][N] = {};
    a += p * V;
    for (int64_t k = 0; k < nblocks; k++, a += pixels * V)
#pragma GCC unroll 1
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
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) put(p + m, j * N, acc[m]);
  }

  template <int M, int N, class Put>
  static inline void tiles(const T* a, int64_t& p, int64_t pixels, int64_t nblocks, const T* b, int64_t npanels, Put put) {
    for (; p + M <= pixels; p += M)
      for (int64_t j = 0; j < npanels; j++) tile<M, N>(a, p, pixels, nblocks, b + j * nblocks * V * N * V, j, put);
  }
  template <int M, int N, class Put>
  static void product(const T* a, int64_t pixels, int64_t nblocks, const T* b, int64_t npanels, Put put) {
    int64_t p = 0;
    tiles<M, N>(a, p, pixels, nblocks, b, npanels, put);
    tiles<4, N>(a, p, pixels, nblocks, b, npanels, put);
    tiles<1, N>(a, p, pixels, nblocks, b, npanels, put);
  }
  // The same for one block of channels and one of columns: all weights stay in registers.
  template <class Put>
  __attribute__((noinline)) static void product(const T* a, int64_t pixels, const T* b, Put put) {
    vec w[V];
    for (int l = 0; l < V; l++) w[l] = S::load(b + l * V);
    for (int64_t p = 0; p < pixels; p++) {
      vec even[1] = {a[p * V] * w[0]}, odd = a[p * V + 1] * w[1];
#pragma GCC unroll 4
      for (int l = 2; l < V; l += 2) {
        even[0] += a[p * V + l] * w[l];
        odd += a[p * V + l + 1] * w[l + 1];
      }
      even[0] += odd;
      put(p, 0, even);
    }
  }

  // y[pixel * ld + column] = a (pixels, c_in) times packed (c_in, columns).
  static void to_rows(const T* a, int64_t pixels, int64_t c_in, const T* packed, int64_t columns, T* y, int64_t ld) {
    int64_t nb = blocks(c_in), cb = blocks(columns);
    if (panel(columns) == 1) {
      auto put = [=](int64_t p, int64_t j, const vec (&v)[1]) { S::store(y + p * ld + j * V, v[0], columns - j * V); };
      if (nb == 1) product(a, pixels, packed, put);
      else product<8, 1>(a, pixels, nb, packed, cb, put);
      return;
    }
    product<6, 2>(a, pixels, nb, packed, ceil_div(cb, 2), [=](int64_t p, int64_t j, const vec (&v)[2]) {
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
    auto write = [=](int64_t p, int64_t block, vec v) {
      T* o = out + (block * area + offset[p]) * V;
      S::store(o, Add ? S::load(o) + v : v);
    };
    if (panel(columns) == 1) {
      auto put = [=](int64_t p, int64_t j, const vec (&v)[1]) { write(p, j, v[0]); };
      if (nb == 1) product(a, pixels, packed, put);
      else product<8, 1>(a, pixels, nb, packed, cb, put);
      return;
    }
    product<6, 2>(a, pixels, nb, packed, ceil_div(cb, 2), [=](int64_t p, int64_t j, const vec (&v)[2]) {
      write(p, j, v[0]);
      if (j + 1 < cb) write(p, j + 1, v[1]);
    });
  }

  // dw += a^T b of blocked images; dw is (rows, columns) padded to blocks of V: lines of blocks(columns) * V.
  static int64_t gradient_size(int64_t rows, int64_t columns) { return blocks(rows) * V * blocks(columns) * V; }
  static void gradient(const T* a, int64_t rows, const T* b, int64_t columns, int64_t pixels, T* dw) {
    int64_t nb = blocks(rows), cb = blocks(columns), ld = cb * V;
    for (int64_t i = 0; i < nb; i++)
      for (int64_t j = 0; j < cb; j++) outer(a + i * pixels * V, b + j * pixels * V, pixels, dw + (i * ld + j) * V, ld);
  }

 private:
  // V rows of one block of columns.
  __attribute__((noinline)) static void outer(const T* a, const T* b, int64_t pixels, T* dw, int64_t ld) {
    vec acc[V] = {};
#pragma GCC unroll 1
    for (int64_t p = 0; p < pixels; p++) {
      vec y = S::load(b + p * V);
#pragma GCC unroll 8
      for (int m = 0; m < V; m++) acc[m] += a[p * V + m] * y;
    }
#pragma GCC unroll 8
    for (int m = 0; m < V; m++) S::store(dw + m * ld, S::load(dw + m * ld) + acc[m]);
  }
};
