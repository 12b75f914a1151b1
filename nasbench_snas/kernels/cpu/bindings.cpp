// The kernels as functions of tensors.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>
#include <algorithm>

#include "blocks.h"
#include "cell.h"
#include "concrete.h"

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
// Uninitialised numbers in memory that is kept for the next step.
Tensor kept_memory(int64_t count, const at::TensorOptions& options) {
  Blocks::Block block = Blocks::shared().take(std::max<int64_t>(1, count) * options.dtype().itemsize());
  return at::from_blob(block.memory, {count}, [block](void*) { Blocks::shared().give(block); }, options);
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

Images images_of(const Tensor& x) {
  TORCH_CHECK(x.dim() == 5, "expected (rows, B, H, W, C)");
  return {x.size(0), x.size(1), x.size(2), x.size(3), x.size(4)};
}

Tensor images_like(const Images& i, const Tensor& x) {
  return at::empty({i.rows, i.batch, i.height, i.width, i.channels}, x.options());
}

template <class T>
Input<T> input_of(const Tensor& x, const Maybe& scale, const Maybe& shift) {
  Input<T> in{};
  in.images = images_of(x), in.x = data<T>(x), in.scale = data<T>(scale), in.shift = data<T>(shift);
  return in;
}

template <class T>
UnitArgs<T> unit_args(const UnitSpec& spec, const List& weights, const Tensor& x_rows, const Tensor& w_rows) {
  UnitArgs<T> args{};
  args.spec = spec;
  args.groups = x_rows.numel(), args.c_out = weights.back().size(spec.kind == Kind::dense ? 1 : 2);
  args.x_rows = data<int64_t>(x_rows), args.w_rows = data<int64_t>(w_rows);
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
    auto in = input_of<scalar_t>(x, scale, shift);
    auto args = unit_args<scalar_t>(spec_of(kind, kernel, dilation, stride), weights, x_rows, w_rows);
    y = images_like(in.images.strided(args.groups, stride, args.c_out), x);
    args.y = data<scalar_t>(y);
    if (with_statistics) {
      mean = at::empty({args.groups, args.c_out}, x.options());
      var = at::empty({args.groups, args.c_out}, x.options());
      args.y_mean = data<scalar_t>(mean), args.y_var = data<scalar_t>(var);
    }
    in.units.push_back(args);
    stage_forward<scalar_t>({in}, at::get_num_threads(), parallel);
  });
  return {y, mean, var};
}

Maybe unit_backward_(int64_t kind, int64_t kernel, int64_t dilation, int64_t stride, Tensor x, Maybe scale, Maybe shift,
                     Maybe mean, List weights, Tensor x_rows, Tensor w_rows, Tensor y, UpstreamTensors upstream, Tensor dx,
                     bool overwrite, List dweights) {
  Maybe sums;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "unit_backward", [&] {
    auto in = input_of<scalar_t>(x, scale, shift);
    auto args = unit_args<scalar_t>(spec_of(kind, kernel, dilation, stride), weights, x_rows, w_rows);
    args.y = data<scalar_t>(y);
    args.upstream = pointers<scalar_t>(upstream);
    if (!dweights.empty()) {
      args.d_depthwise = args.depthwise ? data<scalar_t>(dweights[0]) : nullptr;
      args.d_point = data<scalar_t>(dweights.back());
    }
    in.mean = data<scalar_t>(mean), in.dx = data<scalar_t>(dx), in.overwrite = overwrite;
    if (in.scale) {
      sums = at::empty({2, in.images.rows, in.images.channels}, x.options().dtype(at::kDouble));
      in.sums = data<double>(sums);
    }
    in.units.push_back(args);
    stage_backward<scalar_t>({in}, at::get_num_threads(), parallel);
  });
  return sums;
}

std::tuple<Tensor, Maybe, Maybe> pool_forward_(bool max, int64_t stride, Tensor x, bool with_statistics) {
  Images images = images_of(x);
  Tensor y = images_like(images.strided(images.rows, stride, images.channels), x);
  Maybe mean, var;
  if (with_statistics) mean = at::empty({x.size(0), x.size(4)}, x.options()), var = at::empty_like(*mean);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "pool_forward", [&] {
    auto in = input_of<scalar_t>(x, std::nullopt, std::nullopt);
    in.pools.push_back({max, stride, data<scalar_t>(y), data<scalar_t>(mean), data<scalar_t>(var), {}});
    stage_forward<scalar_t>({in}, at::get_num_threads(), parallel);
  });
  return {y, mean, var};
}

void pool_backward_(bool max, int64_t stride, Tensor x, Tensor y, UpstreamTensors upstream, Tensor dx) {
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "pool_backward", [&] {
    auto in = input_of<scalar_t>(x, std::nullopt, std::nullopt);
    in.dx = data<scalar_t>(dx);
    in.pools.push_back({max, stride, data<scalar_t>(y), nullptr, nullptr, pointers<scalar_t>(upstream)});
    stage_backward<scalar_t>({in}, at::get_num_threads(), parallel);
  });
}

