"""Whether a planned search can start: everything that a run builds, built without its folder.

A dry run, a sweep and a run pass the same checks, so that what is planned is what runs: images,
space, estimator, parent, backend and resource limits by building a :class:`Search`, and what an
estimator refuses only at its first draw by drawing once from a loss without a network. A derivation
rule and transformers that are plug-ins are called once, too: after the training it would be late.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.api import Distribution, LossTransformer, Role, SearchState
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError, NasbenchError, PluginError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import PlannedRun
from nasbench_snas.search.rules import derive_by, make_rule
from nasbench_snas.search.search import Search
from nasbench_snas.search.transform import Transformers
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
        return functional.softplus((z * slope).flatten(2).mean(dim=-1))

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
        return
    _check_rule(config, registry, space, dist)
    for name in config.transformers:
        _check_transformer(name, config, registry, space, dist)


def _check_rule(config: RunConfig, registry: Registry, space: Space, dist: Distribution) -> None:
    name = config.child.rule
    if name == "declared" or not registry.is_plugin("rule", name):
        return
    rule = make_rule(registry, name, config.child.parameters)
    where = next(dist.parameters()).device
    state = SearchState(
        space,
        dist,
        stream(0, "trial", where),
        candidates=config.child.candidates,
        measure=(lambda z: torch.zeros(len(z))) if rule.uses_images else None,
    )
    with _blamed("derivation rule", name):
        derive_by(rule, state)
        announced = rule.work(space, config.child.candidates).steps
    if state.tuned > announced:
        raise PluginError(
            f"derivation rule {name!r} trains the parent for {state.tuned} steps.",
            f"Its method work() announces {announced}.",
            "Return all steps from work(): RuleWork(measured, steps).",
        )


def _check_transformer(
    name: str, config: RunConfig, registry: Registry, space: Space, dist: Distribution
) -> None:
    cls = registry.transformer(name)
    estimator = registry.estimator(config.estimator.name)
    only_penalty = (
        cls.transform is LossTransformer.transform
        and cls.penalty is not LossTransformer.penalty
        and not (cls.auxiliary_skip or cls.watches_operations)
    )
    if only_penalty and not estimator.has_alpha_gradient:
        raise ConfigError(
            f"transformer {name!r} is a penalty on alpha, which {estimator.name} does not train.",
            "It would change nothing.",
            "Leave it out, or choose an estimator with a gradient.",
        )
    made = create(cls, config.transformer.get(name, {}), f"transformer.{name}")
    where = next(dist.parameters()).device
    one = Transformers([made], {name: stream(0, "trial", where)}, space)
    roles: tuple[Role, ...] = ("joint",) if config.search.level == "joint" else ("theta", "alpha")
    z = torch.full((1, 2, space.num_edges, space.num_operations), 0.5, device=where)
    with _blamed("transformer", name):
        for role in roles:
            one.loss(_NoNetwork(), role)(z)
            if role != "theta":
                one.penalty(dist, role)


@contextmanager
def _blamed(kind: str, name: str) -> Iterator[None]:
    """Say which plug-in an error comes from."""
    try:
        yield
    except NasbenchError:
        raise
    except Exception as error:
        raise PluginError(
            f"{kind} {name!r} failed when it was tried: {type(error).__name__}: {error}",
            fix="Mend the plug-in; `nasbench check` runs its tests.",
        ) from error


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
