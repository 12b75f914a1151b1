// ReLU-convolution units: (normalise-ReLU-)depthwise-pointwise, pointwise, and the factorised reduction.
//
// One task is one image of one row of x: it is loaded once for all rows of y that read it. The depthwise result lives in
// scratch memory only; the backward pass computes it again (cheaper than a trip to memory).
#pragma once
#include <map>
#include <stdexcept>

#include "depthwise.h"
#include "image.h"

template <class T>
class Unit {
  using S = Simd<T>;
  using G = Gemm<T>;
  using I = Image<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

  // One 1x1 convolution of some pixels of the padded input: columns [column, column + count) of the output.
  struct Part {
    int64_t column, count;
    std::vector<int32_t> offset;  // of every output pixel in the padded input (point, shifted)
  };

 public:
  Unit(const UnitArgs<T>& args, int threads) : a(args), s(args.shape), threads_(threads) {
    is_depthwise = a.spec.kind == Kind::depthwise;
    pad = is_depthwise ? a.spec.dilation * (a.spec.kernel / 2) : 0;
    bool shifted = a.spec.kind == Kind::shifted;  // odd sides get a line of zeros
    line = s.width + 2 * pad + (shifted ? s.width % 2 : 0);
    area = line * (s.height + 2 * pad + (shifted ? s.height % 2 : 0));
    pixels = s.out_height * s.out_width;
    nb = ceil_div(s.c_in, V);
    plain = a.spec.kind == Kind::point && a.spec.stride == 1 && area == pixels;
    int64_t split = shifted ? s.c_out - s.c_out / 2 : s.c_out;
    for (int64_t part = 0; part < (shifted && s.c_out > 1 ? 2 : 1); part++) {
      Part p{part ? split : 0, part ? s.c_out - split : split, {}};
      for (int64_t h = 0; h < s.out_height; h++)
        for (int64_t w = 0; w < s.out_width; w++)
          p.offset.push_back((int32_t)((h * a.spec.stride + part) * line + w * a.spec.stride + part));
      parts.push_back(std::move(p));
    }
    for (int64_t i = 0; i < a.groups; i++) local.emplace(a.w_rows[i], (int64_t)local.size());
    readers.resize(a.x_count);
    for (int64_t i = 0; i < a.groups; i++) readers[a.x_rows[i]].push_back(i);
  }

  void forward(const Parallel& parallel) {
    pack_weights(false);
    std::vector<double> mean, square;
    if (a.y_mean) mean.resize(a.groups * s.batch * s.c_out), square.resize(mean.size());
    parallel(a.x_count * s.batch, [&](int64_t lo, int64_t hi, int) {
      Scratch& scratch = Scratch::mine();
      scratch.reserve((padded() + nb * pixels * V + 256) * sizeof(T));
      T *x = scratch.take<T>(padded()), *d = scratch.take<T>(nb * pixels * V);
      for (int64_t task = lo; task < hi; task++) {
        int64_t row = task / s.batch, b = task % s.batch;
        if (readers[row].empty()) continue;
        load_input(row, b, x);
        for (int64_t g : readers[row]) {
          T* y = a.y + (g * s.batch + b) * pixels * s.c_out;
          for (size_t part = 0; part < parts.size(); part++) {
            const T* in = convolved(x, g, part, d);
            G::to_rows(in, pixels, s.c_in, packed(g, part), parts[part].count, y + parts[part].column, s.c_out);
          }
          int64_t place = (g * s.batch + b) * s.c_out;
          if (a.y_mean) I::moments(y, pixels, s.c_out, &mean[place], &square[place]);
        }
      }
    });
    if (!a.y_mean) return;
    for (int64_t g = 0; g < a.groups; g++) {
      int64_t place = g * s.batch * s.c_out;
      I::merge(&mean[place], &square[place], s.batch, s.c_out, (double)pixels, a.y_mean + g * s.c_out,
               a.y_var + g * s.c_out);
    }
  }

