"""Texts of the files that ``nasbench new`` writes.

``@NAME@``, ``@FILE@``, ``@CLASS@``, ``@DIST@`` and ``@PACKAGE@`` stand for the plug-in's name
(``my-method``), its file (``my_method``), its class (``MyMethod``), the distribution and the import
package of a repository of its own.
"""

from __future__ import annotations

from nasbench_snas.cli._templates_of_kinds import OTHERS

_REFERENCE = """    reference = (
        "@misc{@KEY@, title = {@TITLE@}, author = {Your Name}, year = {2025}, "
        "howpublished = {where the method is described}}"
    )
"""

_PATHWISE = '''"""@TITLE@: a relaxation that the loss is differentiated through.

Start: ``Z = softmax((log p + G) / tau)`` with ``G`` Gumbel noise, the concrete relaxation. Replace
the equation here and in :meth:`@CLASS@.relax` by your own.

Reference: the paper, its arXiv id and the number of the equation.
Deviations: none.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Pathwise, ScheduleKind, anneal
from nasbench_snas.errors import ConfigError


def gradient_of_a_draw(point: Any) -> tuple[Tensor, Tensor]:
    """Return the gradient by hand, ``(R, E, K)``, and the weights: what the checks compare with.

    ``y * (h - <y, h>) / tau`` with ``h = dL/dZ``. Write it from the paper, not from the class.
    """
    p, tau = point.dist.alpha.detach().softmax(dim=-1)[:, None], point.estimator.tau
    y = ((p.log() + point.noise) / tau).softmax(dim=-1).requires_grad_()
    (h,) = torch.autograd.grad(point.loss(y).sum(), y)
    y = y.detach()
    return (y * (h - (y * h).sum(dim=-1, keepdim=True)) / tau).mean(dim=1), y


class @CLASS@(Pathwise):
    """@TITLE@ with an annealed temperature.

    Args:
        tau_start: Temperature at the start of the run.
        tau_end: Temperature at its end.
        schedule: How it moves over the run: ``linear``, ``geometric`` or ``constant``.
        n: Architectures per draw.
    """

    name = "@NAME@"
@REFERENCE@    evaluations = "K F forward + backward"
    bias = "consistent"  # unbiased | consistent (vanishes with the temperature) | biased | none
    claims = {"draw": gradient_of_a_draw}  # what else is true of the gradient; it is tested
    search_view = "soft"

    def __init__(
        self,
        tau_start: float = 1.0,
        tau_end: float = 0.1,
        schedule: ScheduleKind = "linear",
        n: int = 1,
    ) -> None:
        super().__init__()
        if tau_start <= 0 or tau_end <= 0:
            raise ConfigError(f"temperatures must be positive, got {tau_start} and {tau_end}.")
        self.tau_start, self.tau_end, self.schedule, self.n = tau_start, tau_end, schedule, n
        self.tau = tau_start

    def relax(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the weights, shape ``(R, n, E, K)``; ``noise`` is Gumbel of that shape."""
        return (dist.perturb(noise) / self.tau).softmax(dim=-1)

    def set_progress(self, t: float) -> None:
        """Set the temperature to that of the fraction ``t`` of the run."""
        self.tau = anneal(self.schedule, self.tau_start, self.tau_end, t)

    def progress_values(self) -> dict[str, float]:
        """Return the temperature, for the logs."""
        return {"temperature": self.tau}
'''

_SCORE = '''"""@TITLE@: the score of hard samples, weighted by an advantage.

Start: ``g = (L(D) - L(p)) grad log p(D)``: the loss of the probabilities themselves is the
baseline. It does not depend on the sample ``D``, so the estimate stays unbiased. Replace the
equation here and in :meth:`@CLASS@.advantage` by your own.

Reference: the paper, its arXiv id and the number of the equation.
Deviations: none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Loss, Score


class @CLASS@(Score):
    """@TITLE@ with the loss of the mean architecture as baseline.

    Args:
        n: Architectures per draw.
    """

    name = "@NAME@"
@REFERENCE@    evaluations = "n F + K F forward (baseline) + n backward for theta"
    bias = "unbiased"  # unbiased | consistent (vanishes with the temperature) | biased | none
    needs_factorised = True

    def __init__(self, n: int = 1) -> None:
        super().__init__()
        self.n = n

    @torch.no_grad()
    def advantage(self, losses: Tensor, loss: Loss, dist: Categorical, z: Tensor) -> Tensor:
        """Return the losses minus the baseline, shape ``(R, n)``; see ``Score.advantage``."""
        return losses - loss(dist.probs[:, None])
'''

_CUSTOM = '''"""@TITLE@: an estimator that writes its surrogate itself.

Start: two independent samples, each the other's baseline,
``g = 1/2 (L(D_1) - L(D_2)) grad [log p(D_1) - log p(D_2)]``. Replace the equation here and in
:meth:`@CLASS@.surrogate` by your own.

Reference: the paper, its arXiv id and the number of the equation.
Deviations: none.
"""

from __future__ import annotations

from torch import Tensor

from nasbench_snas.api import Distribution, Estimator, Loss, score_term


class @CLASS@(Estimator):
    """@TITLE@ from the difference of two samples."""

    name = "@NAME@"
    family = "score"
@REFERENCE@    evaluations = "2 F forward + 2 backward for theta"
    bias = "unbiased"  # unbiased | consistent (vanishes with the temperature) | biased | none
    needs_factorised = False
    n = 2

    def surrogate(self, loss: Loss, dist: Distribution, noise: Tensor) -> Tensor:
        """Return the mean loss plus terms of value zero whose gradient is the estimate, ``(R,)``.

        Args:
            loss: Takes weights ``(R, n, E, K)`` and returns losses ``(R, n)``.
            dist: The distribution; its parameters hold ``R`` replicates.
            noise: What :meth:`noise` returned: all randomness of the draw.
        """
        z = dist.hard(noise)
        losses = loss(z)
        log_prob = dist.log_prob(z).sum(dim=-1)
        gap = (losses[:, 0] - losses[:, 1]).detach()
        return losses.mean(dim=1) + score_term(0.5 * gap, log_prob[:, 0] - log_prob[:, 1])
'''

