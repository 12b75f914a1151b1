"""Published experiments on gradient estimators, repeated beside what is printed or provable."""

from __future__ import annotations

from nasbench_snas.replicate.experiments import EXPERIMENTS, run_experiment
from nasbench_snas.replicate.findings import Experiment, Finding, page

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Finding",
    "page",
    "run_experiment",
]
