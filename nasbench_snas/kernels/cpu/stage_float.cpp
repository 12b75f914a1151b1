// Stages in float; a file for each type, so that they compile side by side.
#include "stage.h"

template <>
void stage_forward<float>(const Stage<float>& stage, int threads, const Parallel& parallel) {
  StageRun<float>(stage, threads, false).forward(parallel);
}
template <>
void stage_backward<float>(const Stage<float>& stage, int threads, const Parallel& parallel) {
  StageRun<float>(stage, threads, true).backward(parallel);
}
