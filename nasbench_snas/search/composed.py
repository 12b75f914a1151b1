"""What is composed with the estimator of a search: its transformers and stops, as its settings say.

They are made before the parent, which must fit what they need.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nasbench_snas.api import EarlyStop, LossTransformer
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.search.derivation import Derives
from nasbench_snas.search.stopping import Stops
from nasbench_snas.search.transform import Transformers
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import create
from nasbench_snas.settings.run import RunConfig


class Composed:
    """The transformers and stops of one search.

    Args:
        config: Its settings.
        registry: Where they come from.
        space: The space.
        home: Where random numbers are drawn.

    Attributes:
        members: The transformers, the first innermost.
        stops: The stops.

    Raises:
        ConfigError: One of them has no meaning in the space.
        PluginError: One is unknown or broken.
    """

    def __init__(
        self, config: RunConfig, registry: Registry, space: Space, home: torch.device
    ) -> None:
        self._space = space
        self.members: list[LossTransformer] = [
            create(registry.transformer(name), config.transformer.get(name, {}), "transformer")
            for name in config.transformers
        ]
        self.stops: list[EarlyStop] = [
            create(registry.stop(name), config.stop.get(name, {}), "stop") for name in config.stops
        ]
        kinds: dict[str, Sequence[LossTransformer | EarlyStop]] = {
            "transformer": self.members,
            "stop": self.stops,
        }
        self._own = {
            kind: {one.name: stream(config.seed, f"{kind} {one.name}", home) for one in made}
            for kind, made in kinds.items()
        }
        if self.auxiliary_skip and config.search.track_gradients:
            raise ConfigError(
                "gradients cannot be tracked while auxiliary skip connections fade.",
                "What they are compared with is the exact gradient of networks without them.",
                "Leave out --track-gradients (search.track_gradients).",
            )
        if self.auxiliary_skip and space.auxiliary_skip:
            raise ConfigError(
                f"space {space.name!r} has auxiliary skip connections of its own.",
                "Its children keep them; those that a transformer adds vanish with the search.",
                "Leave the transformer out, or choose a space without them.",
            )

    @property
    def generators(self) -> dict[str, torch.Generator]:
        """Everyone's own source of randomness, by kind and name."""
        return {f"{kind} {n}": g for kind, own in self._own.items() for n, g in own.items()}

    @property
    def double_backward(self) -> bool:
        """Whether gradients of gradients of the loss are taken."""
        of_stops = any(stop.needs_double_backward for stop in self.stops)
        return of_stops or any(member.needs_double_backward for member in self.members)

    @property
    def auxiliary_skip(self) -> bool:
        """Whether the parent needs auxiliary skip connections for them."""
        return any(member.auxiliary_skip for member in self.members)

    @property
    def captures(self) -> bool:
        """Whether steps may be captured as CUDA graphs."""
        return all(member.captures for member in self.members)

    @property
    def plain(self) -> str:
        """Why the parent must be the reference parent, in words; empty: any will do."""
        if any(member.needs_cells for member in self.members):
            return "as weights of single cells need it"
        if any(member.watches_operations for member in self.members):
            return "as gradients of single operations need it"
        return ""

    def transformers(self) -> Transformers | None:
        """Return the transformers as a search applies them, or None if there are none."""
        if not self.members:
            return None
        return Transformers(self.members, self._own["transformer"], self._space)

    def watching(self, search: Derives) -> Stops | None:
        """Return the stops as they watch ``search``, or None if there are none."""
        return Stops(self.stops, self._own["stop"], search) if self.stops else None
