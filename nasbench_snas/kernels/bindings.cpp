// The kernels as functions of tensors.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>
#include <cmath>

#include "kernels.h"

using at::Tensor;
using Maybe = std::optional<Tensor>;
using List = std::vector<Tensor>;

namespace {

void parallel(int64_t count, const std::function<void(int64_t, int64_t, int)>& body) {
  at::parallel_for(0, count, 1, [&](int64_t lo, int64_t hi) { body(lo, hi, at::get_thread_num()); });
}

template <class T>
T* data(const Tensor& t) {
  TORCH_CHECK(t.is_contiguous() && t.device().is_cpu(), "expected a contiguous CPU tensor");
  return t.data_ptr<T>();
}
template <class T>
T* data(const Maybe& t) {
  return t.has_value() ? data<T>(*t) : nullptr;
}

struct UpstreamTensors {
  Tensor g, index, starts, a;
  Maybe p, r, mask;
};

template <class T>
Upstream<T> pointers(const UpstreamTensors& u) {
  return {data<T>(u.g), data<int64_t>(u.index), data<int64_t>(u.starts), data<T>(u.a),
          data<T>(u.p), data<T>(u.r),           data<T>(u.mask)};
}

Shape shape_of(const Tensor& x, int64_t c_out, int64_t stride) {
  TORCH_CHECK(x.dim() == 5, "expected (rows, B, H, W, C)");
  return {x.size(1), x.size(2), x.size(3), x.size(4), c_out, (x.size(2) - 1) / stride + 1, (x.size(3) - 1) / stride + 1};
}

template <class T>
UnitArgs<T> unit_args(const UnitSpec& spec, const Tensor& x, const Maybe& scale, const Maybe& shift, const List& weights,
                      const Tensor& x_rows, const Tensor& w_rows) {
  UnitArgs<T> args{};
  args.spec = spec;
  args.shape = shape_of(x, weights.back().size(2), spec.stride);
  args.x_count = x.size(0);
  args.groups = x_rows.numel();
  args.x_rows = data<int64_t>(x_rows);
  args.w_rows = data<int64_t>(w_rows);
  args.x = data<T>(x);
  args.scale = data<T>(scale);
  args.shift = data<T>(shift);
  args.depthwise = spec.kind == Kind::depthwise ? data<T>(weights[0]) : nullptr;
  args.point = data<T>(weights.back());
  return args;
}

UnitSpec spec_of(int64_t kind, int64_t kernel, int64_t dilation, int64_t stride) {
  return {(Kind)kind, kernel, dilation, stride};
}

std::tuple<Tensor, Maybe, Maybe> unit_forward_(int64_t kind, int64_t kernel, int64_t dilation, int64_t stride, Tensor x,
                                               Maybe scale, Maybe shift, List weights, Tensor x_rows, Tensor w_rows,
                                               bool with_statistics) {
  Tensor y;
  Maybe mean, var;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "unit_forward", [&] {
    auto args = unit_args<scalar_t>(spec_of(kind, kernel, dilation, stride), x, scale, shift, weights, x_rows, w_rows);
    const Shape& s = args.shape;
    y = at::empty({args.groups, s.batch, s.out_height, s.out_width, s.c_out}, x.options());
    args.y = data<scalar_t>(y);
    if (with_statistics) {
      mean = at::empty({args.groups, s.c_out}, x.options());
      var = at::empty({args.groups, s.c_out}, x.options());
      args.y_mean = data<scalar_t>(mean);
      args.y_var = data<scalar_t>(var);
    }
    unit_forward<scalar_t>(args, at::get_num_threads(), parallel);
  });
  return {y, mean, var};
}

Maybe unit_backward_(int64_t kind, int64_t kernel, int64_t dilation, int64_t stride, Tensor x, Maybe scale, Maybe shift,
                     Maybe mean, List weights, Tensor x_rows, Tensor w_rows, Tensor y, UpstreamTensors upstream, Tensor dx,
                     bool overwrite, List dweights) {
  Maybe sums;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "unit_backward", [&] {
    auto args = unit_args<scalar_t>(spec_of(kind, kernel, dilation, stride), x, scale, shift, weights, x_rows, w_rows);
    args.mean = data<scalar_t>(mean);
    args.y = data<scalar_t>(y);
    args.upstream = pointers<scalar_t>(upstream);
    args.dx = data<scalar_t>(dx);
    args.overwrite = overwrite;
    if (!dweights.empty()) {
      args.d_depthwise = args.depthwise ? data<scalar_t>(dweights[0]) : nullptr;
      args.d_point = data<scalar_t>(dweights.back());
    }
    if (args.scale) {
      sums = at::empty({2, args.x_count, args.shape.c_in}, x.options().dtype(at::kDouble));
      args.sums = data<double>(sums);
    }
    unit_backward<scalar_t>(args, at::get_num_threads(), parallel);
  });
  return sums;
}

