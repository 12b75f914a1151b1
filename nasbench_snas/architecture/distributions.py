"""What architectures are drawn from.

A distribution makes ``E`` decisions among ``K`` operations. It carries a leading replicate index
``R``: with R replicates each draw has its own leaf parameters, so that R independent gradient
draws come out of one backward pass. A search uses ``R = 1``.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional


def gumbel(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Return standard Gumbel noise ``-log(Exp(1))`` of ``shape``, finite by construction."""
    noise = torch.empty(shape, dtype=dtype, device=generator.device)
    noise.exponential_(generator=generator)
    return -noise.clamp_min(torch.finfo(dtype).tiny).log()


def one_hot(index: Tensor, num_operations: int, dtype: torch.dtype) -> Tensor:
    """Return one-hot rows ``(..., K)`` for integer ``index`` of shape ``(...)``."""
    return functional.one_hot(index, num_operations).to(dtype)


ABSENT = -1e4
"""Logit of an operation that an edge does not have: finite, so that zero times it is zero, and its
probability is zero in every floating-point type."""


class Distribution(nn.Module):
    """Base of all architecture distributions.

    Attributes:
        num_edges: ``E``, decisions (edges over all cell types).
        num_operations: ``K``, candidates of a decision.
        replicates: ``R``, independent copies of the parameters.
        factorised: Whether the decisions are independent, so that ``probs`` are exact marginals.
        on_host: Whether it stays on the host where the network is on a GPU: its steps are many and
            tiny, each of them a launch that takes longer than its work.
    """

    factorised: ClassVar[bool] = False
    on_host: ClassVar[bool] = False

    def __init__(self, num_edges: int, num_operations: int, replicates: int = 1) -> None:
        super().__init__()
        self.num_edges, self.num_operations = num_edges, num_operations
        self.replicates = replicates

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return next(self.parameters()).dtype

    def noise(self, replicates: int, n: int, generator: torch.Generator) -> Any:
        """Return all randomness of ``n`` architectures: Gumbel ``(R, n, E, K)``."""
        shape = (replicates, n, self.num_edges, self.num_operations)
        return gumbel(shape, generator, self.dtype)

    @abstractmethod
    def hard(self, noise: Any) -> Tensor:
        """Return the architectures that ``noise`` selects: detached one-hot, ``(R, n, E, K)``."""

    def soft(self, noise: Any, tau: float) -> Tensor | None:
        """Return a relaxed sample at temperature ``tau``, ``(R, n, E, K)``; None: there is none."""
        return None

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log-probability of each decision of one-hot ``z``.

        Args:
            z: Architectures, shape ``(R, n, E, K)``.

        Returns:
            Log-probabilities given the earlier decisions, shape ``(R, n, E)``; their sum over the
            last axis is ``log p(Z)`` (eqs. 13-15).
        """

    @abstractmethod
    def mode(self) -> Tensor:
        """Return the architecture of (greedily) largest probability: one-hot, ``(R, E, K)``."""

    @abstractmethod
    def marginals(self, generator: torch.Generator) -> Tensor:
        """Return the detached probability of each operation on each edge, ``(R, E, K)``.

        Exact for factorised distributions; otherwise estimated with draws from ``generator``.
        """

    @abstractmethod
    def replicate(self, replicates: int) -> Self:
        """Return a copy whose parameters are leaves with a leading replicate axis, all equal."""

    def strengths(self, generator: torch.Generator) -> Tensor:
        """Return what edges and operations are ranked by when a child is derived, ``(R, E, K)``.

        By default :meth:`marginals`; methods that weigh edges against each other override it.
        """
        return self.marginals(generator)

    def entropy(self, generator: torch.Generator) -> Tensor:
        """Return the entropy of each edge's marginal in nats, ``(R, E)`` (Figure 4)."""
        entropy: Tensor = torch.special.entr(self.marginals(generator)).sum(dim=-1)
        return entropy


