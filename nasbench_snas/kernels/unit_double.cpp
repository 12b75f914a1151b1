// The units in double; a file for each type, so that they compile side by side.
#include "unit.h"

template <>
void unit_forward<double>(const UnitArgs<double>& args, int threads, const Parallel& parallel) {
  Unit<double>(args, threads).forward(parallel);
}
template <>
void unit_backward<double>(const UnitArgs<double>& args, int threads, const Parallel& parallel) {
  Unit<double>(args, threads).backward(parallel);
}
