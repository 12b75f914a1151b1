// The mix: normalise, weight and sum all candidates of a source into its target nodes; its backward pass.
#pragma once
#include <cmath>

#include "image.h"

template <class T>
class Mix {
  using S = Simd<T>;
  using vec = typename S::vec;
  static constexpr int V = S::V;
  static constexpr int together = 4;  // entries that share one pass over the target

  struct Entry {
    int64_t number, candidate, row, stat, target, place, edge;
  };

 public:
  explicit Mix(const MixArgs<T>& args) : a(args), s(args.nodes), pixels(s.pixels()), channels(s.channels), wide(ceil_div(channels, V) * V) {
    of_target.resize(s.rows);
    for (int64_t i = 0; i < a.entries; i++) {
      const int64_t* t = a.table + 6 * i;
      entries.push_back({i, t[0], t[1], t[2], t[3], t[4], t[5]});
      of_target[t[3]].push_back(entries.back());
    }
  }

  void forward(const Parallel& parallel) {
    std::vector<T> factor(a.entries * channels), offset(a.entries * channels);
    for (const Entry& e : entries)
      for (int64_t c = 0; c < channels; c++) {
        Norm n = norm(e, c);
        double scale = a.z[e.place] * n.gamma * n.inverse;
        factor[e.number * channels + c] = (T)scale;
        offset[e.number * channels + c] = (T)(a.z[e.place] * n.beta - scale * n.mean);
      }
    // Blocks of pixels small enough for the first-level cache.
    int64_t step = std::max<int64_t>(16, 4096 / channels), steps = ceil_div(pixels, step);
    parallel(s.rows * s.batch, [&](int64_t lo, int64_t hi, int) {
      for (int64_t task = lo; task < hi; task++) {
        int64_t target = task / s.batch, b = task % s.batch;
        const auto& list = of_target[target];
        if (list.empty()) continue;
        for (int64_t block = 0; block < steps; block++) {
          int64_t from = block * step, count = std::min(step, pixels - from);
          T* out = a.out + (task * pixels + from) * channels;
          for (size_t i = 0; i < list.size(); i += together) {
            const Entry* e = &list[i];
            switch (std::min<size_t>(together, list.size() - i)) {
              case 1: add<1>(e, b, from, count, factor, offset, out); break;
              case 2: add<2>(e, b, from, count, factor, offset, out); break;
              case 3: add<3>(e, b, from, count, factor, offset, out); break;
              default: add<4>(e, b, from, count, factor, offset, out);
            }
          }
        }
      }
    });
  }

  void backward(int threads, const Parallel& parallel) {
    // For every entry and channel: <m g, 1> and <m g, y - mean>.
    std::vector<std::vector<double>> partial(threads);
    parallel(s.rows * s.batch, [&](int64_t lo, int64_t hi, int thread) {
      partial[thread].resize(2 * a.entries * wide);
      for (int64_t task = lo; task < hi; task++) dots(task / s.batch, task % s.batch, partial[thread].data());
    });
    std::vector<double> sums(2 * a.entries * wide);
    for (auto& part : partial)
      for (size_t i = 0; i < part.size(); i++) sums[i] += part[i];
    double values = (double)(s.batch * pixels);
    for (const Entry& e : entries) {
      const MixCandidate<T>& k = a.candidates[e.candidate];
      double credit = 0, z = a.z[e.place];
      for (int64_t c = 0; c < channels; c++) {
        Norm n = norm(e, c);
        double total = sums[2 * e.number * wide + c];
        double hat = sums[(2 * e.number + 1) * wide + c] * n.inverse;
        double scale = z * n.gamma * n.inverse;
        credit += n.gamma * hat + n.beta * total;
        a.a[e.number * channels + c] = (T)scale;
        if (k.dgamma) k.dgamma[e.edge * channels + c] += (T)(z * hat);
        if (k.dbeta) k.dbeta[e.edge * channels + c] += (T)(z * total);
        if (k.p) {
          double slope = -scale * n.inverse * hat / values;
          k.p[e.row * channels + c] += (T)slope;
          k.r[e.row * channels + c] += (T)(-scale * total / values - slope * n.mean);
        }
      }
      a.dz[e.place] += (T)credit;
    }
  }

