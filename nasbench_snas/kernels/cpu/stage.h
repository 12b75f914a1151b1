// Everything that reads some inputs, in one parallel pass. A task is one image of one input: it is loaded once for all.
#pragma once
#include "pool.h"
#include "unit.h"

template <class T>
class StageRun {
  using S = Simd<T>;
  using I = Image<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;

  struct Node {
    const Input<T>& in;
    std::vector<Unit<T>> units;
    std::vector<Pool<T>> pools;
    Layout layout;
    int64_t blocks, moments, sums, partial;  // places of its units' (then poolings') moments, of its sums, of its partial sums
  };

 public:
  StageRun(const Stage<T>& stage, int threads, bool backward) : threads_(threads) {
    nodes.reserve(stage.size());
    for (const Input<T>& in : stage) {
      nodes.push_back({in, {}, {}, {}, ceil_div(in.images.channels, V), moments_, sums_, partial_});
      Node& node = nodes.back();
      batch = in.images.batch;
      bool odd = false;
      for (const auto& unit : in.units) {
        node.units.emplace_back(unit, in.images);
        node.layout.pad = std::max(node.layout.pad, node.units.back().pad);
        odd |= node.units.back().shifted();
      }
      for (const auto& pool : in.pools) node.pools.emplace_back(pool, in);
      node.layout.line = in.images.width + 2 * node.layout.pad + (odd ? in.images.width % 2 : 0);
      node.layout.area = node.layout.line * (in.images.height + 2 * node.layout.pad + (odd ? in.images.height % 2 : 0));
      for (auto& unit : node.units) {
        unit.prepare(node.layout, backward);
        partial_ += unit.partial_size();
        moments_ += unit.a.groups * batch * unit.a.c_out;
        dy_ = std::max(dy_, unit.dy_size()), d_ = std::max(d_, unit.d_size());
        strided_ = std::max(strided_, unit.strided_size());
      }
      for (auto& pool : node.pools) {
        moments_ += in.images.rows * batch * in.images.channels;
        dy_ = std::max(dy_, pool.dy_size()), pool_ = std::max(pool_, pool.padded_size());
      }
      if (in.sums) sums_ += in.images.rows * batch * 2 * in.images.channels;
      if (!in.identities.empty()) dy_ = std::max(dy_, in.images.image());
      padded_ = std::max(padded_, (node.blocks * node.layout.area + 32) * V);  // strips may read past the last line
      for (int64_t row = 0; row < in.images.rows; row++) rows.push_back({(int)nodes.size() - 1, row});
    }
  }

  void forward(const Parallel& parallel) {
    std::vector<double> mean(moments_), square(moments_);
    parallel(batch * (int64_t)rows.size(), [&](int64_t lo, int64_t hi, int) {
      Scratch& scratch = Scratch::mine();
      scratch.reserve((padded_ + d_ + pool_ + 64) * sizeof(T));
      T *x = scratch.take<T>(padded_), *d = scratch.take<T>(d_), *window = scratch.take<T>(pool_);
      for (int64_t task = lo; task < hi; task++) {
        auto [which, row] = rows[task % rows.size()];
        Node& node = nodes[which];
        int64_t b = task / rows.size(), at = node.moments;
        load(node, row, b, x);
        for (auto& unit : node.units) {
          unit.forward(row, b, x, d, &mean[at], &square[at]);
          at += unit.a.groups * batch * unit.a.c_out;
        }
        for (auto& pool : node.pools) {
          pool.forward(row, b, window, &mean[at], &square[at]);
          at += node.in.images.rows * batch * node.in.images.channels;
        }
      }
    });
    merge(mean, square);
  }

  void backward(const Parallel& parallel) {
    std::vector<std::vector<T>> partial(threads_);  // merged in the order of the threads
    std::vector<double> sums(sums_);
    parallel(batch * (int64_t)rows.size(), [&](int64_t lo, int64_t hi, int thread) {
      partial[thread].resize(partial_);
      Scratch& scratch = Scratch::mine();
      scratch.reserve((3 * padded_ + d_ + dy_ + strided_ + pool_ + 256) * sizeof(T));
      T *x = scratch.take<T>(padded_), *dx = scratch.take<T>(padded_);
      typename Unit<T>::Room room{scratch.take<T>(d_), scratch.take<T>(dy_), scratch.take<T>(padded_)};
      T *strided = scratch.take<T>(strided_), *window = scratch.take<T>(pool_);
      int cleared = -1;
      for (int64_t task = lo; task < hi; task++) {
        auto [which, row] = rows[task % rows.size()];
        Node& node = nodes[which];
        int64_t b = task / rows.size();
        if (cleared != which) std::memset(room.dd, 0, padded_ * sizeof(T));
        cleared = which;
        if (load(node, row, b, x)) {
          std::memset(dx, 0, node.blocks * node.layout.area * V * sizeof(T));
          T* own = partial[thread].data() + node.partial;
          for (auto& unit : node.units) {
            unit.backward(row, b, x, dx, room, strided, own);
            own += unit.partial_size();
          }
          store(node, row, b, x, dx, sums.data() + node.sums + (row * batch + b) * 2 * node.in.images.channels);
        } else if (node.in.overwrite) {
          std::memset(node.in.dx + (row * batch + b) * node.in.images.image(), 0, node.in.images.image() * sizeof(T));
        }
        for (auto& pool : node.pools) pool.backward(row, b, node.in.dx, window, room.dy);
        for (const auto& up : node.in.identities) add(node, up, row, b, room.dy);
      }
    });
    for (auto& part : partial) {
      const T* from = part.data();
      if (part.empty()) continue;
      for (Node& node : nodes)
        for (auto& unit : node.units) {
          if (unit.partial_size()) unit.collect(from);
          from += unit.partial_size();
        }
    }
    for (Node& node : nodes) add_sums(node.in, sums.data() + node.sums);
  }

