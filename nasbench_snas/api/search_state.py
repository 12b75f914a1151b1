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

    Attributes:
        asked: Architectures whose accuracy was asked for, repeated ones included.
    """

    def __init__(
        self,
        space: Space,
        dist: Distribution,
        generator: torch.Generator,
        *,
        candidates: int = 100,
        measure: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.space, self.dist, self.generator = space, dist, generator
        self.candidates, self._measure = candidates, measure
        self.asked = 0
        self._measured: dict[bytes, float] = {}

    @property
    def distinct(self) -> int:
        """Different architectures that were measured."""
        return sum(math.isfinite(value) for value in self._measured.values())

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
            z: One-hot or zero rows, shape ``(S, E, K)``.

        Returns:
            Percent, shape ``(S,)``, float64, on the CPU; minus infinity for those that the time of
            the run (``--max-time``) was too short for.

        Raises:
            PluginError: The rule has not declared ``uses_images``.
        """
        if self._measure is None:
            raise PluginError(
                "a derivation rule asked for accuracies that it has not declared to use.",
                "Images are set apart only where a rule selects by them.",
                "Write uses_images = True in its class.",
            )
        keys = [_key_of(one) for one in z]
        new = {key: one for key, one in zip(keys, z, strict=True) if key not in self._measured}
        if new:
            found = self._measure(torch.stack(list(new.values())))
            self._measured.update(zip(new, found.tolist(), strict=True))
        self.asked += len(z)
        return torch.tensor([self._measured[key] for key in keys], dtype=torch.float64)


def _key_of(z: Tensor) -> bytes:
    """Return what tells an architecture ``(E, K)`` from others."""
    content: bytes = z.detach().cpu().float().contiguous().numpy().tobytes()
    return content
