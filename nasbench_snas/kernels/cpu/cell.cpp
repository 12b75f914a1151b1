// Runs a planned cell forward and backward, source by source; formulas in protocol.py.
#include "cell.h"

#include <algorithm>
#include <cstring>

namespace {

constexpr double momentum = 0.1;

// A source's candidates while they run: everything that is made anew for each pass.
template <class T>
class Pass {
 public:
  Pass(const CellRun<T>& run, const MixPlan& mix, T* arena) : run(run), plan(run.plan), mix(mix), arena(arena) {}

  void forward_units(const std::vector<std::pair<Images, const T*>>& sources, bool update) {
    for (size_t depth = 0; depth < deepest(); depth++) {
      Stage<T> stage = stage_at(depth, sources);
      stage_forward(stage, run.threads, run.parallel);
      for (const CandidatePlan& c : mix.candidates)
        if (depth < c.places.size()) after(c, depth, update);
    }
  }

  void forward_mix(const T* z, const std::vector<const T*>& nodes, const Images& targets, T* out) {
    std::vector<T> mask;
    MixArgs<T> args = mix_args(z, nodes, targets, mask);
    args.out = out;
    mix_forward(args, run.parallel);
  }

  // Sends the targets' gradient `g` back to dx (added to, or overwritten) of the sources, to dz and the parameters.
  void backward(const T* z, const std::vector<std::pair<Images, const T*>>& sources, const Images& targets, const T* g, T* dz,
                const std::vector<T*>& dx, bool overwrite, T* workspace, const std::function<T*(int64_t)>& gradient) {
    std::vector<T> mask;
    std::vector<const T*> nodes;
    for (auto& source : sources) nodes.push_back(source.second);
    MixArgs<T> args = mix_args(z, nodes, targets, mask);
    std::vector<T> a(args.entries * targets.channels);
    args.g = g, args.dz = dz, args.a = a.data();
    slopes.reserve(8 * mix.candidates.size());
    for (size_t i = 0; i < mix.candidates.size(); i++) {
      MixCandidate<T>& k = args.candidates[i];
      const CandidatePlan& c = mix.candidates[i];
      if (!c.units.empty()) k.dgamma = of(c.units.back().gamma, gradient), k.dbeta = of(c.units.back().beta, gradient);
      if (k.mean && plan.training) k.p = slope(k.rows * targets.channels), k.r = slope(k.rows * targets.channels);
    }
    mix_backward(args, run.threads, run.parallel);
    int64_t first = 0, batch = targets.batch;
    for (size_t i = 0; i < mix.candidates.size(); i++) {
      const CandidatePlan& c = mix.candidates[i];
      upstreams.push_back({g, mix.targets.data() + first, c.starts.data(), a.data() + first * targets.channels,
                           args.candidates[i].p, args.candidates[i].r, args.mask ? args.mask + first * batch : nullptr});
      first += c.starts.back();
    }
    place_gradients(workspace);
    for (size_t depth = deepest(); depth-- > 0;) {
      Stage<T> stage = stage_at(depth, sources);
      std::vector<double> sums;
      point_at_gradients(stage, depth, dx, overwrite, sums, gradient);
      stage_backward(stage, run.threads, run.parallel);
      if (depth > 0) through_norms(stage, depth, gradient);
    }
  }

 private:
  static T* of(int64_t parameter, const std::function<T*(int64_t)>& gradient) {
    return parameter < 0 ? nullptr : gradient(parameter);
  }
  const T* parameter(int64_t i) const { return i < 0 ? nullptr : run.tensors.parameters[i]; }
  T* slope(int64_t count) {
    slopes.emplace_back(count);
    return slopes.back().data();
  }

  size_t deepest() const {
    size_t depth = 1;  // poolings and identities belong to the first stage
    for (const CandidatePlan& c : mix.candidates) depth = std::max(depth, c.places.size());
    return depth;
  }

  UnitArgs<T> unit_args(const CandidatePlan& c, size_t depth) const {
    const UnitDeclaration& unit = c.units[depth];
    const UnitPlace& p = c.places[depth];
    UnitArgs<T> args{};
    args.spec = unit.spec;
    args.groups = (int64_t)c.x_rows.size(), args.c_out = unit.c_out;
    args.x_rows = depth ? c.chain.data() : c.x_rows.data(), args.w_rows = c.w_rows.data();
    args.depthwise = parameter(unit.depthwise), args.point = parameter(unit.point);
    args.y = arena + p.y;
    if (plan.training) args.y_mean = arena + p.mean, args.y_var = arena + p.var;
    return args;
  }

