"""An estimator minimising an expected loss over a table, many seeds side by side.

Seeds are replicates of the distribution: one surrogate, one backward pass and one look-up serve all
of them, and their gradients do not mix. An estimator that keeps state (a baseline, a population)
would share it among replicates, so it runs seed by seed instead. Noise of a seed comes from the
streams of that seed alone: its course is the same whichever seeds run beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Estimator, Space
from nasbench_snas.oracle.exact import architecture_index
from nasbench_snas.seeding import stream
from nasbench_snas.truth.objective import TableObjective, contract

MakeEstimator = Callable[[], Estimator]
BETAS, EPS = (0.5, 0.999), 1e-8
"""Adam's, as of the architecture in a search."""
_BLOCK = 32
_MOST_REPEATS = 5
_COLUMNS = ("derived", "best", "expected", "spent", "look_ups", "distinct")


@dataclass(frozen=True)
class Course:
    """What one estimator reached, for each seed (row) and each budget (column).

    Attributes:
        budgets: The budgets, shape ``(J,)``.
        derived: Loss of the most probable architecture; NaN for estimators without a gradient.
        best: Lowest loss that was looked up; NaN where nothing was.
        expected: Expected loss; NaN for distributions that do not factorise.
        spent: What was spent of the budget.
        look_ups: Look-ups, repeated ones counted again.
        distinct: Different architectures among them.
        relaxed: Whether the multilinear extension was evaluated.
        steps: Steps of the optimiser.
    """

    budgets: np.ndarray[Any, Any]
    derived: np.ndarray[Any, Any]
    best: np.ndarray[Any, Any]
    expected: np.ndarray[Any, Any]
    spent: np.ndarray[Any, Any]
    look_ups: np.ndarray[Any, Any]
    distinct: np.ndarray[Any, Any]
    relaxed: bool
    steps: int

    @property
    def recommended(self) -> np.ndarray[Any, Any]:
        """Loss of the architecture that the method names, ``(S, J)``.

        The most probable one; where there is no gradient, the best that was looked up.
        """
        return np.where(np.isnan(self.derived), self.best, self.derived)


@dataclass(frozen=True)
class Purse:
    """What is counted.

    Attributes:
        budgets: Points along the way, ascending; the last one ends the course.
        price: Of each architecture's look-up, shape ``(K^E,)``, or None: 1.
        repeats: Whether an architecture that is looked up again is paid again. If not, a course
            ends all the same after five times the last budget.
    """

    budgets: tuple[float, ...]
    price: Tensor | None = None
    repeats: bool = True


class Ledger:
    """What each of ``S`` seeds has looked up, paid and seen.

    Args:
        seeds: ``S``.
        losses: Losses of all architectures, flat.
        purse: What is counted.
    """

    def __init__(self, seeds: int, losses: Tensor, purse: Purse) -> None:
        self.losses, self.purse = losses, purse
        self.seen = torch.zeros(seeds, len(losses), dtype=torch.bool)
        self.look_ups = torch.zeros(seeds, dtype=torch.float64)
        self.all_paid, self.first_paid = self.look_ups.clone(), self.look_ups.clone()
        self.distinct = self.look_ups.clone()
        self.best = torch.full((seeds,), torch.nan, dtype=torch.float64)

    @property
    def spent(self) -> Tensor:
        """What counts against the budget, shape ``(S,)``."""
        return self.all_paid if self.purse.repeats else self.first_paid

    def __call__(self, index: Tensor, extension: bool) -> None:
        """Enter look-ups ``(S, n)``; an evaluation of the extension is paid as one look-up."""
        price = self.purse.price
        self.look_ups = self.look_ups + index.shape[1]
        cost = torch.ones(index.shape, dtype=torch.float64) if price is None else price[index]
        self.all_paid = self.all_paid + cost.sum(dim=1)
        if extension:
            self.first_paid = self.first_paid + cost.sum(dim=1)
            return
        ordered, order = index.sort(dim=1)
        again = torch.zeros_like(ordered, dtype=torch.bool)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        new = ~(again | self.seen.gather(1, ordered))
        self.first_paid = self.first_paid + (cost.gather(1, order) * new).sum(dim=1)
        self.distinct = self.distinct + new.sum(dim=1)
        self.seen.scatter_(1, index, True)
        self.best = torch.fmin(self.best, self.losses[index].amin(dim=1))