 private:
  // Whether any unit reads the row; then its image b is at x.
  bool load(const Node& node, int64_t row, int64_t b, T* x) {
    bool wanted = false;
    for (const auto& unit : node.units) wanted |= unit.reads(row);
    if (!wanted) return false;
    const Input<T>& in = node.in;
    int64_t channels = in.images.channels;
    const T* scale = in.scale ? in.scale + row * channels : nullptr;
    const T* shift = in.scale ? in.shift + row * channels : nullptr;
    I::load(in.x + (row * batch + b) * in.images.image(), scale, shift, in.images, node.layout, x);
    return true;
  }

  // Small: starting the threads would take longer.
  void merge(const std::vector<double>& mean, const std::vector<double>& square) {
    for (Node& node : nodes) {
      int64_t at = node.moments;
      for (auto& unit : node.units) {
        for (int64_t g = 0; g < unit.a.groups && unit.a.y_mean; g++) unit.merge_moments(g, &mean[at], &square[at]);
        at += unit.a.groups * batch * unit.a.c_out;
      }
      for (auto& pool : node.pools) {
        for (int64_t row = 0; row < node.in.images.rows && pool.a.y_mean; row++) pool.merge_moments(row, &mean[at], &square[at]);
        at += node.in.images.rows * batch * node.in.images.channels;
      }
    }
  }

  // Writes relu's gradient to memory and sums it for the norm before the units.
  void store(const Node& node, int64_t row, int64_t b, const T* x, const T* dx, double* sums) {
    const Input<T>& in = node.in;
    const Images& im = in.images;
    int64_t base = (row * batch + b) * im.image();
    for (int64_t c = 0; c < node.blocks; c++) {
      int64_t n = im.channels - c * V;
      vec mean = in.sums ? S::load(in.mean + row * im.channels + c * V, n) : vec{}, total{}, product{};
      for (int64_t h = 0; h < im.height; h++) {
        int64_t from = (c * node.layout.area + node.layout.inside() + h * node.layout.line) * V;
        T* out = in.dx + base + h * im.width * im.channels + c * V;
        const T* y = in.x + base + h * im.width * im.channels + c * V;
        for (int64_t w = 0; w < im.width; w++) {
          vec v = S::relu_mask(S::load(x + from + w * V), S::load(dx + from + w * V));
          if (in.sums) {
            total += v;
            product += v * (S::load(y + w * im.channels, n) - mean);
          }
          if (!in.overwrite) v += S::load(out + w * im.channels, n);
          S::store(out + w * im.channels, v, n);
        }
      }
      if (in.sums)
        for (int64_t l = 0; l < V && l < n; l++) {
          sums[c * V + l] = total[l];
          sums[im.channels + c * V + l] = product[l];
        }
    }
  }

  void add(const Node& node, const Upstream<T>& up, int64_t row, int64_t b, T* dy) {
    if (up.starts[row] == up.starts[row + 1]) return;
    const Images& im = node.in.images;
    I::upstream(up, row, b, batch, nullptr, im.pixels(), im.channels, 0, im.channels, im.channels, V, dy);
    T* dx = node.in.dx + (row * batch + b) * im.image();
    for (int64_t i = 0; i < im.image(); i++) dx[i] += dy[i];
  }

  void add_sums(const Input<T>& in, const double* sums) {
    if (!in.sums) return;
    int64_t rows = in.images.rows, channels = in.images.channels;
    std::memset(in.sums, 0, 2 * rows * channels * sizeof(double));
    for (int64_t task = 0; task < rows * batch; task++)
      for (int64_t i = 0; i < 2; i++)
        for (int64_t c = 0; c < channels; c++)
          in.sums[(i * rows + task / batch) * channels + c] += sums[(task * 2 + i) * channels + c];
  }

  struct Row {
    int node;
    int64_t row;
  };
  std::vector<Node> nodes;
  std::vector<Row> rows;
  int threads_;
  int64_t batch = 0, padded_ = 0, d_ = 0, dy_ = 0, strided_ = 0, pool_ = 0, moments_ = 0, sums_ = 0, partial_ = 0;
};
