"""Statistics of the suite: seeds, tables and gradient draws.

Arrays go in, frozen dataclasses come out. Besides the agreement of two rankings
(:mod:`~nasbench_snas.stats.agreement`), two halves that share the interval type:

* one number a seed: :mod:`~nasbench_snas.stats.means`, :mod:`~nasbench_snas.stats.median`,
  :mod:`~nasbench_snas.stats.robust`, :mod:`~nasbench_snas.stats.paired`,
  :mod:`~nasbench_snas.stats.ranks`, :mod:`~nasbench_snas.stats.unpaired`,
  :mod:`~nasbench_snas.stats.profiles`, and what tables show of them:
  :mod:`~nasbench_snas.stats.cells`, :mod:`~nasbench_snas.stats.bold`;
* one vector a draw: :mod:`~nasbench_snas.stats.moments`, :mod:`~nasbench_snas.stats.jackknife`,
  :mod:`~nasbench_snas.stats.squared_bias`, :mod:`~nasbench_snas.stats.gradient_summary`,
  :mod:`~nasbench_snas.stats.subspace`,
  :mod:`~nasbench_snas.stats.hotelling`, :mod:`~nasbench_snas.stats.power`,
  :mod:`~nasbench_snas.stats.budget`, :mod:`~nasbench_snas.stats.decomposition`,
  :mod:`~nasbench_snas.stats.slope`.

Random numbers of resampling come from the data (:mod:`~nasbench_snas.stats.reproducible`).
"""

from nasbench_snas.stats.bold import BoldRows, bold_rows
from nasbench_snas.stats.budget import Costed, break_even_budget, mse_at_budget
from nasbench_snas.stats.cells import Cell, failed_note, format_cell, supported_decimals
from nasbench_snas.stats.decomposition import VarianceParts, decompose_draws, decompose_variance
from nasbench_snas.stats.gradient_summary import (
    GradientSummary,
    Reference,
    summarise_gradient,
    summarise_groups,
)
from nasbench_snas.stats.hotelling import (
    Hotelling,
    Scatter,
    hotelling_from_draws,
    hotelling_test,
    paired_hotelling,
)
from nasbench_snas.stats.interval import Interval
from nasbench_snas.stats.means import mean_interval
from nasbench_snas.stats.median import median_interval, smallest_sample
from nasbench_snas.stats.moments import GradientMoments
from nasbench_snas.stats.paired import PairedComparison, compare_family, holm, sign_test
from nasbench_snas.stats.pareto import bootstrap_mean, hypervolume, pareto_front
from nasbench_snas.stats.power import hotelling_power, required_draws, required_noncentrality
from nasbench_snas.stats.profiles import PerformanceProfile, normalise_scores, performance_profile
from nasbench_snas.stats.ranks import detectable_difference, max_min_p, told_from_best
from nasbench_snas.stats.reproducible import data_generator, data_seed
from nasbench_snas.stats.robust import interquartile_mean
from nasbench_snas.stats.slope import PowerLaw, fit_power_law
from nasbench_snas.stats.subspace import coordinate_groups, zero_sum_basis
from nasbench_snas.stats.unpaired import probability_greater, probability_of_improvement

__all__ = [
    "BoldRows",
    "Cell",
    "Costed",
    "GradientMoments",
    "GradientSummary",
    "Hotelling",
    "Interval",
    "PairedComparison",
    "PerformanceProfile",
    "PowerLaw",
    "Reference",
    "Scatter",
    "VarianceParts",
    "agreement",
    "bold",
    "bold_rows",
    "bootstrap_mean",
    "break_even_budget",
    "budget",
    "cells",
    "compare_family",
    "coordinate_groups",
    "data_generator",
    "data_seed",
    "decompose_draws",
    "decompose_variance",
    "decomposition",
    "detectable_difference",
    "failed_note",
    "fit_power_law",
    "format_cell",
    "gradient_summary",
    "holm",
    "hotelling",
    "hotelling_from_draws",
    "hotelling_power",
    "hotelling_test",
    "hypervolume",
    "interquartile_mean",
    "interval",
    "jackknife",
    "max_min_p",
    "mean_interval",
    "means",
    "median",
    "median_interval",
    "moments",
    "mse_at_budget",
    "normalise_scores",
    "paired",
    "paired_hotelling",
    "pareto",
    "pareto_front",
    "performance_profile",
    "probability_greater",
    "probability_of_improvement",
    "profiles",
    "ranks",
    "required_draws",
    "required_noncentrality",
    "sign_test",
    "smallest_sample",
    "subspace",
    "summarise_gradient",
    "summarise_groups",
    "supported_decimals",
    "told_from_best",
    "unpaired",
    "zero_sum_basis",
]