def run_course(
    make: MakeEstimator,
    space: Space,
    table: Tensor,
    seeds: Sequence[int],
    rates: Sequence[float],
    purse: Purse,
) -> Course:
    """Let an estimator minimise the expected loss.

    Args:
        make: Makes the estimator.
        space: Says how many edges and operations there are.
        table: Losses, shape ``(K,) * E``, float64.
        seeds: One for each row of the result; equal ones see the same noise.
        rates: Learning rate of each row.
        purse: The budgets.
    """
    if not make().state_dict():
        return _run(make(), space, table, seeds, rates, purse)
    parts = [
        _run(make(), space, table, [seed], [rate], purse)
        for seed, rate in zip(seeds, rates, strict=True)
    ]
    steps = max(part.steps for part in parts)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS
    }
    return replace(parts[0], steps=steps, **joined)


def _run(
    estimator: Estimator,
    space: Space,
    table: Tensor,
    seeds: Sequence[int],
    rates: Sequence[float],
    purse: Purse,
) -> Course:
    ledger = Ledger(len(seeds), table.flatten(), purse)
    loss = TableObjective(table, all_operations=estimator.needs_all_operations, looked_up=ledger)
    dist = starting_distribution(estimator, space, seeds)
    noise, adam = _Noise(estimator, dist, seeds), ReplicateAdam(estimator, dist, rates)
    record = _Record(len(seeds), purse, ledger, estimator, table)
    last, step = purse.budgets[-1], 0
    while bool((ledger.spent <= last).any()) and bool(
        (ledger.all_paid <= _MOST_REPEATS * last).any()
    ):
        before = record.state(dist)
        estimator.set_progress(min(1.0, float(ledger.spent.mean()) / last))
        estimator.train()
        value = estimator.surrogate(loss, dist, noise.next()).sum()
        record.crossed(before, dist)
        adam.step(value)
        for _ in range(estimator.updates - 1):
            again = estimator.replay(dist)
            if again is None:
                break
            adam.step(again.sum())
        step += 1
    record.finish(dist)
    return record.course(loss.relaxed, step)


def starting_distribution(estimator: Estimator, space: Space, seeds: Sequence[int]) -> Distribution:
    """Return the estimator's distribution in float64, a replicate for each seed."""
    made = {
        seed: estimator.make_distribution(space, stream(seed, "alpha-init"))
        for seed in dict.fromkeys(seeds)
    }
    dist = made[seeds[0]].double().replicate(len(seeds))
    for name, parameter in dist.named_parameters():
        rows = [dict(made[seed].named_parameters())[name].detach()[:1] for seed in seeds]
        with torch.no_grad():
            parameter.copy_(torch.cat(rows))
    return dist


class _Noise:
    """The noise of every step, each seed's from a stream of its own, drawn in blocks."""

    def __init__(self, estimator: Estimator, dist: Distribution, seeds: Sequence[int]) -> None:
        self.estimator, self.one = estimator, dist.replicate(1)
        different = list(dict.fromkeys(seeds))
        self.generators = [stream(seed, "noise") for seed in different]
        self.rows = torch.tensor([different.index(seed) for seed in seeds])
        self.block: Any = None
        self.place = _BLOCK

    def next(self) -> Any:
        """Return the noise of the next step, a leading axis of ``S``."""
        if self.place == _BLOCK:
            drawn = [self.estimator.noise(self.one, _BLOCK, g) for g in self.generators]
            self.block, self.place = _stacked(drawn), 0
        self.place += 1
        return _taken(self.block, self.rows, self.place - 1)