  void backward(const Parallel& parallel) {
    pack_weights(true);
    int64_t taps = is_depthwise ? a.spec.kernel * a.spec.kernel : 0;
    int64_t rows = (int64_t)local.size(), wide = s.c_in * s.c_out;
    bool weights = a.d_point != nullptr;
    // Partial sums of each thread, merged in the order of the threads.
    std::vector<std::vector<double>> d_point(threads_), d_taps(threads_);
    std::vector<double> sums(a.sums ? a.x_count * s.batch * 2 * s.c_in : 0);
    parallel(a.x_count * s.batch, [&](int64_t lo, int64_t hi, int thread) {
      if (weights) d_point[thread].resize(rows * wide), d_taps[thread].resize(rows * taps * s.c_in);
      Scratch& scratch = Scratch::mine();
      int64_t widest = ceil_div(s.c_out, V) + 1;
      scratch.reserve((3 * padded() + (nb + widest) * pixels * V + 1024) * sizeof(T));
      T *x = scratch.take<T>(padded()), *dx = scratch.take<T>(padded()), *dd = scratch.take<T>(padded());
      T *d = scratch.take<T>(nb * pixels * V), *dy = scratch.take<T>(widest * pixels * V);
      if (is_depthwise) std::memset(dd, 0, padded() * sizeof(T));
      for (int64_t task = lo; task < hi; task++) {
        int64_t row = task / s.batch, b = task % s.batch;
        if (readers[row].empty()) {
          if (a.overwrite) std::memset(a.dx + task * s.height * s.width * s.c_in, 0, s.height * s.width * s.c_in * sizeof(T));
          continue;
        }
        load_input(row, b, x);
        std::memset(dx, 0, nb * area * V * sizeof(T));
        for (int64_t g : readers[row]) {
          int64_t place = local.at(a.w_rows[g]);
          for (size_t part = 0; part < parts.size(); part++) {
            const Part& p = parts[part];
            I::upstream(a.upstream, g, b, s.batch, a.y, pixels, s.c_out, p.column, p.count, V, pixels * V, dy);
            if (weights) {
              const T* in = convolved(x, g, part, d);
              G::gradient(in, s.c_in, dy, p.count, pixels, &d_point[thread][place * wide + p.column], s.c_out);
            }
            if (is_depthwise) {
              G::template to_blocks<false>(dy, pixels, p.count, packed(g, part), s.c_in, dd, dd_area(), dd_offset());
              depthwise_backward(x, dd, dx, place, weights ? &d_taps[thread][place * taps * s.c_in] : nullptr);
            } else {
              G::template to_blocks<true>(dy, pixels, p.count, packed(g, part), s.c_in, dx, area, p.offset.data());
            }
          }
        }
        store_gradient(row, b, x, dx, a.sums ? &sums[task * 2 * s.c_in] : nullptr);
      }
    });
    if (weights) add_weights(d_point, d_taps, taps);
    if (a.sums) {
      std::memset(a.sums, 0, 2 * a.x_count * s.c_in * sizeof(double));
      for (int64_t task = 0; task < a.x_count * s.batch; task++)
        for (int64_t i = 0; i < 2; i++)
          for (int64_t c = 0; c < s.c_in; c++)
            a.sums[(i * a.x_count + task / s.batch) * s.c_in + c] += sums[(task * 2 + i) * s.c_in + c];
    }
  }

 private:
  // Room for a padded image; strips may read past the last row.
  int64_t padded() const { return nb * area * V + 32 * V; }

  void load_input(int64_t row, int64_t b, T* x) {
    const T* scale = a.scale ? a.scale + row * s.c_in : nullptr;
    const T* shift = a.scale ? a.shift + row * s.c_in : nullptr;
    I::load(a.x + (row * s.batch + b) * s.height * s.width * s.c_in, scale, shift, s.height, s.width, s.c_in, pad, line,
            area, x);
  }

