// Stages in double; a file for each type, so that they compile side by side.
#include "stage.h"

template <>
void stage_forward<double>(const Stage<double>& stage, int threads, const Parallel& parallel) {
  StageRun<double>(stage, threads, false).forward(parallel);
}
template <>
void stage_backward<double>(const Stage<double>& stage, int threads, const Parallel& parallel) {
  StageRun<double>(stage, threads, true).backward(parallel);
}