void add_upstream_(UpstreamTensors upstream, Tensor dx) {
  AT_DISPATCH_FLOATING_TYPES(dx.scalar_type(), "add_upstream", [&] {
    auto in = input_of<scalar_t>(dx, std::nullopt, std::nullopt);
    in.dx = data<scalar_t>(dx);
    in.identities.push_back(pointers<scalar_t>(upstream));
    stage_backward<scalar_t>({in}, at::get_num_threads(), parallel);
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
  args.z = data<T>(z);
  args.mask = data<T>(mask);
  args.nodes = images_of(nodes);
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
  AT_DISPATCH_FLOATING_TYPES(mean.scalar_type(), "update_running", [&] {
    update_running<scalar_t>(data<scalar_t>(mean), data<scalar_t>(var), data<int64_t>(count), data<scalar_t>(new_mean),
                             data<scalar_t>(new_var), data<int64_t>(rows), data<int64_t>(w_rows), rows.numel(), mean.size(1),
                             values, momentum);
  });
}

template <class T>
NormArgs<T> norm_args(const Tensor& scale, const Tensor& mean, const Tensor& inverse, const Tensor& rows) {
  NormArgs<T> args{};
  args.groups = mean.size(0), args.channels = mean.size(1), args.rows = data<int64_t>(rows);
  args.mean = data<T>(mean), args.scale = data<T>(scale), args.inverse = data<T>(inverse);
  return args;
}

// A batch norm of every row of (G, C): gamma / sigma, beta - gamma mean / sigma, 1 / sigma.
std::tuple<Tensor, Tensor, Tensor> norm_forward_(Tensor mean, Tensor var, Maybe gamma, Maybe beta, Tensor rows) {
  Tensor scale = at::empty_like(mean), shift = at::empty_like(mean), inverse = gamma ? at::empty_like(mean) : scale;
  AT_DISPATCH_FLOATING_TYPES(mean.scalar_type(), "norm_forward", [&] {
    auto args = norm_args<scalar_t>(scale, mean, inverse, rows);
    args.var = data<scalar_t>(var), args.gamma = data<scalar_t>(gamma), args.beta = data<scalar_t>(beta);
    args.shift = data<scalar_t>(shift);
    norm_forward<scalar_t>(args);
  });
  return {scale, shift, inverse};
}

// From sums <t, 1>, <t, y - mean> (2, G, C): adds to dgamma and dbeta; returns p and r if there are `values` a channel.
std::tuple<Maybe, Maybe> norm_backward_(Tensor scale, Tensor mean, Tensor inverse, Tensor sums, Tensor rows, Maybe dgamma,
                                        Maybe dbeta, int64_t values) {
  Maybe p, r;
  if (values) p = at::empty_like(mean), r = at::empty_like(mean);
  AT_DISPATCH_FLOATING_TYPES(mean.scalar_type(), "norm_backward", [&] {
    auto args = norm_args<scalar_t>(scale, mean, inverse, rows);
    args.sums = data<double>(sums), args.values = values;
    args.dgamma = data<scalar_t>(dgamma), args.dbeta = data<scalar_t>(dbeta);
    args.p = data<scalar_t>(p), args.r = data<scalar_t>(r);
    norm_backward<scalar_t>(args);
  });
  return {p, r};
}

// softmax((logits + noise) / tau) over the last dimension; logits are repeated over noise's leading dimensions.
Tensor concrete_forward_(Tensor logits, Tensor noise, double tau) {
  Tensor z = at::empty_like(noise);
  int64_t k = noise.size(-1);
  AT_DISPATCH_FLOATING_TYPES(noise.scalar_type(), "concrete_forward", [&] {
    concrete_forward<scalar_t>(data<scalar_t>(logits), data<scalar_t>(noise), data<scalar_t>(z), noise.numel() / k,
                               logits.numel() / k, k, (scalar_t)tau);
  });
  return z;
}

Tensor concrete_backward_(Tensor z, Tensor g, double tau) {
  Tensor d = at::empty_like(z);
  int64_t k = z.size(-1);
  AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "concrete_backward", [&] {
    concrete_backward<scalar_t>(data<scalar_t>(z), data<scalar_t>(g), data<scalar_t>(d), z.numel() / k, k, (scalar_t)tau);
  });
  return d;
}

// Tensors of a cell by type; `buffers` are running mean, variance and count of every unit with a norm.
template <class T>
CellTensors<T> cell_tensors(const List& inputs, const Tensor& z, const List& parameters, const List& buffers,
                            const Maybe& mask) {
  CellTensors<T> tensors{};
  for (const Tensor& t : inputs) tensors.inputs.push_back(data<T>(t));
  for (const Tensor& t : parameters) tensors.parameters.push_back(data<T>(t));
  for (size_t i = 0; i + 2 < buffers.size(); i += 3) {
    tensors.mean.push_back(data<T>(buffers[i])), tensors.var.push_back(data<T>(buffers[i + 1]));
    tensors.count.push_back(data<int64_t>(buffers[i + 2]));
  }
  tensors.z = data<T>(z), tensors.mask = data<T>(mask);
  return tensors;
}

using Plan = std::shared_ptr<const CellPlan>;

// Returns the output, the arena (what the backward pass needs) and the plan. `used` is bool, (draws, edges, operations).
std::tuple<Tensor, Tensor, Plan> cell_forward_(const CellDeclaration& cell, List inputs, Tensor z, Tensor used, List parameters,
                                               List buffers, Maybe mask, bool training, bool update) {
  TORCH_CHECK(used.dim() == 3 && used.size(1) == (int64_t)cell.edges.size() && used.size(2) == (int64_t)cell.operations.size(),
              "expected (draws, edges, operations), got ", used.sizes());
  TORCH_CHECK(z.numel() == used.numel() && (int64_t)inputs.size() == cell.inputs, "weights or inputs of another cell");
  std::vector<Images> shapes;
  for (const Tensor& x : inputs) {
    shapes.push_back(images_of(x));
    TORCH_CHECK(x.size(0) == 1 || x.size(0) == used.size(0), "an input has ", x.size(0), " rows for ", used.size(0), " draws");
    TORCH_CHECK(x.size(1) == inputs[0].size(1), "inputs differ in their number of images");
  }
  TORCH_CHECK(!mask || (mask->size(0) == used.size(1) && mask->size(1) == inputs[0].size(1)), "expected a mask (edges, B)");
  auto plan = std::make_shared<const CellPlan>(plan_cell(cell, shapes, used.size(0), data<bool>(used), training));
  const Images& n = plan->nodes;
  Tensor arena = kept_memory(plan->arena, z.options());
  Tensor out = at::empty({plan->draws, n.batch, n.height, n.width, cell.concat ? cell.nodes * n.channels : n.channels}, z.options());
  AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "cell_forward", [&] {
    CellRun<scalar_t> run{cell, *plan, cell_tensors<scalar_t>(inputs, z, parameters, buffers, mask), at::get_num_threads(), parallel};
    run.forward(data<scalar_t>(arena), data<scalar_t>(out), update);
  });
  return {out, arena, plan};
}

