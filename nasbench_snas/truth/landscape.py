"""Estimators on a published landscape: no network, every loss known, beside the exact gradient.

The objective is the expected published loss of an architecture drawn from the distribution, over
all 15,625 architectures of NAS-Bench-201:

    L(Z) = 1 - accuracy(Z) / 100 + eta C(Z) / mean C        (eta = 0: accuracy alone),

with the mean validation accuracy of the published seeds and, if asked for, parameters or latency
as ``C``. All methods get equal numbers of look-ups; an architecture that is looked up again counts
again, or not, as is chosen. A relaxed method is given the multilinear extension of the table
(:mod:`~nasbench_snas.truth.objective`) and is marked: an evaluation is counted as one look-up, but
no table could answer it with one. The exact gradient, the reference, is counted one a step, though
it reads the whole table.

Learning rates are tuned on other seeds: every method with a gradient gets the same rates, evolution
as many pairs of population and tournament; the choice is the lowest mean loss of the recommended
architecture at the end. That budget is the same for all, and is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.api import Estimator, Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.settings.parameters import create
from nasbench_snas.stats.means import mean_interval
from nasbench_snas.truth.classes import key_of
from nasbench_snas.truth.course import Course, Purse, run_course
from nasbench_snas.truth.published import DATASETS, PublishedTable, check_dataset, parameters
from nasbench_snas.truth.seedwise import (
    ExactContraction,
    RandomSearch,
    SeedwiseEvolution,
    seedwise,
)

SPACE = "nasbench201"
DEFAULT = (
    *("exact", "random", "regularized-evolution", "reinforce", "rloo", "unordered-set"),
    *("disarm-tree", "arsm", "nes", "local-expectation", "indecater"),
    *("darts", "snas", "gdas", "straight-through", "st-gumbel", "reinmax"),
)
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
POPULATIONS = ((5, 2), (10, 2), (10, 5), (20, 5), (20, 10), (50, 10), (50, 25), (100, 25))
"""Population and tournament of evolution: as many settings as there are learning rates."""
BY_SECONDS = ("random", "regularized-evolution", "reinforce")
SECONDS = (12_000.0, 200_000.0)
Cost = Literal["none", "parameters", "latency"]


@dataclass(frozen=True, kw_only=True)
class LandscapeSettings:
    """What is compared.

    Attributes:
        estimators: Names; ``random`` is random search, ``exact`` the exact gradient.
        dataset: Whose accuracies.
        queries: Look-ups of each seed.
        seeds: The seeds.
        repeats: Whether an architecture that is looked up again counts again.
        cost: What is added to the loss.
        eta: Weight of it.
        tuning_seeds: Seeds of the tuning; none of ``seeds``.
        rates: Learning rates that are tried.
        draws: Gradient draws of each estimator at each point; 0: none.

    Raises:
        ConfigError: A value is not possible.
    """

    estimators: tuple[str, ...] = DEFAULT
    dataset: str = "cifar10"
    queries: int = 1000
    seeds: tuple[int, ...] = tuple(range(100))
    repeats: bool = True
    cost: Cost = "none"
    eta: float = 0.0
    tuning_seeds: tuple[int, ...] = tuple(range(10_000, 10_020))
    rates: tuple[float, ...] = RATES
    draws: int = 2000

    def __post_init__(self) -> None:
        """Check what cannot be."""
        check_dataset(self.dataset)
        if self.queries < 1 or len(self.seeds) < 2 or self.draws < 0 or not self.rates:
            raise ConfigError(
                f"{self.queries} queries, {len(self.seeds)} seeds, {len(self.rates)} rates.",
                "Expected at least one query, two seeds and a learning rate.",
            )
        if shared := set(self.seeds) & set(self.tuning_seeds):
            raise ConfigError(
                f"seeds {sorted(shared)} are tuned on and reported.", "They must be different."
            )
        if (self.cost == "none") != (self.eta == 0):
            raise ConfigError(
                f"cost = {self.cost}, eta = {self.eta}.", "Give both, or neither: --cost --eta."
            )

    @property
    def budgets(self) -> tuple[float, ...]:
        """Points along the way, geometric, whole numbers, the last all queries."""
        points = np.geomspace(min(10, self.queries), self.queries, 13).round()
        return tuple(float(point) for point in np.unique(points))

    @property
    def tuning_queries(self) -> int:
        """Look-ups that the tuning of one method may spend."""
        return len(self.rates) * len(self.tuning_seeds) * self.queries


def loss_table(settings: LandscapeSettings, published: PublishedTable) -> Tensor:
    """Return the losses, shape ``(5,) * 6``, float64, axes in the order of the digits of a key."""
    loss = 1 - published.mean(settings.dataset) / 100
    if settings.cost == "parameters":
        costs = np.array([parameters(key_of(i), settings.dataset) for i in range(5**6)])
        loss = loss + settings.eta * costs / costs.mean()
    if settings.cost == "latency":
        costs = published.latency[:, DATASETS.index(settings.dataset)].astype(float)
        loss = loss + settings.eta * costs / costs.mean()
    return torch.tensor(loss, dtype=torch.float64).view((5,) * 6)


@dataclass(frozen=True)
class Choice:
    """A setting that was tried, and what it reached on the tuning seeds.

    Attributes:
        rate: Learning rate.
        settings: Further settings of the estimator.
        loss: Mean loss of the recommended architecture at the end.
    """

    rate: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    loss: float = float("nan")


class Landscape:
    """The table, the space and what is run on them.

    Args:
        settings: What is compared.
        registry: Where estimators and the space come from.
        published: The accuracies.
    """

    def __init__(
        self, settings: LandscapeSettings, registry: Registry, published: PublishedTable
    ) -> None:
        self.settings, self.registry = settings, registry
        self.table = loss_table(settings, published)
        self.space: Space = registry.space(SPACE)().build(3, 10, 32)
        column = DATASETS.index(settings.dataset)
        self.seconds = torch.tensor(published.seconds[:, column] / 10, dtype=torch.float64)

    def maker(
        self, name: str, values: Mapping[str, Any], *, by_seed: bool = True
    ) -> Callable[[], Estimator]:
        """Return what makes the estimator ``name``.

        Args:
            name: Its name.
            values: Its settings.
            by_seed: Whether a moving average is one for each replicate.

        Raises:
            PluginError: It is unknown.
        """
        if name == "random":
            return RandomSearch
        if name == "exact":
            return lambda: ExactContraction(self.table)
        if name == "regularized-evolution":
            return lambda: SeedwiseEvolution(**values)
        cls = self.registry.estimator(name)

        def make() -> Estimator:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                made = create(cls, dict(values), f"estimator {name}").double()
                return seedwise(made) if by_seed else made

        return make

    def candidates(self, name: str) -> list[Choice]:
        """Return what the tuning tries: rates, for evolution populations, for random nothing."""
        if name == "random":
            return [Choice(1.0)]
        if name == "regularized-evolution":
            pairs = POPULATIONS[: len(self.settings.rates)]
            return [Choice(1.0, {"population": p, "tournament": t}) for p, t in pairs]
        return [Choice(rate) for rate in self.settings.rates]

    def tune(self, name: str, purse: Purse) -> list[Choice]:
        """Return all candidates with what they reached, the best first.

        Rates are tried side by side, each on every tuning seed.
        """
        found, seeds = self.candidates(name), self.settings.tuning_seeds
        if len(found) == 1:
            return found
        purse, tried = Purse(purse.budgets[-1:], purse.price, purse.repeats), []
        groups: dict[str, list[Choice]] = {}
        for choice in found:
            groups.setdefault(str(dict(choice.settings)), []).append(choice)
        for group in groups.values():
            rates = [choice.rate for choice in group for _ in seeds]
            course = self._course(name, group[0], list(seeds) * len(group), rates, purse)
            ends = course.recommended[:, -1].reshape(len(group), len(seeds)).mean(axis=1)
            tried += [
                Choice(choice.rate, choice.settings, float(loss))
                for choice, loss in zip(group, ends, strict=True)
            ]
        return sorted(tried, key=lambda choice: choice.loss)

    def _course(
        self,
        name: str,
        choice: Choice,
        seeds: Sequence[int],
        rates: Sequence[float],
        purse: Purse,
    ) -> Course:
        make = self.maker(name, choice.settings)
        return run_course(make, self.space, self.table, seeds, rates, purse)

    def compare(self, name: str) -> dict[str, Any]:
        """Tune and run one method by number of look-ups; return plain values."""
        purse = Purse(self.settings.budgets, None, self.settings.repeats)
        return self._tuned(name, purse, self.settings.tuning_queries)

    def by_seconds(self, name: str) -> dict[str, Any]:
        """Tune and run one method by the seconds of training that its look-ups stand for."""
        purse = Purse(SECONDS, self.seconds, self.settings.repeats)
        runs = len(self.candidates(name)) * len(self.settings.tuning_seeds)
        return self._tuned(name, purse, SECONDS[-1] * runs)

    def _tuned(self, name: str, purse: Purse, tuning: float) -> dict[str, Any]:
        start = time.process_time()
        tried = self.tune(name, purse)
        tuned = time.process_time()
        seeds = self.settings.seeds
        course = self._course(name, tried[0], seeds, [tried[0].rate] * len(seeds), purse)
        lowest = float(self.table.min())
        cls = type(self.maker(name, tried[0].settings)())
        return {
            "estimator": name,
            "family": cls.family,
            "relaxed": course.relaxed and name != "exact",
            "n": len(seeds),
            "rate": tried[0].rate if cls.has_alpha_gradient else None,
            "settings": dict(tried[0].settings),
            "tuning_budget": 0 if len(tried) == 1 else tuning,
            "tuning": [asdict(choice) for choice in tried],
            "steps": course.steps,
            "tuning_seconds": tuned - start,
            "seconds": time.process_time() - tuned,
            "curve": [
                {
                    "budget": float(budget),
                    "look_ups": float(course.look_ups[:, j].mean()),
                    "distinct": float(course.distinct[:, j].mean()),
                    "recommended": _regret(course.recommended[:, j], lowest),
                    "best": _regret(course.best[:, j], lowest),
                    "expected": _regret(course.expected[:, j], lowest),
                }
                for j, budget in enumerate(course.budgets)
            ],
        }


def _regret(losses: np.ndarray[Any, Any], lowest: float) -> dict[str, float] | None:
    """Return mean regret in percentage points with its 95 % t interval, and quartiles."""
    if np.isnan(losses).any():
        return None
    values = 100 * (losses - lowest)
    interval = mean_interval(values)
    quartiles = np.quantile(values, [0.25, 0.5, 0.75])
    names = ("mean", "low", "high", "q25", "median", "q75")
    numbers = (interval.estimate, interval.low, interval.high, *quartiles)
    return {name: float(number) for name, number in zip(names, numbers, strict=True)}
