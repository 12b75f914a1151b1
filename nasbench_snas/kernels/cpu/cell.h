// A packed cell, free of torch: what plan.py, forward.py and backward.py of supernet/fast do, in one call each.
#pragma once
#include <array>

#include "kernels.h"

// A unit by its places among the cell's parameters and running statistics (-1: it has none).
struct UnitDeclaration {
  UnitSpec spec;
  int64_t c_in, c_out, depthwise, point, gamma, beta, running;
};

struct OperationDeclaration {
  enum Kind : int64_t { zero = 0, skip = 1, pool = 2, conv = 3 } kind;
  bool max;
  std::vector<UnitDeclaration> units;  // of a pooling: its norm alone; of a skip: the strided one
};

struct CellDeclaration {
  int64_t inputs, nodes, channels;
  bool concat;
  std::vector<std::array<int64_t, 2>> edges;  // source, target
  std::vector<int64_t> strides;               // of every source
  std::vector<OperationDeclaration> operations;
  std::vector<int64_t> skip_rows;             // of every edge, the row of the strided skip
  std::vector<UnitDeclaration> preprocess;
};

// Places in a cell's arena. `scale`, `shift`, `inverse`: of the norm between a unit and the next.
struct UnitPlace {
  Images images;  // of y
  int64_t y, mean, var, scale, shift, inverse;
};

// One operation on all wanted edges of a source, for all draws; see CandidatePlan in supernet/fast/plan.py.
struct CandidatePlan {
  enum Role { identity, pool, conv } role;
  bool max;
  std::vector<UnitDeclaration> units;
  std::vector<int64_t> x_rows, w_rows, chain, starts, update_rows, update_weights;
  std::vector<UnitPlace> places;
};

struct MixPlan {
  std::vector<CandidatePlan> candidates;
  std::vector<int64_t> table, edges, targets;  // (entries, 6); of every entry
};

struct CellPlan {
  bool training;
  int64_t draws;
  std::vector<Images> inputs;        // as they come
  Images nodes;                      // all inner nodes, (node, draw) as rows
  std::vector<Images> images;        // of every source
  std::vector<int64_t> places;       // of every source in the arena (-1: the input itself)
  MixPlan preprocess;
  std::vector<MixPlan> sources;
  int64_t arena, workspace;          // numbers
};

// `used`: (draws, edges, operations), whether an operation is run.
CellPlan plan_cell(const CellDeclaration&, const std::vector<Images>& inputs, int64_t draws, const bool* used,
                   bool training);

template <class T>
struct CellTensors {
  std::vector<const T*> inputs, parameters;
  std::vector<T*> mean, var;        // running
  std::vector<int64_t*> count;
  const T *z, *mask;                // mask (edges, batch), or null
};

template <class T>
struct CellRun {
  const CellDeclaration& cell;
  const CellPlan& plan;
  CellTensors<T> tensors;
  int threads;
  const Parallel& parallel;

  void forward(T* arena, T* out, bool update) const;
  // `gradient(i)` returns where parameter i's gradient goes (null: unwanted); `dinputs` are written, `dz` is added to.
  void backward(const T* arena, T* workspace, const T* g_out, const std::vector<T*>& dinputs, T* dz,
                const std::function<T*(int64_t)>& gradient) const;
};
