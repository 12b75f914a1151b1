"""Conformance checks of early stops: that they only look, and can be taken up again."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from nasbench_snas.api import Categorical, EarlyStop, EpochState, Loss, Verdict, one_hot
from nasbench_snas.seeding import stream
from nasbench_snas.settings.parameters import create
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks
from nasbench_snas.testing.globals import global_generators_rest
from nasbench_snas.testing.toy import SmoothLoss, toy_space

_EPOCHS = 20


class StopConformance(DocumentationChecks, Conformance):
    """Checks of an early stop: a :class:`~nasbench_snas.api.EarlyStop`.

    Attributes:
        stop: The class under test.
        settings: Keyword arguments it is constructed with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "stop"
    stop: ClassVar[type[EarlyStop]]
    settings: ClassVar[dict[str, Any]] = {}
    documented_attributes = ("name", "summary")

    def made(self) -> EarlyStop:
        """Return the stop under test."""
        return create(self.stop, self.settings, "stop")

    def state(self, epoch: int, generator: torch.Generator) -> EpochState:
        """Return the state after an epoch of a search whose logits grow."""
        space = toy_space()
        shape = (space.num_edges, space.num_operations)
        logits = epoch * torch.randn(shape, generator=stream(0, "conformance"))

        def loss(images: int) -> Loss:
            return SmoothLoss()

        return EpochState(
            space,
            Categorical(logits),
            generator,
            epoch=epoch,
            epochs=_EPOCHS,
            derive=lambda: one_hot(logits.argmax(dim=-1), space.num_operations, logits.dtype),
            loss=loss,
        )

    def course(self, stop: EarlyStop, epochs: range, generator: torch.Generator) -> list[Any]:
        """Return verdicts and logged numbers of some epochs."""
        found = []
        for epoch in epochs:
            state = self.state(epoch, generator)
            found.append((stop.decide(state), state.logged))
        return found

    def test_it_returns_a_verdict_or_nothing(self) -> None:
        """A verdict says why, and goes back no further than ``memory`` and the epochs there are."""
        stop = self.made()
        for epoch, (verdict, logged) in enumerate(self.course(stop, range(1, 21), stream(1, "c"))):
            assert all(isinstance(value, float) for value in logged.values())
            if verdict is None:
                continue
            assert isinstance(verdict, Verdict), f"expected a Verdict, got {verdict!r}"
            assert verdict.reason, "say why the search ends"
            assert 0 <= verdict.back <= min(stop.memory, epoch), "it goes back too far"

    def test_the_same_search_has_the_same_verdicts(self) -> None:
        """All randomness is the state's generator; global generators are left alone."""
        with global_generators_rest():
            pair = [self.course(self.made(), range(1, 21), stream(1, "c")) for _ in range(2)]
        assert pair[0] == pair[1], "the same search had other verdicts"

    def test_the_search_is_left_as_it_is(self) -> None:
        """The parameters of the distribution are only read."""
        stop, state = self.made(), self.state(3, stream(1, "c"))
        before = [p.detach().clone() for p in state.dist.parameters()]
        stop.decide(state)
        for kept, now in zip(before, state.dist.parameters(), strict=True):
            assert torch.equal(kept, now), "the stop changed the distribution"
            assert now.grad is None, "the stop left a gradient"

    def test_its_state_survives_a_round_trip(self) -> None:
        """A stop continued from ``state_dict`` decides as one that was never interrupted."""
        whole = self.course(self.made(), range(1, 21), stream(1, "c"))
        for cut in (1, 7, 13):
            first, second, generator = self.made(), self.made(), stream(1, "c")
            before = self.course(first, range(1, cut + 1), generator)
            second.load_state_dict(first.state_dict())
            after = self.course(second, range(cut + 1, 21), generator)
            assert before + after == whole, "state_dict does not hold everything that changes"
