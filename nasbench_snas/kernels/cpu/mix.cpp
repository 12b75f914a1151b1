// Mix, statistics and norms in both types.
#include "mix.h"

template <class T>
void mix_forward(const MixArgs<T>& args, const Parallel& parallel) {
  Mix<T>(args).forward(parallel);
}
template <class T>
void mix_backward(const MixArgs<T>& args, int threads, const Parallel& parallel) {
  Mix<T>(args).backward(threads, parallel);
}

template <class T>
void statistics(const T* y, T* mean, T* var, int64_t rows, int64_t parts, int64_t pixels, int64_t channels,
                const Parallel& parallel) {
  std::vector<double> m(rows * parts * channels), q(m.size());
  parallel(rows * parts, [&](int64_t lo, int64_t hi, int) {
    for (int64_t task = lo; task < hi; task++)
      Image<T>::moments(y + task * pixels * channels, pixels, channels, &m[task * channels], &q[task * channels]);
  });
  for (int64_t row = 0; row < rows; row++) {
    int64_t place = row * parts * channels;
    Image<T>::merge(&m[place], &q[place], parts, channels, (double)pixels, mean + row * channels, var + row * channels);
  }
}

template <class T>
void norm_forward(const NormArgs<T>& n) {
  for (int64_t i = 0; i < n.groups * n.channels; i++) {
    int64_t at = n.rows[i / n.channels] * n.channels + i % n.channels;
    n.inverse[i] = (T)(1 / std::sqrt((double)n.var[i] + norm_eps));
    n.scale[i] = n.gamma ? n.gamma[at] * n.inverse[i] : n.inverse[i];
    n.shift[i] = (n.beta ? n.beta[at] : T(0)) - n.mean[i] * n.scale[i];
  }
}

template <class T>
void norm_backward(const NormArgs<T>& n) {
  int64_t all = n.groups * n.channels;
  for (int64_t i = 0; i < all; i++) {
    int64_t at = n.rows[i / n.channels] * n.channels + i % n.channels;
    double total = n.sums[i], hat = n.sums[all + i] * n.inverse[i];
    if (n.dgamma) n.dgamma[at] += (T)hat, n.dbeta[at] += (T)total;
    if (!n.values) continue;
    double slope = -(double)n.scale[i] * n.inverse[i] * hat / n.values;
    n.p[i] = (T)slope;
    n.r[i] = (T)(-(double)n.scale[i] * total / n.values - slope * n.mean[i]);
  }
}

template <class T>
void update_running(T* mean, T* var, int64_t* count, const T* new_mean, const T* new_var, const int64_t* rows,
                    const int64_t* w_rows, int64_t updates, int64_t channels, int64_t values, double momentum) {
  T unbiased = (T)values / (T)(values - 1), old = 1 - momentum, fresh = momentum;
  for (int64_t i = 0; i < updates; i++) {
    T *m = mean + w_rows[i] * channels, *v = var + w_rows[i] * channels;
    const T *nm = new_mean + rows[i] * channels, *nv = new_var + rows[i] * channels;
    for (int64_t c = 0; c < channels; c++) {
      m[c] = old * m[c] + fresh * nm[c];
      v[c] = old * v[c] + fresh * unbiased * nv[c];
    }
    count[w_rows[i]]++;
  }
}

#define BOTH(T)                                                                                                      \
  template void mix_forward<T>(const MixArgs<T>&, const Parallel&);                                                  \
  template void mix_backward<T>(const MixArgs<T>&, int, const Parallel&);                                            \
  template void statistics<T>(const T*, T*, T*, int64_t, int64_t, int64_t, int64_t, const Parallel&);                \
  template void norm_forward<T>(const NormArgs<T>&);                                                                 \
  template void norm_backward<T>(const NormArgs<T>&);                                                                \
  template void update_running<T>(T*, T*, int64_t*, const T*, const T*, const int64_t*, const int64_t*, int64_t,     \
                                  int64_t, int64_t, double);
BOTH(float)
BOTH(double)
