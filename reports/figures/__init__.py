"""Figures: one module for each kind, one style."""
