"""Antithetic REINFORCE for nasbench-snas."""
