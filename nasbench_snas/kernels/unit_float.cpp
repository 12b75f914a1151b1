// The units in float; a file for each type, so that they compile side by side.
#include "unit.h"

template <>
void unit_forward<float>(const UnitArgs<float>& args, int threads, const Parallel& parallel) {
  Unit<float>(args, threads).forward(parallel);
}
template <>
void unit_backward<float>(const UnitArgs<float>& args, int threads, const Parallel& parallel) {
  Unit<float>(args, threads).backward(parallel);
}