  // The inputs of one depth: the sources themselves (candidate i reads the only one, or the i-th), or the units before.
  Stage<T> stage_at(size_t depth, const std::vector<std::pair<Images, const T*>>& sources) const {
    Stage<T> stage;
    if (depth == 0)
      for (auto& [images, x] : sources) stage.push_back({images, x, nullptr, nullptr, nullptr, {}, {}, nullptr, false, nullptr, {}});
    for (size_t i = 0; i < mix.candidates.size(); i++) {
      const CandidatePlan& c = mix.candidates[i];
      if (depth >= std::max<size_t>(1, c.places.size()) || c.role == CandidatePlan::identity) continue;
      Input<T>* in = depth == 0 ? &stage[sources.size() > 1 ? i : 0] : nullptr;
      if (depth > 0) {
        const UnitPlace& p = c.places[depth - 1];
        stage.push_back({p.images, arena + p.y, arena + p.scale, arena + p.shift, arena + p.mean, {}, {}, nullptr, true, nullptr, {}});
        in = &stage.back();
      }
      if (c.role == CandidatePlan::conv) {
        in->units.push_back(unit_args(c, depth));
      } else {
        const UnitPlace& p = c.places[0];
        bool wants = plan.training && !c.units.empty();
        in->pools.push_back({c.max, plan.nodes.height == in->images.height ? 1 : 2, arena + p.y,
                             wants ? arena + p.mean : nullptr, wants ? arena + p.var : nullptr, {}});
      }
    }
    return stage;
  }

  // Running statistics, and the norm that the next unit applies.
  void after(const CandidatePlan& c, size_t depth, bool update) {
    if (c.units.empty()) return;
    const UnitDeclaration& unit = c.units[depth];
    const UnitPlace& p = c.places[depth];
    int64_t channels = p.images.channels, values = p.images.batch * p.images.pixels();
    if (plan.training && update)
      update_running(run.tensors.mean[unit.running], run.tensors.var[unit.running], run.tensors.count[unit.running],
                     arena + p.mean, arena + p.var, c.update_rows.data(), c.update_weights.data(),
                     (int64_t)c.update_rows.size(), channels, values, momentum);
    if (p.scale < 0) return;
    if (!plan.training)
      for (size_t row = 0; row < c.w_rows.size(); row++) {
        int64_t from = c.w_rows[row] * channels, to = (int64_t)row * channels;
        std::copy_n(run.tensors.mean[unit.running] + from, channels, arena + p.mean + to);
        std::copy_n(run.tensors.var[unit.running] + from, channels, arena + p.var + to);
      }
    norm_forward(norm_args(c, depth));
  }

  NormArgs<T> norm_args(const CandidatePlan& c, size_t depth) const {
    const UnitDeclaration& unit = c.units[depth];
    const UnitPlace& p = c.places[depth];
    NormArgs<T> args{};
    args.groups = p.images.rows, args.channels = p.images.channels, args.rows = c.w_rows.data();
    args.mean = arena + p.mean, args.var = arena + p.var;
    args.gamma = parameter(unit.gamma), args.beta = parameter(unit.beta);
    args.scale = arena + p.scale, args.shift = arena + p.shift, args.inverse = arena + p.inverse;
    return args;
  }

  MixArgs<T> mix_args(const T* z, const std::vector<const T*>& nodes, const Images& targets, std::vector<T>& mask) const {
    MixArgs<T> args{};
    for (const CandidatePlan& c : mix.candidates) {
      MixCandidate<T> k{};
      if (c.role == CandidatePlan::identity) {
        k.y = nodes[0];
      } else {
        const UnitPlace& p = c.places.back();
        k.y = arena + p.y, k.rows = p.images.rows;
        if (!c.units.empty()) {
          const UnitDeclaration& unit = c.units.back();
          k.mean = plan.training ? arena + p.mean : run.tensors.mean[unit.running];
          k.var = plan.training ? arena + p.var : run.tensors.var[unit.running];
          k.gamma = parameter(unit.gamma), k.beta = parameter(unit.beta);
        }
      }
      args.candidates.push_back(k);
    }
    args.table = mix.table.data(), args.entries = (int64_t)mix.targets.size();
    args.z = z, args.nodes = targets;
    if (run.tensors.mask && !mix.edges.empty()) {
      for (int64_t edge : mix.edges)
        mask.insert(mask.end(), run.tensors.mask + edge * targets.batch, run.tensors.mask + (edge + 1) * targets.batch);
      args.mask = mask.data();
    }
    return args;
  }

