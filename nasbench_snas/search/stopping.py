"""The early stops of a search: what they see after an epoch, and what a verdict of theirs does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from nasbench_snas.api import EarlyStop, EpochState, Loss, Verdict
from nasbench_snas.errors import ConfigError, PluginError
from nasbench_snas.search.derivation import Derives
from nasbench_snas.search.objective import SupernetLoss


class FixedLoss(SupernetLoss):
    """A loss whose evaluation leaves the parent as it is: running statistics do not move.

    Batch norms use the statistics of the batch.
    """

    def _logits(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        parent = self.parent
        if not isinstance(parent, torch.nn.Module):
            raise TypeError("parents are modules")
        buffers = {name: buffer.clone() for name, buffer in parent.named_buffers()}
        training = parent.training
        parent.train()
        try:
            logits: Tensor = functional_call(
                parent, buffers, (self.images, z), {"all_operations": True}
            )
        finally:
            parent.train(training)
        return logits


class Stops:
    """The stops of one search.

    Args:
        members: They look at every epoch in this order; the first that ends the search counts.
        generators: Each one's own source of randomness, by name.
        search: What they look at.

    Attributes:
        stopped: What ended the search: ``at`` (epoch), ``by`` (name), ``reason`` and
            ``architecture`` (the epoch that it is of); None: nothing has.

    Raises:
        ConfigError: A stop has no meaning in this search.
    """

    def __init__(
        self,
        members: Sequence[EarlyStop],
        generators: Mapping[str, torch.Generator],
        search: Derives,
    ) -> None:
        self.members, self._generators, self._search = tuple(members), generators, search
        self.stopped: dict[str, Any] | None = None
        self._past: list[dict[str, Any]] = []
        for member in self.members:
            member.check(search.space)
            if member.needs_derived and search.rule.uses_images:
                raise ConfigError(
                    f"stop {member.name!r} derives the architecture after every epoch.",
                    f"The rule {search.derive_rule} compares architectures on images for that.",
                    "Choose another rule, such as --derive top2, or another stop.",
                )

    def after_epoch(self, known: Iterable[str] = ()) -> dict[str, Any]:
        """Let all stops look at the search; return what belongs in the epoch's event.

        A verdict brings back the distribution of the epoch that it names; theta stays.

        Args:
            known: Names that the event has already.

        Raises:
            PluginError: A stop logs by a name that is taken, or goes back too far.
        """
        search = self._search
        if search.epoch <= search.config.search.alpha_from_epoch:
            return {}
        keep = max(member.memory for member in self.members) + 1
        state = {name: value.clone() for name, value in search.dist.state_dict().items()}
        self._past = [*self._past, state][-keep:]
        event: dict[str, Any] = {}
        verdicts = []
        for member in self.members:
            seen = self._state(member)
            verdicts.append((member, member.decide(seen)))
            if taken := seen.logged.keys() & {*known, *event, "stopped"}:
                raise PluginError(
                    f"stop {member.name!r} logs {min(taken)!r}, which the epoch's event has.",
                    "One number would stand in the place of another.",
                    "Log it by another name.",
                )
            event |= seen.logged
        for member, verdict in verdicts:  # only now: all have seen the same distribution
            if verdict is not None and self.stopped is None:
                self._end(member, verdict)
        return event if self.stopped is None else event | {"stopped": dict(self.stopped)}

    def _end(self, member: EarlyStop, verdict: Verdict) -> None:
        search, last = self._search, len(self._past) - 1
        if not 0 <= verdict.back <= min(last, member.memory):
            raise PluginError(
                f"stop {member.name!r} wants the architecture of {verdict.back} epochs ago.",
                f"It keeps {member.memory}, and {last} are there.",
                "Let its property memory say how far it goes back.",
            )
        self.stopped = {
            "at": search.epoch,
            "by": member.name,
            "reason": verdict.reason,
            "architecture": search.epoch - verdict.back,
        }
        if verdict.back:
            search.dist.load_state_dict(self._past[last - verdict.back])
            search.forget_selection()

    @property
    def went_back(self) -> bool:
        """Whether the distribution is that of an earlier epoch."""
        stopped = self.stopped
        return stopped is not None and bool(stopped["architecture"] != stopped["at"])

    def result(self) -> dict[str, Any]:
        """Return what the result of the run says of them."""
        found = self.stopped or {}
        return {
            "stopped_at": found.get("at"),
            "stopped_by": found.get("by"),
            "stop_reason": found.get("reason"),
            "architecture_epoch": found.get("architecture", self._search.epoch),
        }

    def _state(self, member: EarlyStop) -> EpochState:
        search = self._search
        return EpochState(
            search.space,
            search.dist,
            self._generators[member.name],
            epoch=search.epoch,
            epochs=search.epochs,
            derive=search.derived,
            loss=self._loss,
        )

    def _loss(self, images: int) -> Loss:
        search = self._search
        split = search.images.splits.arch or search.images.splits.train
        shown: list[Tensor] = []
        labels: list[Tensor] = []
        for batch, classes in search.images.batches(split):
            shown.append(batch)
            labels.append(classes)
            if sum(map(len, labels)) >= images:
                break
        return FixedLoss(search.parent, torch.cat(shown)[:images], torch.cat(labels)[:images])

    def state_dict(self) -> dict[str, Any]:
        """Return everything that changes."""
        return {
            "members": {member.name: member.state_dict() for member in self.members},
            "stopped": None if self.stopped is None else dict(self.stopped),
            "past": list(self._past),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        for member in self.members:
            member.load_state_dict(state["members"][member.name])
        stopped = state["stopped"]
        self.stopped = None if stopped is None else dict(stopped)
        self._past = list(state["past"])