std::tuple<Tensor, Maybe, Maybe> pool_forward_(bool max, int64_t stride, Tensor x, bool with_statistics) {
  Shape s = shape_of(x, x.size(4), stride);
  Tensor y = at::empty({x.size(0), s.batch, s.out_height, s.out_width, s.c_in}, x.options());
  Maybe mean, var;
  if (with_statistics) {
    mean = at::empty({x.size(0), s.c_in}, x.options());
    var = at::empty({x.size(0), s.c_in}, x.options());
  }
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "pool_forward", [&] {
    PoolArgs<scalar_t> args{};
    args.max = max, args.rows = x.size(0), args.stride = stride, args.shape = s;
    args.x = data<scalar_t>(x), args.y = data<scalar_t>(y);
    args.y_mean = data<scalar_t>(mean), args.y_var = data<scalar_t>(var);
    pool_forward<scalar_t>(args, at::get_num_threads(), parallel);
  });
  return {y, mean, var};
}

void pool_backward_(bool max, int64_t stride, Tensor x, Tensor y, UpstreamTensors upstream, Tensor dx) {
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "pool_backward", [&] {
    PoolArgs<scalar_t> args{};
    args.max = max, args.rows = x.size(0), args.stride = stride, args.shape = shape_of(x, x.size(4), stride);
    args.x = data<scalar_t>(x), args.y = data<scalar_t>(y);
    args.upstream = pointers<scalar_t>(upstream), args.dx = data<scalar_t>(dx);
    pool_backward<scalar_t>(args, at::get_num_threads(), parallel);
  });
}

void add_upstream_(UpstreamTensors upstream, Tensor dx) {
  AT_DISPATCH_FLOATING_TYPES(dx.scalar_type(), "add_upstream", [&] {
    add_upstream<scalar_t>(pointers<scalar_t>(upstream), data<scalar_t>(dx), dx.size(0), shape_of(dx, dx.size(4), 1),
                           parallel);
  });
}

std::tuple<Tensor, Tensor> statistics_(Tensor y) {
  Tensor mean = at::empty({y.size(0), y.size(-1)}, y.options()), var = at::empty_like(mean);
  int64_t parts = y.dim() > 3 ? y.size(1) : 1, pixels = y.numel() / (y.size(0) * parts * y.size(-1));
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "statistics", [&] {
    statistics<scalar_t>(data<scalar_t>(y), data<scalar_t>(mean), data<scalar_t>(var), y.size(0), parts, pixels,
                         y.size(-1), parallel);
  });
  return {mean, var};
}

// Lists have one element for each candidate; undefined tensors stand for None.
template <class T>
MixArgs<T> mix_args(const Tensor& z, const Tensor& table, const Maybe& mask, const Tensor& nodes, const List& ys,
                    const std::vector<std::vector<Maybe>>& norms) {
  MixArgs<T> args{};
  args.table = data<int64_t>(table);
  args.entries = table.size(0);
  args.targets = nodes.size(0);
  args.z = data<T>(z);
  args.mask = data<T>(mask);
  args.shape = shape_of(nodes, nodes.size(4), 1);
  for (size_t i = 0; i < ys.size(); i++) {
    TORCH_CHECK(ys[i].sizes().slice(1) == nodes.sizes().slice(1), "a candidate and its node differ in shape");
    const auto& n = norms[i];
    MixCandidate<T> candidate{};
    candidate.y = data<T>(ys[i]), candidate.rows = ys[i].size(0);
    candidate.mean = data<T>(n[0]), candidate.var = data<T>(n[1]);
    candidate.gamma = data<T>(n[2]), candidate.beta = data<T>(n[3]);
    args.candidates.push_back(candidate);
  }
  return args;
}

void mix_forward_(Tensor z, Tensor table, Maybe mask, List ys, std::vector<std::vector<Maybe>> norms, Tensor out) {
  AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "mix_forward", [&] {
    auto args = mix_args<scalar_t>(z, table, mask, out, ys, norms);
    args.out = data<scalar_t>(out);
    mix_forward<scalar_t>(args, parallel);
  });
}

