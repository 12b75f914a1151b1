"""Whether a planned search can start: everything that a run builds, built without its folder.

A dry run, a sweep and a run pass the same checks, so that what is planned is what runs: images,
space, estimator, parent, backend and resource limits by building a :class:`Search`, and what an
estimator refuses only at its first draw by drawing once from a loss without a network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import NasbenchError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import PlannedRun
from nasbench_snas.search.search import Search
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import create
from nasbench_snas.settings.run import RunConfig

_LOG = logging.getLogger("nasbench_snas")
_UNKNOWN = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


class _NoNetwork:
    """A smooth loss of the weights alone, in place of a network's."""

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the loss of each architecture, shape ``(R, n)``."""
        slope = torch.linspace(0.0, 1.0, z.shape[-1], device=z.device, dtype=z.dtype)
        return functional.softplus((z * slope).mean(dim=(-1, -2)))

    def error(self, z: Tensor) -> Tensor:
        """Return an error of one half for each architecture, shape ``(R, n)``."""
        return torch.full(z.shape[:2], 0.5, device=z.device, dtype=z.dtype)


def check_draw(config: RunConfig, registry: Registry, space: Space, device: torch.device) -> None:
    """Draw once from a new estimator of ``config``; nothing of the search is touched.

    Raises:
        NasbenchError: The estimator refuses this space or these settings.
    """
    cls = registry.estimator(config.estimator.name)
    estimator = create(cls, config.estimator.parameters, "estimator").to(device)
    try:
        dist = estimator.make_distribution(space, stream(0, "trial"))
        dist.to(device)
        estimator.eval()
        noise = estimator.noise(dist, 1, stream(0, "trial-noise", device))
        estimator.surrogate(_NoNetwork(), dist, noise)
    except NasbenchError:
        raise
    except _UNKNOWN as error:  # it needs more than this loss: its run is its judge
        _LOG.debug("no trial draw of %s: %s", config.estimator.name, error)


def check_ready(
    config: RunConfig, registry: Registry, device: str = "cpu", kernels: str = "auto"
) -> None:
    """Build what a run of ``config`` builds before it begins.

    Raises:
        NasbenchError: What the run would be refused for.
    """
    search = Search(config, registry, device, kernels)
    check_draw(config, registry, search.space, search.device)


def unlike(plans: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Return the plans that differ in more than their seed, the first of each kind."""
    kinds: dict[str, PlannedRun] = {}
    for plan in plans:
        kinds.setdefault(plan.config.model_copy(update={"seed": 0}).model_dump_json(), plan)
    return list(kinds.values())
