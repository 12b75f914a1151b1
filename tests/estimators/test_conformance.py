"""The conformance kit over every built-in estimator.

Its slow checks take a tenth or a fifth of the draws that ``nasbench check`` takes.
"""

from __future__ import annotations

import pytest

from nasbench_snas.registry import Registry
from nasbench_snas.testing import EstimatorConformance

BUILT_IN = [entry for entry in Registry().estimators() if entry.origin == "built-in"]

for _entry in BUILT_IN:
    if not _entry.problem:
        _class = Registry().estimator(_entry.name)
        globals()[f"Test{_class.__name__}"] = type(
            f"Test{_class.__name__}",
            (EstimatorConformance,),
            {
                "estimator": _class,
                "most_draws_full": 30_000,
                "law_samples_full": 20_000,
                "noise_draws_full": 40_000,
            },
        )


@pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.name)
def test_built_in_estimator_can_be_listed_and_loaded(entry):
    assert not entry.problem
    assert f"Test{Registry().estimator(entry.name).__name__}" in globals()