// Returns a, p and r of every candidate (p and r None without batch statistics); `counts` are its entries.
std::vector<std::tuple<Tensor, Maybe, Maybe>> mix_backward_(
    Tensor z, Tensor table, Maybe mask, List ys, std::vector<std::vector<Maybe>> norms, Tensor g, Tensor dz,
    std::vector<Maybe> dgammas, std::vector<Maybe> dbetas, std::vector<int64_t> counts, bool batch_statistics) {
  Tensor a = at::empty({table.size(0), g.size(4)}, z.options());
  std::vector<Maybe> ps(ys.size()), rs(ys.size());
  AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "mix_backward", [&] {
    auto args = mix_args<scalar_t>(z, table, mask, g, ys, norms);
    for (size_t i = 0; i < ys.size(); i++) {
      auto& k = args.candidates[i];
      k.dgamma = data<scalar_t>(dgammas[i]), k.dbeta = data<scalar_t>(dbetas[i]);
      if (k.mean && batch_statistics) {
        ps[i] = at::zeros({k.rows, g.size(4)}, z.options());
        rs[i] = at::zeros({k.rows, g.size(4)}, z.options());
        k.p = data<scalar_t>(ps[i]), k.r = data<scalar_t>(rs[i]);
      }
    }
    args.g = data<scalar_t>(g), args.dz = data<scalar_t>(dz), args.a = data<scalar_t>(a);
    mix_backward<scalar_t>(args, at::get_num_threads(), parallel);
  });
  std::vector<std::tuple<Tensor, Maybe, Maybe>> result;
  for (size_t i = 0, first = 0; i < ys.size(); first += counts[i++])
    result.emplace_back(a.narrow(0, first, counts[i]), ps[i], rs[i]);
  return result;
}

void update_running_(Tensor mean, Tensor var, Tensor count, Tensor new_mean, Tensor new_var, Tensor rows, Tensor w_rows,
                     int64_t values, double momentum) {
  int64_t channels = mean.size(1);
  const int64_t *row = data<int64_t>(rows), *edge = data<int64_t>(w_rows);
  AT_DISPATCH_FLOATING_TYPES(mean.scalar_type(), "update_running", [&] {
    scalar_t *m = data<scalar_t>(mean), *v = data<scalar_t>(var);
    const scalar_t *nm = data<scalar_t>(new_mean), *nv = data<scalar_t>(new_var);
    scalar_t unbiased = (scalar_t)values / (scalar_t)(values - 1), old = 1 - momentum, fresh = momentum;
    for (int64_t i = 0; i < rows.numel(); i++) {
      for (int64_t c = 0; c < channels; c++) {
        m[edge[i] * channels + c] = old * m[edge[i] * channels + c] + fresh * nm[row[i] * channels + c];
        v[edge[i] * channels + c] = old * v[edge[i] * channels + c] + fresh * unbiased * nv[row[i] * channels + c];
      }
      data<int64_t>(count)[edge[i]]++;
    }
  });
}

// A batch norm of every row of (G, C): gamma / sigma, beta - gamma mean / sigma, 1 / sigma.
std::tuple<Tensor, Tensor, Tensor> norm_forward_(Tensor mean, Tensor var, Maybe gamma, Maybe beta, Tensor rows, double eps) {
  Tensor scale = at::empty_like(mean), shift = at::empty_like(mean), inverse = gamma ? at::empty_like(mean) : scale;
  int64_t channels = mean.size(1);
  const int64_t* edge = data<int64_t>(rows);
  AT_DISPATCH_FLOATING_TYPES(mean.scalar_type(), "norm_forward", [&] {
    const scalar_t *m = data<scalar_t>(mean), *v = data<scalar_t>(var), *ga = data<scalar_t>(gamma), *be = data<scalar_t>(beta);
    scalar_t *sc = data<scalar_t>(scale), *sh = data<scalar_t>(shift), *in = data<scalar_t>(inverse);
    for (int64_t i = 0; i < mean.numel(); i++) {
      int64_t at = edge[i / channels] * channels + i % channels;
      in[i] = (scalar_t)(1 / std::sqrt((double)v[i] + eps));
      sc[i] = ga ? ga[at] * in[i] : in[i];
      sh[i] = (be ? be[at] : scalar_t(0)) - m[i] * sc[i];
    }
  });
  return {scale, shift, inverse};
}