  // Where the gradients of the inputs of later units go.
  void place_gradients(T* workspace) {
    gradients.resize(mix.candidates.size());
    for (size_t i = 0; i < mix.candidates.size(); i++)
      for (size_t depth = 0; depth + 1 < mix.candidates[i].places.size(); depth++) {
        gradients[i].push_back(workspace);
        workspace += (mix.candidates[i].places[depth].images.size() + 15) / 16 * 16;
      }
  }

  void point_at_gradients(Stage<T>& stage, size_t depth, const std::vector<T*>& dx, bool overwrite, std::vector<double>& sums,
                          const std::function<T*(int64_t)>& gradient) {
    size_t next = 0;
    std::vector<size_t> units(stage.size()), pools(stage.size());
    for (size_t i = 0; depth == 0 && i < stage.size(); i++) stage[i].dx = dx[i], stage[i].overwrite = overwrite;
    for (size_t i = 0; i < mix.candidates.size(); i++) {
      const CandidatePlan& c = mix.candidates[i];
      if (depth >= std::max<size_t>(1, c.places.size())) continue;
      size_t which = depth == 0 ? (stage.size() > 1 ? i : 0) : next++;
      Input<T>& in = stage[which];
      if (c.role == CandidatePlan::identity) {
        in.identities.push_back(upstreams[i]);
      } else if (c.role == CandidatePlan::pool) {
        in.pools[pools[which]++].upstream = upstreams[i];
      } else {
        UnitArgs<T>& args = in.units[units[which]++];
        args.upstream = upstreams[i];
        args.d_depthwise = of(c.units[depth].depthwise, gradient), args.d_point = of(c.units[depth].point, gradient);
        if (depth > 0) in.dx = gradients[i][depth - 1];
      }
    }
    if (depth == 0) return;
    size_t total = 0;
    for (Input<T>& in : stage) total += 2 * in.images.rows * in.images.channels;
    sums.resize(total);
    total = 0;
    for (Input<T>& in : stage) in.sums = sums.data() + total, total += 2 * in.images.rows * in.images.channels;
  }

  // From the gradients of the norms' outputs to those of their inputs.
  void through_norms(const Stage<T>& stage, size_t depth, const std::function<T*(int64_t)>& gradient) {
    size_t next = 0;
    for (size_t i = 0; i < mix.candidates.size(); i++) {
      const CandidatePlan& c = mix.candidates[i];
      if (depth >= c.places.size()) continue;
      const Input<T>& in = stage[next++];
      NormArgs<T> args = norm_args(c, depth - 1);
      args.sums = in.sums;
      args.dgamma = of(c.units[depth - 1].gamma, gradient), args.dbeta = of(c.units[depth - 1].beta, gradient);
      if (plan.training) {
        args.values = in.images.batch * in.images.pixels();
        args.p = slope(in.images.rows * in.images.channels), args.r = slope(in.images.rows * in.images.channels);
      }
      norm_backward(args);
      upstreams[i] = {in.dx, c.chain.data(), c.chain.data(), args.scale, args.p, args.r, nullptr};
    }
  }

  const CellRun<T>& run;
  const CellPlan& plan;
  const MixPlan& mix;
  T* arena;
  std::vector<std::vector<T>> slopes;
  std::vector<Upstream<T>> upstreams;
  std::vector<std::vector<T*>> gradients;
};

// Copies between nodes (node, draw, batch, pixels, channels) and one image of all nodes' channels.
template <bool Join, class T>
void join(T* nodes, T* joined, const Images& images, int64_t count, const Parallel& parallel) {
  int64_t each = images.rows / count * images.batch, channels = images.channels, pixels = images.pixels();
  parallel(each, [&](int64_t lo, int64_t hi, int) {
    for (int64_t i = lo; i < hi; i++)
      for (int64_t node = 0; node < count; node++) {
        T* from = nodes + (node * each + i) * pixels * channels;
        T* to = joined + i * pixels * count * channels + node * channels;
        for (int64_t p = 0; p < pixels; p++, from += channels, to += count * channels) {
          if (Join) std::copy_n(from, channels, to);
          else std::copy_n(to, channels, from);
        }
      }
  });
}

}  // namespace

