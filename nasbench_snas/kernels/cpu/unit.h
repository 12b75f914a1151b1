// ReLU-convolution units: (normalise-ReLU-)depthwise-pointwise, pointwise, the factorised reduction, and dense, image by
// image. All end in a matrix product: of the depthwise result, of some pixels, or (dense) of every tap's pixels side by side.
//
// Its left factor lives in scratch memory only; the backward pass computes it again (cheaper than a trip to memory).
#pragma once
#include <cmath>

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
  // Scratch memory of a thread: the depthwise result, the gradients of y and of the depthwise result.
  struct Room {
    T *d, *dy, *dd;
  };

  Unit(const UnitArgs<T>& args, const Images& images)
      : a(args), x_(images), y_(images.strided(args.groups, args.spec.stride, args.c_out)), kernel(args.spec.kernel) {
    is_depthwise = a.spec.kind == Kind::depthwise, is_dense = a.spec.kind == Kind::dense;
    pixels = y_.pixels();
    nb = ceil_div(x_.channels, V);
    inner = is_dense ? kernel * kernel * nb * V : x_.channels;
    int64_t highest = 0;
    for (int64_t g = 0; g < a.groups; g++) highest = std::max(highest, a.w_rows[g]);
    place_.assign(highest + 1, -1);
    for (int64_t g = 0; g < a.groups; g++)
      if (place_[a.w_rows[g]] < 0) {
        place_[a.w_rows[g]] = (int64_t)used_.size();
        used_.push_back(a.w_rows[g]);
      }
    readers.resize(x_.rows);
    for (int64_t g = 0; g < a.groups; g++) readers[a.x_rows[g]].push_back(g);
    if (is_depthwise) trim();
    pad = is_depthwise || is_dense ? a.spec.dilation * (kernel / 2) : 0;
  }

  bool shifted() const { return a.spec.kind == Kind::shifted; }
  bool reads(int64_t row) const { return !readers[row].empty(); }

  // Takes the input's layout; packs the weights for the forward or the backward pass.
  void prepare(const Layout& layout, bool backward) {
    at = layout;
    plain = a.spec.kind == Kind::point && a.spec.stride == 1 && at.area == pixels;
    int64_t split = shifted() ? a.c_out - a.c_out / 2 : a.c_out;
    for (int64_t part = 0; part < (shifted() && a.c_out > 1 ? 2 : 1); part++) {
      Part p{part ? split : 0, part ? a.c_out - split : split, {}};
      for (int64_t h = 0; h < y_.height && !is_depthwise && !is_dense; h++)
        for (int64_t w = 0; w < y_.width; w++)
          p.offset.push_back((int32_t)(at.inside() + (h * a.spec.stride + part) * at.line + w * a.spec.stride + part));
      parts.push_back(std::move(p));
    }
    if (backward && (is_depthwise || is_dense)) {
      bool still = is_depthwise && a.spec.stride == 1;
      for (int64_t h = 0; h < y_.height; h++)
        for (int64_t w = 0; w < y_.width; w++)
          dd_offset_.push_back((int32_t)(still ? at.inside() + h * at.line + w : h * y_.width + w));
    }
    pack(backward);
  }

  // Room for the product's left factor, for the gradients of y, and for those of a left factor that is not padded.
  int64_t d_size() const { return G::blocks(inner) * pixels * V; }
  int64_t dy_size() const { return (ceil_div(a.c_out, V) + 1) * pixels * V; }
  int64_t strided_size() const { return is_dense || (is_depthwise && a.spec.stride > 1) ? d_size() : 0; }
  // A thread's partial sums of the weights' gradients.
  int64_t partial_size() const { return a.d_point ? (int64_t)used_.size() * (point_size() + taps_size()) : 0; }

  // Writes y of all rows that read image b of `row`, which is at x; its moments go to (groups, batch, c_out).
  void forward(int64_t row, int64_t b, const T* x, T* d, double* mean, double* square) {
    for (int64_t g : readers[row]) {
      T* y = a.y + (g * x_.batch + b) * pixels * a.c_out;
      for (size_t part = 0; part < parts.size(); part++) {
        const T* in = convolved(x, g, part, d);
        G::to_rows(in, pixels, inner, packed(g, part), parts[part].count, y + parts[part].column, a.c_out);
      }
      int64_t to = (g * x_.batch + b) * a.c_out;
      if (a.y_mean) I::moments(y, pixels, a.c_out, mean + to, square + to);
    }
  }

  // Adds to dx (laid out like x) and to the partial sums. room.dd is zero around the image and stays so.
  void backward(int64_t row, int64_t b, const T* x, T* dx, const Room& room, T* strided, T* partial) {
    for (int64_t g : readers[row]) {
      T* sums = a.d_point ? partial + place_[a.w_rows[g]] * (point_size() + taps_size()) : nullptr;
      for (size_t part = 0; part < parts.size(); part++) {
        const Part& p = parts[part];
        I::upstream(a.upstream, g, b, x_.batch, a.y, pixels, a.c_out, p.column, p.count, V, pixels * V, room.dy);
        if (sums) {
          const T* in = convolved(x, g, part, room.d);
          G::gradient(in, inner, room.dy, p.count, pixels, sums + (part ? G::gradient_size(inner, parts[0].count) : 0));
        }
        if (is_depthwise) {
          T* dd = a.spec.stride == 1 ? room.dd : strided;
          int64_t area = a.spec.stride == 1 ? at.area : pixels;
          G::template to_blocks<false>(room.dy, pixels, p.count, packed(g, part), x_.channels, dd, area, dd_offset_.data());
          depthwise_backward(x, dd, dx, place_[a.w_rows[g]], sums ? sums + point_size() : nullptr);
        } else if (is_dense) {
          G::template to_blocks<false>(room.dy, pixels, p.count, packed(g, part), inner, strided, pixels, dd_offset_.data());
          each_tap([&](int64_t block, int64_t from, int64_t to) {
            T* at = dx + from;
            S::store(at, S::load(at) + S::load(strided + block + to));
          });
        } else {
          G::template to_blocks<true>(room.dy, pixels, p.count, packed(g, part), inner, dx, at.area, p.offset.data());
        }
      }
    }
  }

  // Adds one thread's partial sums to the gradients of the weights.
  void collect(const T* partial) {
    int64_t c_in = x_.channels, k2 = a.spec.kernel * a.spec.kernel, rim = (a.spec.kernel - kernel) / 2;
    for (size_t i = 0; i < used_.size(); i++, partial += point_size() + taps_size()) {
      const T* from = partial;
      if (is_dense) {
        for (int64_t o = 0; o < a.c_out; o++)
          for (int64_t c = 0; c < c_in; c++)
            for (int64_t t = 0; t < k2; t++)
              a.d_point[((used_[i] * a.c_out + o) * c_in + c) * k2 + t] += from[(t * nb * V + c) * G::blocks(a.c_out) * V + o];
        continue;
      }
      for (const Part& p : parts) {
        int64_t ld = G::blocks(p.count) * V;
        for (int64_t r = 0; r < c_in; r++)
          for (int64_t c = 0; c < p.count; c++) a.d_point[(used_[i] * c_in + r) * a.c_out + p.column + c] += from[r * ld + c];
        from += G::gradient_size(c_in, p.count);
      }
      if (!is_depthwise) continue;
      for (int64_t t = 0; t < kernel * kernel; t++) {
        T* to = a.d_depthwise + (used_[i] * k2 + (t / kernel + rim) * a.spec.kernel + t % kernel + rim) * c_in;
        for (int64_t c = 0; c < c_in; c += V) {
          vec sum = S::load(to + c, c_in - c) + S::load(from + (c / V * kernel * kernel + t) * V);
          S::store(to + c, sum, c_in - c);
        }
      }
    }
  }

  void merge_moments(int64_t g, const double* mean, const double* square) {
    int64_t from = g * x_.batch * a.c_out;
    I::merge(mean + from, square + from, x_.batch, a.c_out, (double)pixels, a.y_mean + g * a.c_out, a.y_var + g * a.c_out);
  }

  UnitArgs<T> a;
  int64_t pad;

 private:
  // Calls body(place of a block, place in the padded image, place in the block) for all pixels of all taps and blocks.
  template <class Body>
  void each_tap(Body body) const {
    int64_t corner = at.inside() - pad * at.line - pad, stride = a.spec.stride;
    for (int64_t t = 0; t < kernel * kernel; t++)
      for (int64_t c = 0; c < nb; c++) {
        int64_t start = c * at.area + corner + (t / kernel * at.line + t % kernel) * a.spec.dilation;
        for (int64_t h = 0; h < y_.height; h++)
          for (int64_t w = 0; w < y_.width; w++)
            body((t * nb + c) * pixels * V, (start + (h * at.line + w) * stride) * V, (h * y_.width + w) * V);
      }
  }

  // The left factor of the matrix product for row g, in blocks of `pixels`.
  const T* convolved(const T* x, int64_t g, size_t part, T* d) {
    if (plain) return x;
    if (is_dense) {
      each_tap([&](int64_t block, int64_t from, int64_t to) { S::store(d + block + to, S::load(x + from)); });
      return d;
    }
    if (is_depthwise) {
      const T* from = x + (at.inside() - pad * at.line - pad) * V;
      const T* taps = taps_.data() + place_[a.w_rows[g]] * taps_size();
      for (int64_t c = 0; c < nb; c++)
        with_depthwise([&](auto dw) {
          decltype(dw)::template forward<false>(from + c * at.area * V, at.line, taps + c * kernel * kernel * V,
                                                d + c * pixels * V, y_.width, y_.height, y_.width);
        });
      return d;
    }
    const int32_t* offset = parts[part].offset.data();
    for (int64_t c = 0; c < nb; c++)
      for (int64_t p = 0; p < pixels; p++)
        S::store(d + (c * pixels + p) * V, S::load(x + (c * at.area + offset[p]) * V));
    return d;
  }

  // Adds the gradients of one row's depthwise convolution to dx and to d_taps.
  void depthwise_backward(const T* x, const T* dd, T* dx, int64_t place, T* d_taps) {
    int64_t k2 = kernel * kernel, corner = at.inside() - pad * at.line - pad;
    const T *taps = taps_.data() + place * taps_size(), *flipped = flipped_.data() + place * taps_size();
    bool still = a.spec.stride == 1;
    for (int64_t c = 0; c < nb; c++)
      with_depthwise([&](auto dw) {
        using D = decltype(dw);
        const T* g = still ? dd + (c * at.area + at.inside()) * V : dd + c * pixels * V;
        int64_t g_line = still ? at.line : y_.width;
        const T* from = x + (c * at.area + corner) * V;
        if (d_taps) D::taps_gradient(from, at.line, g, g_line, y_.height, y_.width, d_taps + c * k2 * V);
        if (still)
          D::template forward<true>(dd + (c * at.area + corner) * V, at.line, flipped + c * k2 * V,
                                    dx + (c * at.area + at.inside()) * V, at.line, x_.height, x_.width);
        else
          D::scatter(dx + (c * at.area + corner) * V, at.line, taps + c * k2 * V, g, g_line, y_.height, y_.width);
      });
  }

  // Leaves out the outermost taps where they never meet the image (unless they are not finite: zero times NaN is NaN).
  void trim() {
    int64_t side = a.spec.kernel, c_in = x_.channels;
    for (; kernel > 3 && a.spec.dilation * (kernel / 2) >= std::max(x_.height, x_.width); kernel -= 2) {
      int64_t rim = (side - kernel) / 2;
      for (int64_t row : used_)
        for (int64_t i = rim; i < side - rim; i++)
          for (int64_t j = rim; j < side - rim; j++) {
            if (i > rim && i < side - rim - 1 && j > rim && j < side - rim - 1) continue;
            const T* tap = a.depthwise + (row * side * side + i * side + j) * c_in;
            for (int64_t c = 0; c < c_in; c++)
              if (!std::isfinite(tap[c])) return;
          }
    }
  }

  int64_t taps_size() const { return is_depthwise ? nb * kernel * kernel * V : 0; }
  int64_t point_size() const {
    int64_t size = 0;
    for (const Part& p : parts) size += G::gradient_size(inner, p.count);
    return size;
  }
  const T* packed(int64_t g, size_t part) const {
    return packed_.data() + place_[a.w_rows[g]] * packed_row_ + (part ? packed_part_ : 0);
  }

  // Packs the 1x1 weights (transposed for the backward pass) and the depthwise taps of the rows in use.
  void pack(bool transposed) {
    int64_t c_in = x_.channels;
    auto size = [&](const Part& p) { return transposed ? G::packed_size(p.count, inner) : G::packed_size(inner, p.count); };
    packed_part_ = size(parts[0]);
    packed_row_ = packed_part_ + (parts.size() > 1 ? size(parts[1]) : 0);
    packed_.allocate(packed_row_ * used_.size());
    taps_.allocate(used_.size() * taps_size());
    flipped_.allocate(transposed ? used_.size() * taps_size() : 0);
    for (size_t place = 0; place < used_.size(); place++) {
      if (is_dense) {
        pack_dense(place, transposed);
        continue;
      }
      for (size_t i = 0; i < parts.size(); i++) {
        const Part& p = parts[i];
        const T* w = a.point + used_[place] * c_in * a.c_out + p.column;
        T* out = packed_.data() + place * packed_row_ + (i ? packed_part_ : 0);
        if (transposed) G::pack(w, p.count, c_in, 1, a.c_out, out);
        else G::pack(w, c_in, p.count, a.c_out, 1, out);
      }
      if (is_depthwise) pack_taps(place, transposed);
    }
  }

  void pack_dense(size_t place, bool transposed) {
    int64_t c_in = x_.channels, k2 = kernel * kernel;
    std::vector<T> matrix(inner * a.c_out);
    for (int64_t o = 0; o < a.c_out; o++)
      for (int64_t c = 0; c < c_in; c++)
        for (int64_t t = 0; t < k2; t++)
          matrix[(t * nb * V + c) * a.c_out + o] = a.point[((used_[place] * a.c_out + o) * c_in + c) * k2 + t];
    T* out = packed_.data() + place * packed_row_;
    if (transposed) G::pack(matrix.data(), a.c_out, inner, 1, a.c_out, out);
    else G::pack(matrix.data(), inner, a.c_out, a.c_out, 1, out);
  }

  void pack_taps(size_t place, bool turned) {
    int64_t c_in = x_.channels, side = a.spec.kernel, rim = (side - kernel) / 2, k2 = kernel * kernel;
    for (int64_t h = 0; h < kernel; h++)
      for (int64_t w = 0; w < kernel; w++) {
        const T* tap = a.depthwise + (used_[place] * side * side + (h + rim) * side + w + rim) * c_in;
        int64_t i = h * kernel + w;
        for (int64_t c = 0; c < c_in; c += V) {
          int64_t block = place * taps_size() + c * k2;
          vec taps = S::load(tap + c, c_in - c);
          S::store(&taps_[block + i * V], taps);
          if (turned) S::store(&flipped_[block + (k2 - 1 - i) * V], taps);
        }
      }
  }

  template <class Body>
  void with_depthwise(Body body) {
    bool still = a.spec.stride == 1, near = a.spec.dilation == 1;
    if (kernel == 3 && near) still ? body(Depthwise<T, 3, 1, 1>()) : body(Depthwise<T, 3, 1, 2>());
    else if (kernel == 3) still ? body(Depthwise<T, 3, 2, 1>()) : body(Depthwise<T, 3, 2, 2>());
    else if (kernel == 5 && near) still ? body(Depthwise<T, 5, 1, 1>()) : body(Depthwise<T, 5, 1, 2>());
    else if (kernel == 5) still ? body(Depthwise<T, 5, 2, 1>()) : body(Depthwise<T, 5, 2, 2>());
    else still ? body(Depthwise<T, 7, 1, 1>()) : body(Depthwise<T, 7, 1, 2>());
  }

  Images x_, y_;
  Layout at{};
  bool is_depthwise, is_dense, plain = false;
  int64_t kernel, pixels, nb, inner;  // side, pixels of y, blocks of x, channels of the product's left factor
  int64_t packed_row_ = 0, packed_part_ = 0;
  std::vector<Part> parts;
  std::vector<int64_t> used_, place_;          // rows of the weights in use; the place of a row among them
  std::vector<std::vector<int64_t>> readers;   // for every row of x, the rows of y that read it
  Aligned<T> packed_, taps_, flipped_;
  std::vector<int32_t> dd_offset_;
};
