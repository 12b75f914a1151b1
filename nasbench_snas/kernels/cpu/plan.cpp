// Plans a cell: rows, entries, and places in the arena.
#include <algorithm>

#include "cell.h"

namespace {

// Hands out places, each at a multiple of 64 bytes for both types.
struct Arena {
  int64_t size = 0;
  int64_t take(int64_t count) {
    int64_t at = size;
    size += (count + 15) / 16 * 16;
    return at;
  }
};

struct Row {
  int64_t draw, edge;  // draw 0 where all draws share it, edge -1 where all edges do
  std::vector<std::array<int64_t, 3>> entries;  // draw, edge, target
};

void place_units(CandidatePlan& c, const Images& source, int64_t stride, Arena& arena) {
  if (c.role == CandidatePlan::identity) return;
  Images images = source;
  size_t count = c.role == CandidatePlan::pool ? 1 : c.units.size();
  for (size_t i = 0; i < count; i++) {
    int64_t rows = c.role == CandidatePlan::pool ? source.rows : (int64_t)c.x_rows.size();
    int64_t channels = c.role == CandidatePlan::pool ? source.channels : c.units[i].c_out;
    if (c.role == CandidatePlan::conv && i == 0) c.units[0].spec.stride = stride;
    images = images.strided(rows, i == 0 ? stride : 1, channels);
    int64_t small = rows * channels, y = arena.take(images.size());
    c.places.push_back({images, y, arena.take(small), arena.take(small), -1, -1, -1});
    if (i + 1 < count) {
      UnitPlace& p = c.places.back();
      p.scale = arena.take(small), p.shift = arena.take(small), p.inverse = arena.take(small);
    }
  }
}

std::vector<Row> collect(const CellDeclaration& cell, int64_t source, int64_t k, int64_t draws, bool shared, bool per_edge,
                         const bool* used) {
  std::vector<Row> rows;
  int64_t edges = (int64_t)cell.edges.size(), operations = (int64_t)cell.operations.size();
  for (int64_t draw = 0; draw < draws; draw++)
    for (int64_t edge = 0; edge < edges; edge++) {
      if (cell.edges[edge][0] != source || !used[(draw * edges + edge) * operations + k]) continue;
      int64_t d = shared ? 0 : draw, e = per_edge ? edge : -1;
      auto same = [&](const Row& row) { return row.draw == d && row.edge == e; };
      auto found = std::find_if(rows.begin(), rows.end(), same);
      if (found == rows.end()) found = rows.insert(rows.end(), {d, e, {}});
      found->entries.push_back({draw, edge, cell.edges[edge][1] - cell.inputs});
    }
  return rows;
}

MixPlan plan_source(const CellDeclaration& cell, const CellPlan& plan, int64_t source, const bool* used, Arena& arena) {
  MixPlan mix;
  const Images& images = plan.images[source];
  bool shared = images.rows == 1;
  int64_t stride = cell.strides[source], operations = (int64_t)cell.operations.size(), edges = (int64_t)cell.edges.size();
  for (int64_t k = 0; k < operations; k++) {
    const OperationDeclaration& operation = cell.operations[k];
    bool skip = operation.kind == OperationDeclaration::skip, pool = operation.kind == OperationDeclaration::pool;
    bool identity = skip && stride == 1, per_edge = !identity && !pool;
    if (operation.kind == OperationDeclaration::zero) continue;
    std::vector<Row> rows = collect(cell, source, k, plan.draws, shared, per_edge, used);
    if (rows.empty()) continue;
    CandidatePlan c{identity ? CandidatePlan::identity : pool ? CandidatePlan::pool : CandidatePlan::conv, operation.max, {}};
    if (!identity) c.units = operation.units;
    auto weight_row = [&](int64_t edge) { return skip && !identity ? cell.skip_rows[edge] : edge; };
    std::vector<int64_t> sizes(per_edge ? rows.size() : images.rows);
    std::vector<std::array<int64_t, 3>> updates;
    for (size_t i = 0; i < rows.size(); i++) {
      // Poolings and identities are computed for every row of the source.
      int64_t row = per_edge ? (int64_t)i : rows[i].draw;
      for (auto [draw, edge, target] : rows[i].entries) {
        int64_t weight = weight_row(edge), place = (draw * edges + edge) * operations + k;
        for (int64_t value : {(int64_t)mix.candidates.size(), row, plan.training ? row : weight,
                              target * plan.draws + draw, place, weight})
          mix.table.push_back(value);
        mix.edges.push_back(edge);
        mix.targets.push_back(target * plan.draws + draw);
        updates.push_back({draw, row, weight});
      }
      sizes[row] = (int64_t)rows[i].entries.size();
      c.x_rows.push_back(rows[i].draw);
      c.w_rows.push_back(per_edge ? weight_row(rows[i].edge) : 0);
    }
    c.starts.push_back(0);
    for (int64_t size : sizes) c.starts.push_back(c.starts.back() + size);
    for (int64_t i = 0; i <= (int64_t)rows.size(); i++) c.chain.push_back(i);
    std::stable_sort(updates.begin(), updates.end(), [](auto& a, auto& b) { return a[0] < b[0]; });
    for (auto [draw, row, weight] : updates) c.update_rows.push_back(row), c.update_weights.push_back(weight);
    place_units(c, images, stride, arena);
    mix.candidates.push_back(std::move(c));
  }
  return mix;
}

// Inputs are adapted by a candidate of weight one each; their nodes lie one after another.
void plan_preprocess(const CellDeclaration& cell, CellPlan& plan, Arena& arena) {
  int64_t first = 0;
  for (size_t i = 0; i < cell.preprocess.size(); i++) {
    const UnitDeclaration& unit = cell.preprocess[i];
    int64_t rows = plan.inputs[i].rows, repeats = rows == 1 ? plan.draws : 1;
    CandidatePlan c{CandidatePlan::conv, false, {unit}};
    for (int64_t row = 0; row < rows; row++) {
      c.x_rows.push_back(row), c.w_rows.push_back(0), c.chain.push_back(row), c.starts.push_back(row);
      for (int64_t value : {(int64_t)i, row, plan.training ? row : 0, first + row, first + row, (int64_t)0})
        plan.preprocess.table.push_back(value);
      plan.preprocess.targets.push_back(first + row);
      for (int64_t r = 0; r < repeats; r++) c.update_rows.push_back(row), c.update_weights.push_back(0);
    }
    c.chain.push_back(rows), c.starts.push_back(rows);
    first += rows;
    place_units(c, plan.inputs[i], unit.spec.stride, arena);
    plan.images.push_back(c.places[0].images);
    plan.preprocess.candidates.push_back(std::move(c));
  }
  int64_t total = 0;  // the nodes lie side by side, as the targets of one mix
  for (const Images& images : plan.images) total += images.size();
  int64_t at = arena.take(total);
  for (const Images& images : plan.images) plan.places.push_back(at), at += images.size();
}

// Numbers that the backward pass of a source needs at once.
int64_t workspace_of(const MixPlan& mix) {
  Arena space;
  for (const CandidatePlan& c : mix.candidates)
    for (size_t i = 0; i + 1 < c.places.size(); i++) space.take(c.places[i].images.size());
  return space.size;
}

}  // namespace

