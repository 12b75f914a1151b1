// Arguments of the kernels, free of torch, and their entry points. Shapes as in protocol.py; everything contiguous.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

// Runs body(first, last, thread) over parts of 0..count, on as many threads as torch uses.
using Parallel = std::function<void(int64_t, const std::function<void(int64_t, int64_t, int)>&)>;

enum class Kind : int64_t { depthwise = 0, point = 1, shifted = 2, dense = 3 };

struct UnitSpec {
  Kind kind;
  int64_t kernel, dilation, stride;
};

// A tensor (rows, batch, height, width, channels).
struct Images {
  int64_t rows, batch, height, width, channels;
  int64_t pixels() const { return height * width; }
  int64_t image() const { return pixels() * channels; }
  int64_t size() const { return rows * batch * image(); }
  Images strided(int64_t new_rows, int64_t stride, int64_t new_channels) const {
    return {new_rows, batch, (height - 1) / stride + 1, (width - 1) / stride + 1, new_channels};
  }
};

// The gradient of y as sum_q m_q a_q g[index_q] + p y + r.
template <class T>
struct Upstream {
  const T* g;
  const int64_t *index, *starts;
  const T *a, *p, *r, *mask;
};

// A ReLU-convolution unit on some rows of an input.
template <class T>
struct UnitArgs {
  UnitSpec spec;
  int64_t groups, c_out;             // rows and channels of y
  const int64_t *x_rows, *w_rows;    // for every row of y
  const T *depthwise, *point;        // weights; those of a dense convolution are at `point`, (rows, c_out, c_in, k, k)
  T* y;
  T *y_mean, *y_var;                 // (groups, c_out), or null
  Upstream<T> upstream;              // backward
  T *d_depthwise, *d_point;          // backward: added to, or null
};

// A 3x3 pooling of all rows of an input.
template <class T>
struct PoolArgs {
  bool max;
  int64_t stride;
  T* y;
  T *y_mean, *y_var;
  Upstream<T> upstream;
};

// Images, and all that reads them. Units see relu(scale x + shift).
template <class T>
struct Input {
  Images images;
  const T* x;
  const T *scale, *shift, *mean;     // (rows, channels), or null
  std::vector<UnitArgs<T>> units;
  std::vector<PoolArgs<T>> pools;
  // backward
  T* dx;
  bool overwrite;                    // dx is uninitialised
  double* sums;                      // (2, rows, channels), or null: <d, 1> and <d, x - mean> of the units
  std::vector<Upstream<T>> identities;  // further gradients of x
};

template <class T>
using Stage = std::vector<Input<T>>;

// All units and poolings of all inputs, which have one batch size.
template <class T>
void stage_forward(const Stage<T>&, int threads, const Parallel&);
template <class T>
void stage_backward(const Stage<T>&, int threads, const Parallel&);

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
  int64_t entries;
  const T *z, *mask;     // mask (entries, batch), or null
  Images nodes;
  T* out;                // forward
  const T* g;            // backward
  T *dz, *a;             // a (entries, channels)
};

template <class T>
void mix_forward(const MixArgs<T>&, const Parallel&);
template <class T>
void mix_backward(const MixArgs<T>&, int threads, const Parallel&);

// The scale, shift and inverse deviation of a batch norm of every row; `rows` are those of gamma and beta.
template <class T>
struct NormArgs {
  int64_t groups, channels;
  const int64_t* rows;
  const T *mean, *var, *gamma, *beta;
  T *scale, *shift, *inverse;
  // backward, with `values` a channel (0: constants)
  const double* sums;
  T *dgamma, *dbeta, *p, *r;
  int64_t values;
};
constexpr double norm_eps = 1e-5;
template <class T>
void norm_forward(const NormArgs<T>&);
template <class T>
void norm_backward(const NormArgs<T>&);

// Running mean, variance and count take mean[rows[i]], var[rows[i]] into row w_rows[i], one after another.
template <class T>
void update_running(T* mean, T* var, int64_t* count, const T* new_mean, const T* new_var, const int64_t* rows,
                    const int64_t* w_rows, int64_t updates, int64_t channels, int64_t values, double momentum);
