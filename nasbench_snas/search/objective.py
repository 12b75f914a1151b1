"""The loss closure: ``L_theta(Z)`` of a parent network on one minibatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.compute.modes import own_autocast
from nasbench_snas.supernet.reference import Parent


def losses_and_errors(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return cross-entropy and misclassified fraction of each architecture.

    Args:
        logits: Shape ``(S, B, classes)``.
        labels: Class indices, shape ``(B,)``.

    Returns:
        Mean cross-entropy in nats, ``(S,)``, graph attached, and error in [0, 1], ``(S,)``,
        detached.
    """
    draws = logits.shape[0]
    targets = labels.expand(draws, -1).reshape(-1)
    flat = functional.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
    wrong = (logits.detach().argmax(dim=-1) != labels).to(logits.dtype)
    return flat.view(draws, -1).mean(dim=1), wrong.mean(dim=1)


class SupernetLoss:
    """Cross-entropy of weighted architectures on one batch; implements
    :class:`nasbench_snas.api.Loss`.

    Args:
        parent: The parent network, in the mode (training or evaluation) that is wanted.
        images: Normalised images, shape ``(B, C, H, W)``.
        labels: Class indices, shape ``(B,)``.
        all_operations: Whether operations of weight zero are run, so that their ``dL/dz`` is known.
        edge_mask: Path-dropout factors, shape ``(cells, edges, B)``, or None.
        draws_per_pass: Largest number of architectures in one pass, to bound memory; None: all.
        autocast: Whether the network runs in bfloat16 where torch's autocast allows it.
        share: Averages losses and errors over the processes of a job, differentiably; None: there
            is one process.
        single_path: Whether weights have one operation on an edge that the device chooses by
            itself; only for a parent that can (``FastParent.chooses``).
    """

    def __init__(
        self,
        parent: Parent,
        images: Tensor,
        labels: Tensor,
        *,
        all_operations: bool = False,
        edge_mask: Tensor | None = None,
        draws_per_pass: int | None = None,
        autocast: bool = False,
        share: Callable[[Tensor], Tensor] | None = None,
        single_path: bool = False,
    ) -> None:
        self.parent, self.images, self.labels = parent, images, labels
        self.all_operations, self.edge_mask = all_operations, edge_mask
        self.draws_per_pass, self.autocast = draws_per_pass, autocast
        self.share, self.single_path = share, single_path
        self.evaluations = 0
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return losses ``(R, n)`` of ``z``, shape ``(R, n, E, K)``; see ``api.Loss``."""
        # A distribution that stays on the host: what runs is known there, nothing is read back.
        home, where = z.device, self.images.device
        if home != where and not (self.all_operations or self.single_path):
            run = (z.detach() != 0) if run is None else run | (z.detach() != 0)
        flat = z.to(where).flatten(0, 1)
        size = self.draws_per_pass or flat.shape[0]
        parts = flat.split(size)
        masks = [None] * len(parts) if run is None else list(run.flatten(0, 1).split(size))
        pairs = zip(parts, masks, strict=True)
        results = [losses_and_errors(self._logits(part, m), self.labels) for part, m in pairs]
        losses, errors = (torch.cat(column) for column in zip(*results, strict=True))
        if self.share is not None:
            losses, errors = self.share(losses), self.share(errors)
        if home != where:
            losses, errors = torch.stack([losses, errors.to(losses)]).to(home)
        self.evaluations += flat.shape[0]
        self._last = (z, errors.view(z.shape[:2]))
        return losses.view(z.shape[:2])

    def error(self, z: Tensor) -> Tensor:
        """Return the misclassified fraction ``(R, n)``; free after the losses of ``z``."""
        known = self._last is not None and self._last[0] is z
        if not known and (self._last is None or not torch.equal(self._last[0], z)):
            with torch.no_grad():
                self(z)
        if self._last is None:
            raise RuntimeError("no evaluation was recorded")
        return self._last[1]

    def _logits(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        everything = self.all_operations if self.all_operations or run is None else run
        given: dict[str, Any] = {"all_operations": everything, "edge_mask": self.edge_mask}
        if self.single_path and run is None:
            given["single_path"] = True
        kind = torch.bfloat16 if self.autocast else None
        with own_autocast(self.images.device.type, kind):
            logits = self.parent(self.images, z, **given)
        return logits.float() if self.autocast else logits
