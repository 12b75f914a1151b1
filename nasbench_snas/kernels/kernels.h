// Arguments of the kernels, free of torch, and their entry points. Shapes as in protocol.py; everything contiguous.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

// Runs body(first, last, thread) over parts of 0..count, on as many threads as torch uses.
using Parallel = std::function<void(int64_t, const std::function<void(int64_t, int64_t, int)>&)>;

enum class Kind : int64_t { depthwise = 0, point = 1, shifted = 2 };

struct Shape {
  int64_t batch, height, width, c_in, c_out, out_height, out_width;
};

struct UnitSpec {
  Kind kind;
  int64_t kernel, dilation, stride;
};

// The gradient of y as sum_q m_q a_q g[index_q] + p y + r.
template <class T>
struct Upstream {
  const T* g;
  const int64_t *index, *starts;
  const T *a, *p, *r, *mask;
};

template <class T>
struct UnitArgs {
  UnitSpec spec;
  Shape shape;
  int64_t x_count, groups;           // rows of x, rows of y
  const int64_t *x_rows, *w_rows;    // for every row of y
  const T* x;
  const T *scale, *shift, *mean;     // (x_count, c_in), or null
  const T *depthwise, *point;        // weights
  T* y;
  // forward
  T *y_mean, *y_var;                 // (groups, c_out), or null
  // backward
  Upstream<T> upstream;
  T* dx;
  bool overwrite;
  T *d_depthwise, *d_point;          // added to, or null
  double* sums;                      // (2, x_count, c_in), or null
};

template <class T>
void unit_forward(const UnitArgs<T>&, int threads, const Parallel&);
template <class T>
void unit_backward(const UnitArgs<T>&, int threads, const Parallel&);

template <class T>
struct PoolArgs {
  bool max;
  int64_t rows, stride;
  Shape shape;
  const T* x;
  T* y;
  T *y_mean, *y_var;
  Upstream<T> upstream;
  T* dx;
};

template <class T>
void pool_forward(const PoolArgs<T>&, int threads, const Parallel&);
template <class T>
void pool_backward(const PoolArgs<T>&, int threads, const Parallel&);
template <class T>
void add_upstream(const Upstream<T>&, T* dx, int64_t rows, const Shape&, const Parallel&);
// y (rows, parts, pixels, channels) -> mean and biased variance (rows, channels)
template <class T>
void statistics(const T* y, T* mean, T* var, int64_t rows, int64_t parts, int64_t pixels, int64_t channels, const Parallel&);

template <class T>
struct MixCandidate {
  const T *y, *mean, *var, *gamma, *beta;  // all but y may be null
  int64_t rows;
  T *dgamma, *dbeta;                       // may be null
  T *p, *r;                                // (rows, channels), backward with batch statistics
};

template <class T>
struct MixArgs {
  std::vector<MixCandidate<T>> candidates;
  const int64_t* table;  // (entries, 6)
  int64_t entries, targets;
  const T *z, *mask;     // mask (entries, batch), or null
  Shape shape;           // height, width, c_out of the nodes
  T* out;                // forward
  const T* g;            // backward
  T *dz, *a;             // a (entries, channels)
};

template <class T>
void mix_forward(const MixArgs<T>&, const Parallel&);
template <class T>
void mix_backward(const MixArgs<T>&, int threads, const Parallel&);