  // The input of the 1x1 convolution for row g, in blocks of `pixels`.
  const T* convolved(const T* x, int64_t g, size_t part, T* d) {
    if (plain) return x;
    if (is_depthwise) {
      const T* taps = taps_of(local.at(a.w_rows[g]));
      int64_t k2 = a.spec.kernel * a.spec.kernel;
      for (int64_t c = 0; c < nb; c++)
        with_depthwise([&](auto dw) {
          decltype(dw)::template forward<false>(x + c * area * V, line, taps + c * k2 * V, d + c * pixels * V,
                                                s.out_width, s.out_height, s.out_width);
        });
      return d;
    }
    const int32_t* offset = parts[part].offset.data();
    for (int64_t c = 0; c < nb; c++)
      for (int64_t p = 0; p < pixels; p++)
        S::store(d + (c * pixels + p) * V, S::load(x + (c * area + offset[p]) * V));
    return d;
  }

  int64_t dd_area() const { return a.spec.stride == 1 ? area : pixels; }
  const int32_t* dd_offset() {
    if (dd_offset_.empty())
      throw std::logic_error("offsets are made by pack_weights");
    return dd_offset_.data();
  }

  // Adds the gradients of one row's depthwise convolution to dx (padded) and to d_taps.
  void depthwise_backward(const T* x, const T* dd, T* dx, int64_t place, double* d_taps) {
    int64_t k2 = a.spec.kernel * a.spec.kernel;
    const T *taps = taps_of(place), *flipped = flipped_.data() + place * nb * k2 * V;
    bool still = a.spec.stride == 1;
    int64_t inside = pad * line + pad;
    T sums[49 * V];
    for (int64_t c = 0; c < nb; c++)
      with_depthwise([&](auto dw) {
        using D = decltype(dw);
        const T* g = dd + c * dd_area() * V + (still ? inside * V : 0);
        int64_t g_line = still ? line : s.out_width;
        if (d_taps) {
          D::taps_gradient(x + c * area * V, line, g, g_line, s.out_height, s.out_width, sums);
          for (int64_t i = 0; i < k2; i++)
            for (int64_t l = 0; l < V && c * V + l < s.c_in; l++) d_taps[i * s.c_in + c * V + l] += sums[i * V + l];
        }
        if (still)
          D::template forward<true>(dd + c * area * V, line, flipped + c * k2 * V, dx + (c * area + inside) * V, line,
                                    s.height, s.width);
        else
          D::scatter(dx + c * area * V, line, taps + c * k2 * V, g, g_line, s.out_height, s.out_width);
      });
  }

  // Writes relu's gradient to memory and sums it for the norm before the unit.
  void store_gradient(int64_t row, int64_t b, const T* x, const T* dx, double* sums) {
    int64_t base = (row * s.batch + b) * s.height * s.width * s.c_in;
    for (int64_t c = 0; c < nb; c++) {
      int64_t n = s.c_in - c * V;
      vec mean = sums ? S::load(a.mean + row * s.c_in + c * V, n) : vec{}, total{}, product{};
      for (int64_t h = 0; h < s.height; h++) {
        int64_t from = (c * area + (h + pad) * line + pad) * V;
        T* out = a.dx + base + h * s.width * s.c_in + c * V;
        const T* in = a.x + base + h * s.width * s.c_in + c * V;
        for (int64_t w = 0; w < s.width; w++) {
          vec v = S::relu_mask(S::load(x + from + w * V), S::load(dx + from + w * V));
          if (sums) {
            total += v;
            product += v * (S::load(in + w * s.c_in, n) - mean);
          }
          if (!a.overwrite) v += S::load(out + w * s.c_in, n);
          S::store(out + w * s.c_in, v, n);
        }
      }
      if (sums)
        for (int64_t l = 0; l < V && l < n; l++) {
          sums[c * V + l] = total[l];
          sums[s.c_in + c * V + l] = product[l];
        }
    }
  }