_SPACE = '''"""@TITLE@: a small cell space.

Each cell has the outputs of the two preceding cells as inputs and ``nodes`` intermediate nodes
with an edge from every earlier node. The middle cell halves the resolution and doubles the
channels. Replace this by your own graph.

Reference: the paper and its arXiv id.
"""

from __future__ import annotations

from dataclasses import dataclass

from nasbench_snas.architecture.operations import operations
from nasbench_snas.architecture.space import CellType, Layer, Space, SpaceFamily, check_resolution
from nasbench_snas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class @CLASS@(SpaceFamily):
    """Settings of the space.

    Attributes:
        nodes: Intermediate nodes of a cell.
        cells: Cells of the network.
        channels: Channels of the first cell's nodes.
        operations: Names of the candidate operations, the same on each edge.
    """

    name = "@NAME@"
    summary = "one line for listings: nodes, edges, operations"
@REFERENCE@
    nodes: int = 2
    cells: int = 3
    channels: int = 8
    operations: tuple[str, ...] = ("none", "skip_connect", "sep_conv_3x3")

    def __post_init__(self) -> None:
        """Check the settings by themselves."""
        operations(self.operations)
        for field in ("nodes", "cells", "channels"):
            if getattr(self, field) < 1:
                raise ConfigError(f"space.{field} must be at least 1, got {getattr(self, field)}.")

    def build(self, in_channels: int, num_classes: int, resolution: int) -> Space:
        """Return the space; see ``SpaceFamily.build``."""
        check_resolution(self.name, resolution, 1)
        layers, channels = [], self.channels
        for index in range(self.cells):
            reduces = index == self.cells // 2
            channels *= 2 if reduces else 1
            layers.append(Layer("cell", channels, 2 if reduces else 1, "cell"))
        return Space(
            name=self.name,
            operations=self.operations,
            cells=(CellType.dense("cell", 2, self.nodes),),
            layers=tuple(layers),
            stem_channels=self.channels,
            in_channels=in_channels,
            num_classes=num_classes,
            resolution=resolution,
        )
'''

_TEST = '''"""The conformance checks of ``@NAME@``; further tests of your own belong here too."""

from @MODULE@ import @CLASS@
from nasbench_snas.testing import @KIT@


class Test@CLASS@(@KIT@):
    @ATTRIBUTE@ = @CLASS@
'''

_PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "@DIST@"
version = "0.1.0"
description = "@TITLE@ for nasbench-snas"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["nasbench-snas"]

[project.optional-dependencies]
dev = ["pytest>=8.0"]

[project.entry-points."nasbench_snas.@GROUP@"]
"@NAME@" = "@PACKAGE@.@FILE@:@CLASS@"

[tool.setuptools.packages.find]
where = ["src"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["src"]
markers = ["slow: a proof that takes longer than about five seconds"]
"""

_README = """# @DIST@

The @KIND@ `@NAME@` for nasbench-snas.

```bash
pip install -e ".[dev]"
nasbench ls @GROUP@          # lists @NAME@
nasbench check @NAME@        # the conformance checks that the built-in ones pass, too
pytest                       # the same checks, and your own tests
@RUN@
```

The method is in `src/@PACKAGE@/@FILE@.py`. `pyproject.toml` announces it to the suite through the
entry point `nasbench_snas.@GROUP@`.
"""

_CI = """#!/bin/sh
# What a continuous-integration job runs: install, test, check.
set -eu
python -m pip install -e ".[dev]"
python -m pytest
nasbench check --quick @NAME@
"""

_IGNORE = "__pycache__/\n*.egg-info/\n.pytest_cache/\nbuild/\ndist/\nruns/\n"

SOURCES = {"pathwise": _PATHWISE, "score": _SCORE, "custom": _CUSTOM, "space": _SPACE, **OTHERS}
"""Source of a plug-in by family of estimators, and by kind."""


def fill(template: str, values: dict[str, str]) -> str:
    """Return ``template`` with every ``@KEY@`` replaced by ``values[KEY]``."""
    for key, value in values.items():
        template = template.replace(f"@{key}@", value)
    return template


def plugin_source(family: str, values: dict[str, str]) -> str:
    """Return the plug-in's own file; ``family`` is a key of :data:`SOURCES`."""
    return fill(fill(SOURCES[family], {"REFERENCE": _REFERENCE}), values)


def test_source(values: dict[str, str]) -> str:
    """Return the test file; ``values`` also has MODULE, KIT and ATTRIBUTE."""
    return fill(_TEST, values)


def repository(family: str, values: dict[str, str]) -> dict[str, str]:
    """Return relative path to text of a repository of its own."""
    package = values["PACKAGE"]
    return {
        "pyproject.toml": fill(_PYPROJECT, values),
        "README.md": fill(_README, values),
        "ci.sh": fill(_CI, values),
        ".gitignore": _IGNORE,
        f"src/{package}/__init__.py": f'"""{values["TITLE"]} for nasbench-snas."""\n',
        f"src/{package}/{values['FILE']}.py": plugin_source(family, values),
        f"tests/test_{values['FILE']}.py": test_source(values),
    }