template <class T>
void CellRun<T>::forward(T* arena, T* out, bool update) const {
  std::vector<std::pair<Images, const T*>> sources;
  for (size_t i = 0; i < plan.inputs.size(); i++) sources.push_back({plan.inputs[i], tensors.inputs[i]});
  std::vector<const T*> nodes = tensors.inputs;
  if (!cell.preprocess.empty()) {
    std::vector<T> ones(plan.preprocess.targets.size(), T(1));
    Pass<T> pass(*this, plan.preprocess, arena);
    pass.forward_units(sources, update);
    Images adapted = plan.images[0];
    adapted.rows = (int64_t)ones.size();
    std::memset(arena + plan.places[0], 0, adapted.size() * sizeof(T));
    pass.forward_mix(ones.data(), nodes, adapted, arena + plan.places[0]);
    for (int64_t i = 0; i < cell.inputs; i++) nodes[i] = arena + plan.places[i];
  }
  T* inner = arena + plan.places[cell.inputs];
  std::memset(inner, 0, plan.nodes.size() * sizeof(T));
  for (size_t source = 0; source < plan.sources.size(); source++) {
    const MixPlan& mix = plan.sources[source];
    if (mix.candidates.empty()) continue;
    const T* x = source < nodes.size() ? nodes[source] : arena + plan.places[source];
    Pass<T> pass(*this, mix, arena);
    pass.forward_units({{plan.images[source], x}}, update);
    pass.forward_mix(tensors.z, {x}, plan.nodes, inner);
  }
  if (cell.concat) join<true>(inner, out, plan.nodes, cell.nodes, parallel);
  else std::copy_n(inner + plan.nodes.size() / cell.nodes * (cell.nodes - 1), plan.nodes.size() / cell.nodes, out);
}

template <class T>
void CellRun<T>::backward(const T* kept, T* workspace, const T* g_out, const std::vector<T*>& dinputs, T* dz,
                          const std::function<T*(int64_t)>& gradient) const {
  T* arena = const_cast<T*>(kept);  // only read
  auto rounded = [](int64_t count) { return (count + 15) / 16 * 16; };
  T* g = workspace;
  workspace += rounded(plan.nodes.size());
  int64_t node = plan.nodes.size() / cell.nodes;
  if (cell.concat) {
    join<false>(g, const_cast<T*>(g_out), plan.nodes, cell.nodes, parallel);
  } else {
    std::memset(g, 0, (plan.nodes.size() - node) * sizeof(T));
    std::copy_n(g_out, node, g + plan.nodes.size() - node);
  }
  bool adapts = !cell.preprocess.empty();
  std::vector<T*> dx = dinputs;
  for (int64_t i = 0; i < cell.inputs; i++) {
    if (adapts) {
      dx[i] = i ? dx[i - 1] + plan.images[i - 1].size() : workspace;
    }
    std::memset(dx[i], 0, plan.images[i].size() * sizeof(T));
  }
  if (adapts)
    for (int64_t i = 0; i < cell.inputs; i++) workspace += rounded(plan.images[i].size());
  for (int64_t i = 0; i < cell.nodes; i++) dx.push_back(g + i * node);
  for (size_t source = plan.sources.size(); source-- > 0;) {
    const MixPlan& mix = plan.sources[source];
    if (mix.candidates.empty()) continue;
    const T* x = plan.places[source] < 0 ? tensors.inputs[source] : arena + plan.places[source];
    Pass<T>(*this, mix, arena)
        .backward(tensors.z, {{plan.images[source], x}}, plan.nodes, g, dz, {dx[source]}, false, workspace, gradient);
  }
  if (!adapts) return;
  std::vector<T> ones(plan.preprocess.targets.size(), T(1)), unused(ones.size());
  std::vector<std::pair<Images, const T*>> sources;
  for (size_t i = 0; i < plan.inputs.size(); i++) sources.push_back({plan.inputs[i], tensors.inputs[i]});
  Images adapted = plan.images[0];
  adapted.rows = (int64_t)ones.size();
  Pass<T>(*this, plan.preprocess, arena)
      .backward(ones.data(), sources, adapted, dx[0], unused.data(), dinputs, true, workspace, gradient);
}

template struct CellRun<float>;
template struct CellRun<double>;
