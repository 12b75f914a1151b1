"""Exact losses and gradients of a space small enough to enumerate, and many draws in one pass."""
