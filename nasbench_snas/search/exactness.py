"""The exact expected loss and gradient at a search's end, where its space is known and enumerable.

Everything is as it stands after the last step: theta in training mode, the distribution, the
schedule. The batch is the first of the training images without augmentation, so that it is the same
for every method with the same seed.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from nasbench_snas.compute.modes import own_modes
from nasbench_snas.data import evaluation_batches
from nasbench_snas.oracle.tracking import GradientTracker
from nasbench_snas.search.search import Search

DRAWS = 32
LARGEST = 1000
"""More architectures than this are not enumerated here: it is to take about a second."""


@own_modes()
def exactness(search: Search) -> dict[str, Any]:
    """Return what holds exactly at the end of a search; empty where it is not known.

    Returns:
        Under ``exact``: ``loss``, the expected loss of an architecture drawn from the distribution
        (nats); ``gradient_norm``, of its exact gradient by the distribution's parameters;
        ``cosine``, of the mean of 32 draws of the estimator with it (None without a gradient);
        ``bias_sq``, their squared bias over the squared norm, the noise of the mean taken off.
        The ranking's seconds grow by what it took.
    """
    if search.ranking is None or search.space.num_architectures > LARGEST:
        return {}
    if search.settings.drop_path or search.settings.amp != "off":
        return {}
    began, parent = time.perf_counter(), search.parent
    split = search.splits.train
    size = min(search.settings.batch_size, len(split))
    first = replace(split, indices=split.indices[:size])
    batch = next(iter(evaluation_batches(first, size, search.augment.plain)))
    training = parent.training
    parent.train()
    try:
        with search.as_children():
            found = GradientTracker(1, search.seed, draws=DRAWS).measure(
                search.step,
                search.estimator,
                search.dist,
                search.learner.make_loss(batch),
                parent,
                batch,
            )
    finally:
        parent.train(training)
    search.ranking.seconds += time.perf_counter() - began
    if "gradient_exact_loss" not in found:
        return {}
    drawn = search.estimator.has_alpha_gradient
    return {
        "exact": {
            "loss": found["gradient_exact_loss"],
            "gradient_norm": found["gradient_exact_norm"],
            "cosine": found.get("gradient_cosine") if drawn else None,
            "bias_sq": found.get("gradient_bias_sq") if drawn else None,
        }
    }