class Categorical(Distribution):
    """Factorised categorical with logits ``alpha = log(paper's alpha)``.

    A subclass with another parametrisation overrides :attr:`logits` alone: everything else is
    derived from it.

    Args:
        logits: Initial logits, shape ``(E, K)`` or ``(R, E, K)``.
        absent: Operations that an edge does not have, shape ``(E, K)``, or None: their probability
            is exactly zero, and so is the gradient of their logits.
    """

    factorised = True
    absent: Tensor | None

    def __init__(self, logits: Tensor, absent: Tensor | None = None) -> None:
        logits = logits if logits.dim() == 3 else logits[None]
        super().__init__(logits.shape[1], logits.shape[2], logits.shape[0])
        self.alpha = nn.Parameter(logits.detach().clone())
        self.register_buffer("absent", absent, persistent=False)

    @property
    def logits(self) -> Tensor:
        """``alpha``: logits, shape ``(R, E, K)``, one row per edge over all cell types."""
        return self.alpha if self.absent is None else self.alpha.masked_fill(self.absent, ABSENT)

    @property
    def log_probs(self) -> Tensor:
        """``log p``, shape ``(R, E, K)``."""
        return self.logits.log_softmax(dim=-1)

    @property
    def probs(self) -> Tensor:
        """``p``, shape ``(R, E, K)``, differentiable with respect to ``alpha``."""
        return self.logits.softmax(dim=-1)

    def perturb(self, noise: Tensor) -> Tensor:
        """Return ``log p + G``, shape ``(R, n, E, K)``, whose argmax is the sample (Gumbel-max)."""
        return self.log_probs[:, None] + noise

    def hard(self, noise: Tensor) -> Tensor:
        """Return the one-hot argmax of ``log p + G``; see :meth:`Distribution.hard`."""
        index = self.perturb(noise).detach().argmax(dim=-1)
        return one_hot(index, self.num_operations, self.dtype)

    # Implements SNAS (5, 22).
    def soft(self, noise: Tensor, tau: float) -> Tensor:
        """Return ``softmax((log p + G) / tau)``; see :meth:`Distribution.soft`."""
        return (self.perturb(noise) / tau).softmax(dim=-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return ``sum_k z_k log p_k`` per edge; see :meth:`Distribution.log_prob`."""
        return (z * self.log_probs[:, None]).sum(dim=-1)

    def conditional(self, z: Tensor, exponential: Tensor) -> Tensor:
        """Return perturbed log-probabilities drawn given that their argmax is ``z``.

        With ``E ~ Exp(1)``: the winner is ``-log E_D``, the others ``-log(E_k / p_k + E_D)``
        (Tucker et al. 2017, arXiv:1703.07370, appendix; Maddison et al. 2014).

        Args:
            z: One-hot winners, shape ``(R, n, E, K)``.
            exponential: Standard exponential noise, shape ``(R, n, E, K)``.

        Returns:
            Shape ``(R, n, E, K)``, differentiable with respect to ``alpha``.
        """
        winner = (exponential * z).sum(dim=-1, keepdim=True)
        others = -torch.logaddexp(exponential.log() - self.log_probs[:, None], winner.log())
        return torch.where(z > 0, -winner.log(), others)

    def mode(self) -> Tensor:
        """Return the one-hot argmax of the logits; see :meth:`Distribution.mode`."""
        return one_hot(self.logits.detach().argmax(dim=-1), self.num_operations, self.dtype)

    def marginals(self, generator: torch.Generator) -> Tensor:
        """Return ``p`` exactly; see :meth:`Distribution.marginals`."""
        return self.probs.detach()

    def replicate(self, replicates: int) -> Self:
        """Return ``R`` copies of the first replicate; see :meth:`Distribution.replicate`."""
        alpha = self.alpha.detach()[:1].expand(replicates, -1, -1)
        return type(self)(alpha) if self.absent is None else type(self)(alpha, self.absent)