 private:
  struct Norm {
    double mean, inverse, gamma, beta;
  };
  Norm norm(const Entry& e, int64_t c) const {
    const MixCandidate<T>& k = a.candidates[e.candidate];
    if (!k.mean) return {0, 1, 1, 0};
    int64_t at = e.stat * channels + c, edge = e.edge * channels + c;
    return {(double)k.mean[at], 1 / std::sqrt((double)k.var[at] + norm_eps), k.gamma ? (double)k.gamma[edge] : 1.0,
            k.beta ? (double)k.beta[edge] : 0.0};
  }

  const T* image(const Entry& e, int64_t b) const {
    return a.candidates[e.candidate].y + (e.row * s.batch + b) * pixels * channels;
  }

  // out += sum of N entries' m (factor y + offset) on some pixels of an image.
  template <int N>
  void add(const Entry* e, int64_t b, int64_t from, int64_t count, const std::vector<T>& factor,
           const std::vector<T>& offset, T* out) {
    for (int64_t c = 0; c < channels; c += V) {
      int64_t n = channels - c;
      vec f[N], constant{};
      const T* y[N];
      for (int i = 0; i < N; i++) {
        T m = a.mask ? a.mask[e[i].number * s.batch + b] : T(1);
        f[i] = S::load(&factor[e[i].number * channels + c], n) * m;
        constant += S::load(&offset[e[i].number * channels + c], n) * m;
        y[i] = image(e[i], b) + from * channels + c;
      }
      if (n >= V) {
        for (int64_t p = 0; p < count; p++) {
          vec v = S::load(out + p * channels + c) + constant;
#pragma GCC unroll 4
          for (int i = 0; i < N; i++) v += f[i] * S::load(y[i] + p * channels);
          S::store(out + p * channels + c, v);
        }
      } else {
        for (int64_t p = 0; p < count; p++) {
          vec v = S::load(out + p * channels + c, n) + constant;
          for (int i = 0; i < N; i++) v += f[i] * S::load(y[i] + p * channels, n);
          S::store(out + p * channels + c, v, n);
        }
      }
    }
  }

  void dots(int64_t target, int64_t b, double* sums) {
    const auto& list = of_target[target];
    int64_t step = std::max<int64_t>(16, 4096 / channels);
    const T* g = a.g + (target * s.batch + b) * pixels * channels;
    for (int64_t from = 0; from < pixels && !list.empty(); from += step) {
      int64_t count = std::min(step, pixels - from);
      for (size_t i = 0; i < list.size(); i += together) {
        const Entry* e = &list[i];
        const T* at = g + from * channels;
        switch (std::min<size_t>(together, list.size() - i)) {
          case 1: dot<1>(e, b, from, count, at, sums); break;
          case 2: dot<2>(e, b, from, count, at, sums); break;
          case 3: dot<3>(e, b, from, count, at, sums); break;
          default: dot<4>(e, b, from, count, at, sums);
        }
      }
    }
  }

  template <int N>
  void dot(const Entry* e, int64_t b, int64_t from, int64_t count, const T* g, double* sums) {
    for (int64_t c = 0; c < channels; c += V) {
      int64_t n = channels - c;
      vec mean[N], product[N] = {}, total{};
      const T* y[N];
      for (int i = 0; i < N; i++) {
        const T* m = a.candidates[e[i].candidate].mean;
        mean[i] = m ? S::load(m + e[i].stat * channels + c, n) : vec{};
        y[i] = image(e[i], b) + from * channels + c;
      }
      for (int64_t p = 0; p < count; p++) {
        vec v = S::load(g + p * channels + c, n);
        total += v;
        if (n >= V) {
#pragma GCC unroll 4
          for (int i = 0; i < N; i++) product[i] += v * (S::load(y[i] + p * channels) - mean[i]);
        } else {
          for (int i = 0; i < N; i++) product[i] += v * (S::load(y[i] + p * channels, n) - mean[i]);
        }
      }
      for (int i = 0; i < N; i++) {
        double m = a.mask ? (double)a.mask[e[i].number * s.batch + b] : 1.0;
        double* to = sums + 2 * e[i].number * wide + c;
        S::add(to, total, m);
        S::add(to + wide, product[i], m);
      }
    }
  }

  const MixArgs<T>& a;
  Images s;
  int64_t pixels, channels, wide;  // `wide`: channels of the sums, whole vectors
  std::vector<Entry> entries;
  std::vector<std::vector<Entry>> of_target;
};
