"""The exact gradient of the expected loss, by enumeration.

``J = sum_Z p(Z) L(Z)``. Its gradient by the distribution's parameters (alpha, or a controller's
weights) is that of ``sum_Z p(Z) L(Z)`` with the table of losses held fixed; by theta it is
``sum_Z p(Z) grad L(Z)``. One-cell networks compute every partial architecture once
(:mod:`nasbench_snas.oracle.prefixes`); others run all architectures in groups that choose the
same operations (:class:`~nasbench_snas.oracle.network.BatchedNetwork`). In both, batch norms in
training mode use each architecture's own batch statistics and running statistics stay untouched.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.distributions import Distribution, one_hot
from nasbench_snas.architecture.space import Space
from nasbench_snas.errors import ConfigError
from nasbench_snas.oracle.network import BatchedNetwork, Criterion, cross_entropy
from nasbench_snas.oracle.prefixes import PrefixTable, shares_prefixes

LARGEST = 200_000
"""More architectures than this are not enumerated."""
_CHUNK = 4096


def enumerable(space: Space) -> bool:
    """Whether all architectures of ``space`` can be enumerated.

    Where edges have different numbers of operations, those with an operation that an edge does not
    have are enumerated, too: their probability is zero.
    """
    return bool(space.num_operations**space.num_edges <= LARGEST)


def architectures(num_edges: int, num_operations: int) -> Tensor:
    """Return the chosen operations of all architectures, shape ``(A, E)``, int64, first edge most
    significant.

    Raises:
        ConfigError: There are too many.
    """
    total = num_operations**num_edges
    if total > LARGEST:
        raise ConfigError(
            f"{total} architectures are too many to enumerate (at most {LARGEST}).",
            fix="Use a smaller space, or a sampled reference (--reference mc:N).",
        )
    powers = num_operations ** torch.arange(num_edges - 1, -1, -1)
    return torch.arange(total)[:, None] // powers % num_operations


def architecture_index(z: Tensor) -> Tensor:
    """Return the numbers of one-hot architectures ``z``, shape ``(..., E, K)``, as ``(...)``."""
    edges, operations = z.shape[-2:]
    powers = operations ** torch.arange(edges - 1, -1, -1)
    return (z.argmax(dim=-1) * powers).sum(dim=-1)


@dataclass(frozen=True)
class ExactGradient:
    """The expected loss and its gradients.

    Attributes:
        value: ``E[L]``.
        losses: ``L`` of all architectures, shape ``(A,)``.
        probs: Their probabilities, shape ``(A,)``.
        dist: Gradient by each parameter of the distribution, flattened in their order, ``(d,)``.
        theta: Gradient by each parameter of the parent, flattened in their order; None if not
            wanted.
    """

    value: float
    losses: Tensor
    probs: Tensor
    dist: Tensor
    theta: Tensor | None

    @property
    def loss_std(self) -> float:
        """Standard deviation of ``L(Z)`` over architectures."""
        return float((self.probs * (self.losses - self.value) ** 2).sum().sqrt())


def log_probabilities(dist: Distribution) -> Tensor:
    """Return ``log p(Z)`` of all architectures, shape ``(A,)``, graph attached (one replicate)."""
    table = architectures(dist.num_edges, dist.num_operations)
    parts = []
    for part in torch.split(table, _CHUNK):
        z = one_hot(part, dist.num_operations, dist.dtype)[None]
        parts.append(dist.log_prob(z).sum(dim=-1)[0])
    return torch.cat(parts)


# Implements SNAS (3, 4).
def distribution_gradient(dist: Distribution, losses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``E[L]``, its gradient by the distribution's parameters, and the probabilities.

    Args:
        dist: One replicate.
        losses: ``L`` of all architectures, shape ``(A,)``.

    Returns:
        A scalar, shape ``(d,)``, and shape ``(A,)``; all detached.
    """
    parameters = list(dist.parameters())
    with torch.enable_grad():
        probs = log_probabilities(dist).exp()
        value = (probs * losses.detach()).sum()
        grads = torch.autograd.grad(value, parameters, allow_unused=True)
    flat = flatten(grads, parameters)
    return value.detach(), flat, probs.detach()


