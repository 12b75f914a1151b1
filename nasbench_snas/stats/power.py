"""How many draws show a bias: power of Hotelling's T².

With squared Mahalanobis bias ``delta²`` of one draw, F(p, N - p) becomes noncentral with parameter
``N delta²``. As N grows it tends to the noncentral chi-square with p degrees of freedom, from which
the quick formula ``N = ncp / delta²`` comes. It is short by a number of draws that hardly depends
on delta: 23 or 24 for p = 12, level 1e-5 and power 0.99.
"""

from __future__ import annotations

import math

import scipy

from nasbench_snas.errors import ConfigError
from nasbench_snas.stats.interval import check_confidence


def hotelling_power(n: int, delta: float, dimension: int, alpha: float) -> float:
    """Return the probability that T² rejects.

    Args:
        n: Number of draws, more than ``dimension``.
        delta: Mahalanobis bias of one draw.
        dimension: Number of tested directions p.
        alpha: Level of the test.
    """
    check_confidence(alpha)
    if n <= dimension:
        raise ConfigError(f"{n} draws for {dimension} directions", "expected more draws")
    if delta == 0:
        return alpha  # scipy's noncentral F has no limit at zero
    cut = scipy.stats.f.isf(alpha, dimension, n - dimension)
    return float(scipy.stats.ncf.sf(cut, dimension, n - dimension, n * delta**2))


def required_noncentrality(power: float, dimension: int, alpha: float) -> float:
    """Return the noncentrality at which the chi-square limit of T² has this power."""
    check_confidence(power)
    check_confidence(alpha)
    if power <= alpha:
        return 0.0
    cut = scipy.stats.chi2.isf(alpha, dimension)

    def short(parameter: float) -> float:
        return float(scipy.stats.ncx2.sf(cut, dimension, parameter)) - power

    high = 1.0
    while short(high) < 0:
        high *= 2
    return float(scipy.optimize.brentq(short, 1e-12, high, xtol=1e-10))


def required_draws(delta: float, dimension: int, alpha: float, power: float = 0.99) -> int:
    """Return the smallest N whose T² test has this power, by the noncentral F.

    Args:
        delta: Mahalanobis bias of one draw, > 0.
        dimension: Number of tested directions p.
        alpha: Level of the test.
        power: Wanted power, above ``alpha``.
    """
    if delta <= 0:
        raise ConfigError(f"delta = {delta}", "no number of draws shows a bias of zero")
    low = dimension + 1  # the noncentral F needs more draws than its chi-square limit
    high = max(math.ceil(required_noncentrality(power, dimension, alpha) / delta**2), low)
    if hotelling_power(low, delta, dimension, alpha) >= power:
        return low
    while hotelling_power(high, delta, dimension, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if hotelling_power(middle, delta, dimension, alpha) >= power:
            high = middle
        else:
            low = middle
    return high
