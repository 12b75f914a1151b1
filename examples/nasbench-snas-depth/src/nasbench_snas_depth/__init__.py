"""Depth for nasbench-snas."""
