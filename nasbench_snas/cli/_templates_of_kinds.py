"""Texts that ``nasbench new`` writes for the kinds besides estimators and spaces.

For what stands between ``@`` see :mod:`nasbench_snas.cli._templates`.
"""

from __future__ import annotations

_OPERATION = '''"""@TITLE@: a candidate operation of ReLU-convolution-norm units.

Start: a 3x3 convolution over groups of one channel with a 1x1 convolution behind it. Declared as
units it has compiled kernels, a cost and children without another line. What units cannot say is
a module: leave ``units`` out and define ``build`` and ``cost`` instead (see CandidateOperation).
"""

from __future__ import annotations

from nasbench_snas.api import CandidateOperation, Conv


class @CLASS@(CandidateOperation):
    """@TITLE@: depthwise 3x3, then pointwise."""

    name = "@NAME@"
    summary = "one line for listings: what it computes"
    units = (
        (
            Conv((3, 3), depthwise=True),
            Conv((1, 1), strided=(False, False)),
        ),
    )
'''

_CRITERION = '''"""@TITLE@: what each operation on each edge costs.

Start: the number of ReLU-convolution-norm units, a measure of depth, of every cell that shares the
edge. Replace :meth:`@CLASS@.table` by your own numbers.
"""

from __future__ import annotations

from nasbench_snas.api import CostCriterion, Space


class @CLASS@(CostCriterion):
    """@TITLE@: units of an operation, over all cells that share its edge.

    Args:
        pooling: What a pooling counts.
    """

    name = "@NAME@"
    summary = "one line for listings: what is counted"
    unit = "units"

    def __init__(self, pooling: float = 1.0) -> None:
        self.pooling = pooling

    def table(self, space: Space) -> list[list[float]]:
        """Return the cost of each operation on each edge, shape ``(E, K)``."""
        layers = [layer.cell for layer in space.layers]
        cells = [cell.name for cell in space.cells for _ in cell.edges]
        return [
            [
                layers.count(cell) * (self.pooling if one.kind == "pool" else float(len(one.units)))
                for one in candidates
            ]
            for cell, candidates in zip(cells, space.candidate_specs, strict=True)
        ]
'''

_DATASET = '''"""@TITLE@: labelled images of one's own, from numpy arrays.

Start: stripes in noise, drawn from a fixed seed: class 0 has lying ones, class 1 standing ones.
Replace :meth:`@CLASS@.load` by your own images, for example ``np.load(root / "images.npy")``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from nasbench_snas.api import ImageDataset, Images
from nasbench_snas.data import from_arrays


class @CLASS@(ImageDataset):
    """@TITLE@ of two classes.

    Args:
        size: Height and width in pixels.
        count: Images in all; a fifth of them is set apart as test images.
    """

    name = "@NAME@"
    summary = "one line for listings: what the images show"
    licence = "none needed"
    test_fraction = 0.2  # leave it out if load("test", root) returns test images

    def __init__(self, size: int = 8, count: int = 320) -> None:
        self.size, self.count = size, count

    def load(self, part: Literal["train", "test"], root: Path) -> Images:
        """Return the images of one part; see ``ImageDataset.load``."""
        rng = np.random.default_rng(0)
        labels = rng.integers(2, size=self.count)
        stripes = 255 * (np.arange(self.size) // 2 % 2)
        image = np.where(labels[:, None, None] == 1, stripes[None, None, :], stripes[None, :, None])
        noisy = image + rng.normal(0, 60, (self.count, self.size, self.size))
        return from_arrays(noisy.clip(0, 255).astype(np.uint8), labels, ("lying", "standing"))
'''

_RULE = '''"""@TITLE@: which architecture a search ends with.

Start: on every edge the most probable operation, ``none`` left out. Replace
:meth:`@CLASS@.derive` by your own rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import DerivationRule, SearchState, one_hot


class @CLASS@(DerivationRule):
    """@TITLE@: the mode without ``none``."""

    name = "@NAME@"
    summary = "one line for listings: how the child is chosen"
    keeps_none = False  # it never chooses the operation none
    uses_images = False  # True: state.accuracy(z) measures architectures on images set apart

    def derive(self, state: SearchState) -> Tensor:
        """Return the derived architecture, shape ``(E, K)``; see ``DerivationRule.derive``."""
        probs = state.probs.clone()
        for place in state.space.places("none"):
            probs[place] = -1.0
        return one_hot(probs.argmax(dim=-1), state.space.num_operations, torch.float32)
'''

_TRANSFORMER = '''"""@TITLE@: another loss in the place of the network's.

Start: ``L'(z) = L(z) + weight mean_ij z_ij (1 - z_ij)``, a penalty on undecided weights. Replace
:meth:`@CLASS@.transform` by your own. What depends on the parameters of the
distribution alone is a ``penalty`` instead (see LossTransformer).
"""

from __future__ import annotations

from nasbench_snas.api import Loss, LossStep, LossTransformer, loss_plus


class @CLASS@(LossTransformer):
    """@TITLE@: a penalty on undecided weights.

    Args:
        weight: Weight of the penalty.
    """

    name = "@NAME@"
    summary = "one line for listings: what is added or changed"
    captures = True

    def __init__(self, weight: float = 0.1) -> None:
        self.weight = weight

    def transform(self, loss: Loss, step: LossStep) -> Loss:
        """Return the loss with the penalty; see ``LossTransformer.transform``."""
        return loss_plus(loss, lambda z: self.weight * (z * (1 - z)).mean(dim=(-1, -2)))
'''

_STOP = '''"""@TITLE@: when a search ends before its planned epochs.

Start: when every edge has decided, its largest probability above a threshold. Replace
:meth:`@CLASS@.decide` by your own; ``state.loss`` is a loss to measure with, ``state.log`` adds a
number to the epoch's event.
"""

from __future__ import annotations

from nasbench_snas.api import EarlyStop, EpochState, Verdict


class @CLASS@(EarlyStop):
    """@TITLE@: every edge has decided.

    Args:
        threshold: Probability from which on an edge has decided.
    """

    name = "@NAME@"
    summary = "one line for listings: when it ends a search"

    def __init__(self, threshold: float = 0.9) -> None:
        self.threshold = threshold

    def decide(self, state: EpochState) -> Verdict | None:
        """Return a verdict that ends the search, or None; see ``EarlyStop.decide``."""
        least = float(state.probs.max(dim=-1).values.min())
        state.log("least_decided", least)
        return Verdict(f"every edge has decided: {least:.2f}") if least > self.threshold else None
'''

OTHERS = {
    "operation": _OPERATION,
    "dataset": _DATASET,
    "criterion": _CRITERION,
    "rule": _RULE,
    "transformer": _TRANSFORMER,
    "stop": _STOP,
}
"""Source of a plug-in by kind."""