CellPlan plan_cell(const CellDeclaration& cell, const std::vector<Images>& inputs, int64_t draws, const bool* used,
                   bool training) {
  CellPlan plan{};
  plan.training = training, plan.draws = draws, plan.inputs = inputs;
  Arena arena;
  if (cell.preprocess.empty()) {
    plan.images = inputs;
    plan.places.assign(inputs.size(), -1);
  } else {
    plan_preprocess(cell, plan, arena);
  }
  plan.nodes = plan.images.back().strided(cell.nodes * draws, cell.strides[0], cell.channels);
  Images node = plan.nodes;
  node.rows = draws;
  int64_t at = arena.take(plan.nodes.size());
  for (int64_t i = 0; i < cell.nodes; i++) {
    plan.images.push_back(node);
    plan.places.push_back(at + i * node.size());
  }
  Arena work;
  work.take(plan.nodes.size());
  if (!cell.preprocess.empty())
    for (int64_t i = 0; i < cell.inputs; i++) work.take(plan.images[i].size());
  int64_t most = 0;
  for (int64_t source = 0; source < (int64_t)plan.images.size(); source++) {
    plan.sources.push_back(plan_source(cell, plan, source, used, arena));
    most = std::max(most, workspace_of(plan.sources.back()));
  }
  plan.arena = arena.size, plan.workspace = work.size + most;
  return plan;
}