// Returns the gradients of the inputs, of z and of the parameters (None where no operation in use has it).
std::tuple<List, Tensor, std::vector<Maybe>> cell_backward_(const CellDeclaration& cell, Plan plan, List inputs, Tensor z,
                                                            List parameters, List buffers, Maybe mask, Tensor arena, Tensor g,
                                                            bool wanted) {
  Tensor dz = at::zeros_like(z), workspace = kept_memory(plan->workspace, z.options());
  List dinputs;
  for (const Tensor& x : inputs) dinputs.push_back(at::empty_like(x));
  std::vector<Maybe> gradients(parameters.size());
  AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "cell_backward", [&] {
    CellRun<scalar_t> run{cell, *plan, cell_tensors<scalar_t>(inputs, z, parameters, buffers, mask), at::get_num_threads(), parallel};
    std::vector<scalar_t*> dx;
    for (const Tensor& t : dinputs) dx.push_back(data<scalar_t>(t));
    run.backward(data<scalar_t>(arena), data<scalar_t>(workspace), data<scalar_t>(g), dx, data<scalar_t>(dz), [&](int64_t i) {
      if (!wanted) return (scalar_t*)nullptr;
      if (!gradients[i]) gradients[i] = at::zeros_like(parameters[i], {}, at::MemoryFormat::Contiguous);
      return data<scalar_t>(gradients[i]);
    });
  });
  return {dinputs, dz, gradients};
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  py::class_<UpstreamTensors>(m, "Upstream", py::module_local()).def(py::init<Tensor, Tensor, Tensor, Tensor, Maybe, Maybe, Maybe>());
  py::class_<UnitDeclaration>(m, "Unit", py::module_local()).def(
      py::init([](int64_t kind, int64_t kernel, int64_t dilation, int64_t stride, int64_t c_in, int64_t c_out, int64_t depthwise,
                  int64_t point, int64_t gamma, int64_t beta, int64_t running) {
        return UnitDeclaration{spec_of(kind, kernel, dilation, stride), c_in, c_out, depthwise, point, gamma, beta, running};
      }));
  py::class_<OperationDeclaration>(m, "Operation", py::module_local()).def(py::init([](int64_t kind, bool max, std::vector<UnitDeclaration> units) {
    return OperationDeclaration{(OperationDeclaration::Kind)kind, max, std::move(units)};
  }));
  py::class_<CellPlan, std::shared_ptr<CellPlan>>(m, "CellPlan", py::module_local());
  py::class_<CellDeclaration>(m, "Cell", py::module_local())
      .def(py::init([](int64_t inputs, int64_t nodes, int64_t channels, bool concat, std::vector<std::array<int64_t, 2>> edges,
                       std::vector<int64_t> strides, std::vector<OperationDeclaration> operations,
                       std::vector<int64_t> skip_rows, std::vector<UnitDeclaration> preprocess) {
        return CellDeclaration{inputs, nodes, channels, concat, edges, strides, operations, skip_rows, preprocess};
      }))
      .def("forward", &cell_forward_, py::call_guard<py::gil_scoped_release>())
      .def("backward", &cell_backward_, py::call_guard<py::gil_scoped_release>());
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