  void add_weights(const std::vector<std::vector<double>>& d_point, const std::vector<std::vector<double>>& d_taps,
                   int64_t taps) {
    int64_t wide = s.c_in * s.c_out, narrow = taps * s.c_in;
    for (int t = 0; t < threads_; t++) {
      if (d_point[t].empty()) continue;
      for (auto [row, place] : local) {
        for (int64_t i = 0; i < wide; i++) a.d_point[row * wide + i] += (T)d_point[t][place * wide + i];
        for (int64_t i = 0; i < narrow; i++) a.d_depthwise[row * narrow + i] += (T)d_taps[t][place * narrow + i];
      }
    }
  }

  const T* taps_of(int64_t place) const { return taps_.data() + place * nb * a.spec.kernel * a.spec.kernel * V; }

  const T* packed(int64_t g, size_t part) const {
    return packed_.data() + local.at(a.w_rows[g]) * packed_row_ + (part ? packed_part_ : 0);
  }

  // Packs the 1x1 weights (transposed for the backward pass) and the depthwise taps of the rows in use.
  void pack_weights(bool transposed) {
    auto size = [&](const Part& p) {
      return transposed ? G::packed_size(p.count, s.c_in) : G::packed_size(s.c_in, p.count);
    };
    packed_part_ = size(parts[0]);
    packed_row_ = packed_part_ + (parts.size() > 1 ? size(parts[1]) : 0);
    packed_.resize(packed_row_ * local.size());
    int64_t k2 = is_depthwise ? a.spec.kernel * a.spec.kernel : 0;
    taps_.assign(local.size() * nb * k2 * V, 0);
    flipped_.assign(transposed ? taps_.size() : 0, 0);
    for (auto [row, place] : local) {
      for (size_t i = 0; i < parts.size(); i++) {
        const T* w = a.point + row * s.c_in * s.c_out + parts[i].column;
        T* out = packed_.data() + place * packed_row_ + (i ? packed_part_ : 0);
        if (transposed) G::pack(w, parts[i].count, s.c_in, 1, s.c_out, out);
        else G::pack(w, s.c_in, parts[i].count, s.c_out, 1, out);
      }
      for (int64_t i = 0; i < k2; i++)
        for (int64_t c = 0; c < s.c_in; c++) {
          int64_t block = (place * nb + c / V) * k2;
          T tap = a.depthwise[(row * k2 + i) * s.c_in + c];
          taps_[(block + i) * V + c % V] = tap;
          if (transposed) flipped_[(block + k2 - 1 - i) * V + c % V] = tap;
        }
    }
    if (transposed && is_depthwise) {
      bool still = a.spec.stride == 1;
      for (int64_t h = 0; h < s.out_height; h++)
        for (int64_t w = 0; w < s.out_width; w++)
          dd_offset_.push_back((int32_t)(still ? (h + pad) * line + w + pad : h * s.out_width + w));
    }
  }

  template <class Body>
  void with_depthwise(Body body) {
    bool still = a.spec.stride == 1, near = a.spec.dilation == 1;
    if (a.spec.kernel == 3 && near) still ? body(Depthwise<T, 3, 1, 1>()) : body(Depthwise<T, 3, 1, 2>());
    else if (a.spec.kernel == 3) still ? body(Depthwise<T, 3, 2, 1>()) : body(Depthwise<T, 3, 2, 2>());
    else if (a.spec.kernel == 5 && near) still ? body(Depthwise<T, 5, 1, 1>()) : body(Depthwise<T, 5, 1, 2>());
    else if (a.spec.kernel == 5) still ? body(Depthwise<T, 5, 2, 1>()) : body(Depthwise<T, 5, 2, 2>());
    else still ? body(Depthwise<T, 7, 1, 1>()) : body(Depthwise<T, 7, 1, 2>());
  }

  const UnitArgs<T>& a;
  Shape s;
  int threads_;
  bool is_depthwise, plain;
  int64_t pad, line, area, pixels, nb, packed_row_ = 0, packed_part_ = 0;
  std::vector<Part> parts;
  std::map<int64_t, int64_t> local;            // rows of the weights in use -> 0, 1, ...
  std::vector<std::vector<int64_t>> readers;   // for every row of x, the rows of y that read it
  std::vector<T> packed_, taps_, flipped_;
  std::vector<int32_t> dd_offset_;
};
