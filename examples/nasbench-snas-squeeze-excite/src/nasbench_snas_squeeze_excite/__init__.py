"""Squeeze excite for nasbench-snas."""