def _stacked(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.stack(list(parts))
    if isinstance(first, tuple | list):
        return type(first)(_stacked(column) for column in zip(*parts, strict=True))
    if isinstance(first, dict):
        return {key: _stacked([part[key] for part in parts]) for key in first}
    return first


def _taken(block: Any, rows: Tensor, step: int) -> Any:
    if isinstance(block, Tensor):
        return block[rows, step]
    if isinstance(block, tuple | list):
        return type(block)(_taken(part, rows, step) for part in block)
    if isinstance(block, dict):
        return {key: _taken(part, rows, step) for key, part in block.items()}
    return block


class ReplicateAdam:
    """Adam with a learning rate for each replicate; plain steps where the estimator asks for them.

    Args:
        estimator: Whether it is ``exponentiated``.
        dist: Its parameters have a leading axis of replicates.
        rates: Learning rates, one a replicate.
    """

    def __init__(self, estimator: Estimator, dist: Distribution, rates: Sequence[float]) -> None:
        self.plain, self.parameters = estimator.exponentiated, list(dist.parameters())
        self.rates = torch.tensor(rates, dtype=torch.float64)
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = 0

    def step(self, value: Tensor) -> None:
        """Descend along the gradient of ``value``, a scalar."""
        if not value.requires_grad:
            return
        grads = torch.autograd.grad(value, self.parameters, allow_unused=True)
        self.count += 1
        with torch.no_grad():
            for i, (parameter, gradient) in enumerate(zip(self.parameters, grads, strict=True)):
                if gradient is None:
                    continue
                move = gradient if self.plain else self._adapted(i, gradient)
                parameter.sub_(self.rates.view(-1, *[1] * (parameter.dim() - 1)) * move)

    def _adapted(self, i: int, gradient: Tensor) -> Tensor:
        b1, b2 = BETAS
        self.first[i].mul_(b1).add_(gradient, alpha=1 - b1)
        self.second[i].mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
        scale = (self.second[i] / (1 - b2**self.count)).sqrt_().add_(EPS)
        return self.first[i] / (1 - b1**self.count) / scale


@dataclass(frozen=True)
class _State:
    """Where all seeds stand between two steps."""

    parameters: tuple[Tensor, ...]
    best: Tensor
    spent: Tensor
    look_ups: Tensor
    distinct: Tensor


class _Record:
    """Fills the course: at each budget, the last state that had not spent more."""

    def __init__(
        self, seeds: int, purse: Purse, ledger: Ledger, estimator: Estimator, table: Tensor
    ) -> None:
        self.purse, self.ledger, self.estimator, self.table = purse, ledger, estimator, table
        shape = (seeds, len(purse.budgets))
        self.found = {name: np.full(shape, np.nan) for name in _COLUMNS}

    def state(self, dist: Distribution) -> _State:
        """Return a copy of the parameters and the accounts as they are."""
        own = self.ledger
        copies = tuple(p.detach().clone() for p in dist.parameters())
        return _State(copies, own.best, own.spent, own.look_ups, own.distinct)

    def crossed(self, before: _State, dist: Distribution) -> None:
        """Record the seeds whose step went over a budget, as they were ``before`` it."""
        now = self.ledger.spent
        for column, budget in enumerate(self.purse.budgets):
            rows = ((before.spent <= budget) & (now > budget)).numpy()
            if rows.any():
                self._enter(column, rows, before, dist)

    def finish(self, dist: Distribution) -> None:
        """Record what stayed below a budget until the end."""
        for column in range(len(self.purse.budgets)):
            rows = np.isnan(self.found["spent"][:, column])
            if rows.any():
                self._enter(column, rows, self.state(dist), dist)

    def _enter(
        self, column: int, rows: np.ndarray[Any, Any], state: _State, dist: Distribution
    ) -> None:
        with torch.no_grad():
            derived, expected = self._of_parameters(state, dist)
        values = {
            "derived": derived,
            "expected": expected,
            "best": state.best,
            "spent": state.spent,
            "look_ups": state.look_ups,
            "distinct": state.distinct,
        }
        for name, tensor in values.items():
            self.found[name][rows, column] = tensor.numpy()[rows]

    def _of_parameters(self, state: _State, dist: Distribution) -> tuple[Tensor, Tensor]:
        """Return the losses of the most probable architectures, and the expected losses."""
        missing = torch.full_like(state.best, torch.nan)
        if not self.estimator.has_alpha_gradient:
            return missing, missing
        here = [p.detach().clone() for p in dist.parameters()]
        _write(dist, state.parameters)
        derived = self.table.flatten()[architecture_index(dist.mode())]
        expected = missing
        if dist.factorised:
            expected = contract(self.table, dist.marginals(stream(0, "unused")))
        _write(dist, here)
        return derived, expected

    def course(self, relaxed: bool, steps: int) -> Course:
        """Return what was recorded."""
        budgets = np.array(self.purse.budgets)
        return Course(budgets, **self.found, relaxed=relaxed, steps=steps)


def _write(dist: Distribution, values: Sequence[Tensor]) -> None:
    for parameter, value in zip(dist.parameters(), values, strict=True):
        parameter.copy_(value)
