"""How two rankings of the same architectures agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

TOP = 0.1
"""Share of the architectures whose overlap is measured."""


def agreement(ours: Sequence[float], known: Sequence[float]) -> dict[str, float | None]:
    """Return Kendall's tau-b, Spearman's rho and the overlap of the best tenth.

    Correlations are None where all values are equal. The overlap is the share of our best tenth
    (ties by place in the sample) that is among the best tenth known; chance gives a tenth.
    """
    top = max(round(TOP * len(ours)), 1)
    best = [set(np.argsort(-np.asarray(v), kind="stable")[:top].tolist()) for v in (ours, known)]
    constant = np.ptp(ours) == 0 or np.ptp(known) == 0
    return {
        "tau": None if constant else float(scipy.stats.kendalltau(ours, known).statistic),
        "spearman": None if constant else float(scipy.stats.spearmanr(ours, known).statistic),
        "overlap": len(best[0] & best[1]) / top,
    }