def score_share(dist: Distribution, losses: Tensor, chunk: int = 256) -> float:
    """Return what share of draws of the score-function gradient stands behind its variance.

    With ``s(Z) = |(L(Z) - E L) grad log p(Z)|²``: ``(E s)² / E s²``, in ``(0, 1]``; 1 where s
    vanishes. Times n it is the effective number of n draws: small where the architectures that
    matter are rare (:mod:`nasbench_snas.stats.tails`).

    Args:
        dist: One replicate.
        losses: ``L`` of all architectures, shape ``(A,)``.
        chunk: Architectures of a pass, each with its own copy of the parameters.
    """
    table = architectures(dist.num_edges, dist.num_operations)
    with torch.no_grad():
        probs = log_probabilities(dist).exp()
    advantage = losses - (probs * losses).sum()
    parts = []
    for part in torch.split(table, chunk):
        copies = dist.replicate(len(part))
        z = one_hot(part, dist.num_operations, dist.dtype)[:, None]
        leaves = list(copies.parameters())
        with torch.enable_grad():
            found = torch.autograd.grad(copies.log_prob(z).sum(), leaves, allow_unused=True)
        squares = [g.square().flatten(1).sum(dim=1) for g in found if g is not None]
        parts.append(torch.stack(squares).sum(dim=0))
    s = torch.where(probs > 0, advantage.square() * torch.cat(parts), 0.0)
    mean, square = float((probs * s).sum()), float((probs * s * s).sum())
    return mean**2 / square if square > 0 else 1.0


def flatten(
    grads: tuple[Tensor | None, ...] | list[Tensor], parameters: list[nn.Parameter]
) -> Tensor:
    """Return gradients as one vector; None counts as zeros."""
    pairs = zip(grads, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


class Oracle:
    """All architectures of a network on one batch.

    Args:
        network: The network.
        images: Shape ``(B, C, H, W)``.
        labels: Class indices, shape ``(B,)``.
        criterion: Loss of logits.
        memory: Budget for what one block of architectures holds, in bytes.

    Raises:
        ConfigError: The space cannot be enumerated.
    """

    def __init__(
        self,
        network: BatchedNetwork,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion = cross_entropy,
        memory: int = 128 * 2**20,
    ) -> None:
        self.network, self.images, self.labels = network, images, labels
        self.criterion, self.memory = criterion, memory
        space = network.space
        self.table = architectures(space.num_edges, space.num_operations)
        self.prefixes = (
            PrefixTable(network, images, labels, criterion, memory)
            if shares_prefixes(space)
            else None
        )

    def losses(self) -> Tensor:
        """Return ``L(Z)`` of all architectures, shape ``(A,)``."""
        if self.prefixes is not None:
            return self.prefixes.losses()
        with torch.no_grad():
            return torch.cat([self._chunk(part) for part in torch.split(self.table, self._step())])

    def theta_gradient(self, weights: Tensor) -> Tensor:
        """Return the gradient of ``sum_a weights_a L_a`` by theta, flattened, shape ``(d,)``.

        Args:
            weights: Shape ``(A,)``.
        """
        parameters = list(self.network.parent.parameters())
        if self.prefixes is not None:
            return flatten(self.prefixes.gradient(weights, parameters), parameters)
        total = torch.zeros(sum(p.numel() for p in parameters), dtype=weights.dtype)
        step = self._step()
        with torch.enable_grad():
            for part, weight in zip(
                torch.split(self.table, step), torch.split(weights, step), strict=True
            ):
                value = (weight * self._chunk(part)).sum()
                total += flatten(
                    torch.autograd.grad(value, parameters, allow_unused=True), parameters
                )
        return total

    def gradient(self, dist: Distribution, *, theta: bool = True) -> ExactGradient:
        """Return the exact gradients of the expected loss under ``dist`` (one replicate)."""
        losses = self.losses()
        value, gradient, probs = distribution_gradient(dist, losses)
        by_theta = self.theta_gradient(probs) if theta else None
        return ExactGradient(float(value), losses, probs, gradient, by_theta)

    def credits(self) -> Tensor:
        """Return ``h = dL/dZ`` at every architecture, shape ``(A, E, K)``: all operations run."""
        space, parts = self.network.space, []
        for part in torch.split(self.table, max(1, self._step() // space.num_operations)):
            z = one_hot(part, space.num_operations, self.images.dtype).requires_grad_()
            with torch.enable_grad():
                logits = self.network.logits(self.images, z, all_operations=True)
                total = self.criterion(logits, self.labels).sum()
            parts.append(torch.autograd.grad(total, z)[0])
        return torch.cat(parts)

    def _chunk(self, part: Tensor) -> Tensor:
        z = one_hot(part, self.network.space.num_operations, self.images.dtype)
        return self.criterion(self.network.logits(self.images, z), self.labels)

    def _step(self) -> int:
        """Architectures in a pass, by the largest feature maps they hold."""
        space = self.network.space
        widest = max(layer.channels for layer in space.layers)
        pixels = self.images.shape[0] * self.images.shape[-1] ** 2
        held = 4 * pixels * widest * len(space.layers) * max(len(c.edges) for c in space.cells)
        return max(1, self.memory // (held * self.images.element_size()))
