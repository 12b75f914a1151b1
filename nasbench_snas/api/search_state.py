"""What a derivation rule may look at: space, distribution, and accuracies if it asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from nasbench_snas.architecture.distributions import Categorical, Distribution
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import PluginError


class SearchState:
    """The state of a search, as a derivation rule sees it.

    Args:
        space: The space.
        dist: The distribution.
        generator: The only source of randomness of the rule.
        candidates: How many architectures a rule that selects should compare
            (``child.candidates``).
        measure: Returns accuracies in percent, shape ``(S,)``, of architectures ``(S, E, K)``;
            None: the rule has not declared ``uses_images``.
        train: Trains the parent at weights ``(E, K)`` for a number of steps; None: there is none.
        expired: Says whether the time of the run is up.

    Attributes:
        asked: Architectures whose accuracy was asked for, repeated ones included.
        distinct: Different ones that were measured, anew after each training of the parent.
        tuned: Steps for which the parent was trained.
    """

    def __init__(
        self,
        space: Space,
        dist: Distribution,
        generator: torch.Generator,
        *,
        candidates: int = 100,
        measure: Callable[[Tensor], Tensor] | None = None,
        train: Callable[[Tensor, int], None] | None = None,
        expired: Callable[[], bool] = lambda: False,
    ) -> None:
        self.space, self.dist, self.generator = space, dist, generator
        self.candidates, self._measure = candidates, measure
        self._train, self._expired = train, expired
        self.asked = self.distinct = self.tuned = 0
        self._measured: dict[bytes, float] = {}

    @property
    def time_is_up(self) -> bool:
        """Whether the time of the run (``--max-time``) is up: what is left has to be decided."""
        return self._expired()

    def known(self, z: Tensor) -> float | None:
        """Return the accuracy of ``z``, shape ``(E, K)``, in percent, or None if not measured."""
        value = self._measured.get(_key_of(z), -math.inf)
        return value if math.isfinite(value) else None

    @cached_property
    def probs(self) -> Tensor:
        """Probability of each operation on each edge, shape ``(E, K)``."""
        return self.dist.marginals(self.generator)[0]

    @cached_property
    def strengths(self) -> Tensor:
        """What the method ranks edges and operations by, shape ``(E, K)``; mostly :attr:`probs`."""
        return self.dist.strengths(self.generator)[0]

    @cached_property
    def logits(self) -> Tensor:
        """Logits of the operations, shape ``(E, K)``: the method's own where it has them."""
        if isinstance(self.dist, Categorical):
            return self.dist.alpha.detach()[0]
        return self.probs.log()

    def sample(self, count: int) -> Tensor:
        """Return ``count`` architectures drawn from the distribution, shape ``(count, E, K)``."""
        return self.dist.hard(self.dist.noise(1, count, self.generator))[0]

    def accuracy(self, z: Tensor) -> Tensor:
        """Return the accuracy of architectures with the parent's weights, without training.

        It is measured on images that are set apart for it. One that is asked for again is measured
        once.

        Args:
            z: Weights of the operations, shape ``(S, E, K)``: one-hot or zero rows for
                architectures, any for the parent itself with some of its operations removed.

        Returns:
            Percent, shape ``(S,)``, float64, on the CPU; minus infinity for those that the time of
            the run (``--max-time``) was too short for.

        Raises:
            PluginError: The rule has not declared ``uses_images``.
        """
        if self._measure is None:
            raise _undeclared("asked for accuracies")
        keys = [_key_of(one) for one in z]
        new = {key: one for key, one in zip(keys, z, strict=True) if key not in self._measured}
        if new:
            found = self._measure(torch.stack(list(new.values())))
            self._measured.update(zip(new, found.tolist(), strict=True))
            self.distinct += sum(map(math.isfinite, found.tolist()))
        self.asked += len(z)
        return torch.tensor([self._measured[key] for key in keys], dtype=torch.float64)

    def tune(self, z: Tensor, steps: int) -> None:
        """Train the parent's weights for some steps, with fixed weights of the operations.

        On the images that train the parent. What was measured before is measured anew when it is
        asked for again. After the rule has derived, the weights of the search are put back.

        Args:
            z: Weights of the operations, shape ``(E, K)``.
            steps: Steps of SGD; 0: nothing is done.

        Raises:
            PluginError: The rule has not declared ``uses_images``, or its ``work`` no steps.
        """
        if self._measure is None:
            raise _undeclared("trained the parent")
        if steps <= 0:
            return
        self._measured.clear()
        self.tuned += steps
        if self._train is not None:
            self._train(z, steps)


def _undeclared(what: str) -> PluginError:
    return PluginError(
        f"a derivation rule {what}, which it has not declared to do.",
        "Images are set apart only where a rule selects by them.",
        "Write uses_images = True in its class.",
    )


def _key_of(z: Tensor) -> bytes:
    """Return what tells an architecture ``(E, K)`` from others."""
    content: bytes = z.detach().cpu().float().contiguous().numpy().tobytes()
    return content
