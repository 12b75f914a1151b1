"""Derived networks: their plan, their modules, and their chains on compiled kernels."""
