"""Interquartile mean (IQM): the mean of the middle half.

A quarter of the values is cut at each end (``floor(n / 4)`` of them), so that a collapsed run moves
it little while all of the middle still counts. It has no interval here: the bootstrap's covers too
little at the numbers of seeds that are usual.

Reference: Agarwal, Schwarzer, Castro, Courville and Bellemare, Deep Reinforcement Learning at the
Edge of the Statistical Precipice, 2021, arXiv 2108.13264, section 4.3. Written anew on scipy.
"""

from __future__ import annotations

import scipy

from nasbench_snas.stats.interval import ArrayLike, as_sample


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of what is left after ``floor(n / 4)`` values are cut at each end."""
    return float(scipy.stats.trim_mean(as_sample(values), 0.25))