// From sums <t, 1>, <t, y - mean> (2, G, C): adds to dgamma and dbeta; returns p and r if there are `values` a channel.
std::tuple<Maybe, Maybe> norm_backward_(Tensor scale, Tensor mean, Tensor inverse, Tensor sums, Tensor rows, Maybe dgamma,
                                        Maybe dbeta, int64_t values) {
  Maybe p, r;
  int64_t channels = mean.size(1), all = mean.numel();
  if (values) p = at::empty_like(mean), r = at::empty_like(mean);
  const int64_t* edge = data<int64_t>(rows);
  const double* sum = data<double>(sums);
  AT_DISPATCH_FLOATING_TYPES(mean.scalar_type(), "norm_backward", [&] {
    const scalar_t *sc = data<scalar_t>(scale), *m = data<scalar_t>(mean), *in = data<scalar_t>(inverse);
    scalar_t *dg = data<scalar_t>(dgamma), *db = data<scalar_t>(dbeta), *pp = data<scalar_t>(p), *rr = data<scalar_t>(r);
    for (int64_t i = 0; i < all; i++) {
      int64_t at = edge[i / channels] * channels + i % channels;
      double total = sum[i], hat = sum[all + i] * in[i];
      if (dg) dg[at] += (scalar_t)hat, db[at] += (scalar_t)total;
      if (!values) continue;
      double slope = -(double)sc[i] * in[i] * hat / values;
      pp[i] = (scalar_t)slope;
      rr[i] = (scalar_t)(-(double)sc[i] * total / values - slope * m[i]);
    }
  });
  return {p, r};
}

// softmax((logits + noise) / tau) over the last dimension; logits are repeated over noise's leading dimensions.
Tensor concrete_forward_(Tensor logits, Tensor noise, double tau) {
  Tensor z = at::empty_like(noise);
  int64_t k = noise.size(-1), rows = noise.numel() / k, period = logits.numel() / k;
  AT_DISPATCH_FLOATING_TYPES(noise.scalar_type(), "concrete_forward", [&] {
    const scalar_t *l = data<scalar_t>(logits), *n = data<scalar_t>(noise);
    scalar_t* out = data<scalar_t>(z);
    for (int64_t i = 0; i < rows; i++) {
      const scalar_t *a = l + i % period * k, *b = n + i * k;
      scalar_t *o = out + i * k, top = a[0] + b[0], total = 0;
      for (int64_t j = 0; j < k; j++) {
        o[j] = a[j] + b[j];
        if (o[j] > top || o[j] != o[j]) top = o[j];
      }
      for (int64_t j = 0; j < k; j++) total += o[j] = std::exp((o[j] - top) / (scalar_t)tau);
      for (int64_t j = 0; j < k; j++) o[j] /= total;
    }
  });
  return z;
}

Tensor concrete_backward_(Tensor z, Tensor g, double tau) {
  Tensor d = at::empty_like(z);
  int64_t k = z.size(-1), rows = z.numel() / k;
  AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "concrete_backward", [&] {
    const scalar_t *zz = data<scalar_t>(z), *gg = data<scalar_t>(g);
    scalar_t* out = data<scalar_t>(d);
    for (int64_t i = 0; i < rows; i++, zz += k, gg += k, out += k) {
      scalar_t dot = 0;
      for (int64_t j = 0; j < k; j++) dot += zz[j] * gg[j];
      for (int64_t j = 0; j < k; j++) out[j] = zz[j] * (gg[j] - dot) / (scalar_t)tau;
    }
  });
  return d;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  py::class_<UpstreamTensors>(m, "Upstream").def(py::init<Tensor, Tensor, Tensor, Tensor, Maybe, Maybe, Maybe>());
  m.def("unit_forward", &unit_forward_, py::call_guard<py::gil_scoped_release>());
  m.def("unit_backward", &unit_backward_, py::call_guard<py::gil_scoped_release>());
  m.def("pool_forward", &pool_forward_, py::call_guard<py::gil_scoped_release>());
  m.def("pool_backward", &pool_backward_, py::call_guard<py::gil_scoped_release>());
  m.def("add_upstream", &add_upstream_, py::call_guard<py::gil_scoped_release>());
  m.def("statistics", &statistics_, py::call_guard<py::gil_scoped_release>());
  m.def("mix_forward", &mix_forward_, py::call_guard<py::gil_scoped_release>());
  m.def("mix_backward", &mix_backward_, py::call_guard<py::gil_scoped_release>());
  m.def("update_running", &update_running_);
  m.def("norm_forward", &norm_forward_);
  m.def("norm_backward", &norm_backward_);
  m.def("concrete_forward", &concrete_forward_);
  m.def("concrete_backward", &concrete_backward_);
}
