"""Cheap and noisy against dear and quiet: error at equal compute.

With budget B in forward equivalents and cost c of one draw, B / c draws are averaged:
``mse(B) = bias² + var c / B``. A biased estimator A is better than an unbiased U below the
break-even budget ``B* = (V_U c_U - V_A c_A) / (bias_A² - bias_U²)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nasbench_snas.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Costed:
    """Bias, variance and cost of one draw.

    Args:
        bias_sq: Squared bias (a debiased estimate may be negative).
        variance: Trace of the covariance of one draw.
        cost: Forward equivalents, seconds or any other unit, > 0.
    """

    bias_sq: float
    variance: float
    cost: float

    def __post_init__(self) -> None:
        if not self.cost > 0 or not self.variance >= 0:
            raise ConfigError(
                f"variance = {self.variance}, cost = {self.cost}",
                "expected a variance of at least 0 and a cost above 0",
            )


def mse_at_budget(estimator: Costed, budget: float) -> float:
    """Return ``bias² + variance cost / budget``; ``budget`` in the unit of the cost.

    An estimator whose single draw costs more than the budget cannot be run; the formula is
    evaluated all the same, as the law it follows when gradients are accumulated over steps.
    """
    if not budget > 0:
        raise ConfigError(f"budget = {budget}", "expected a number above 0")
    return estimator.bias_sq + estimator.variance * estimator.cost / budget


def break_even_budget(biased: Costed, unbiased: Costed) -> float:
    """Return the budget above which ``unbiased`` has the lower error.

    Returns:
        B*; 0 where ``unbiased`` is better at every budget, infinity where ``biased`` is. NaN where
        there is no such budget: both are equal, or (a debiased estimate below the other's) the
        one called biased has less bias and more noise, so that it wins above a budget.
    """
    gain = unbiased.variance * unbiased.cost - biased.variance * biased.cost
    price = biased.bias_sq - unbiased.bias_sq
    if price > 0:
        return max(gain / price, 0.0)
    if gain > 0 or (gain == 0 and price < 0):
        return math.inf
    return 0.0 if gain < 0 and price == 0 else math.nan
