"""The recurrent controller of ENAS: an autoregressive distribution over architectures.

``p(Z) = prod_e pi(Z_e | Z_1, ..., Z_{e-1})`` (SNAS eqs. 13-15, arXiv:1812.09926). One LSTM walks
over the ``E`` edges; its input is the embedding of the previous decision (a learnt vector at the
start), and the logits of a decision are ``c tanh((h W + b) / T)``, which bounds how sure the
controller can become. Sampling is by Gumbel-max edge by edge, so that a draw is a function of its
noise.

Reference: Pham et al. 2018, arXiv:1802.03268, section 2.2, and its released micro controller: one
layer of 64 units without bias, uniform initial weights in (-0.1, 0.1), ``c = 1.10 / 2.5``.
Deviations: a decision is one operation for each edge (the released controller alternates between
input nodes, chosen by attention, and operations); the released biases that favour its two separable
convolutions belong to its five operations and are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.distributions import Distribution, one_hot
from nasbench_snas.errors import ConfigError

MARGINAL_DRAWS = 512


class LSTMController(Distribution):
    """Autoregressive distribution with an LSTM.

    Args:
        num_edges: ``E``, decisions.
        num_operations: ``K``, candidates of a decision.
        generator: Source of the initial weights.
        hidden: ``H``, units of the LSTM and length of the embeddings.
        init_range: Initial weights are uniform in ``(-init_range, init_range)``.
        tanh_constant: ``c``, bound of a logit's magnitude; None: unbounded.
        temperature: ``T``, divides the logits before the bound.
    """

    on_host = True

    def __init__(
        self,
        num_edges: int,
        num_operations: int,
        generator: torch.Generator,
        *,
        hidden: int = 64,
        init_range: float = 0.1,
        tanh_constant: float | None = 0.44,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(num_edges, num_operations)
        if hidden < 1 or temperature <= 0 or (tanh_constant is not None and tanh_constant <= 0):
            raise ConfigError(
                f"controller: hidden = {hidden}, temperature = {temperature}, "
                f"tanh_constant = {tanh_constant} is not possible.",
                "All of them must be positive.",
            )
        self.hidden, self.tanh_constant, self.temperature = hidden, tanh_constant, temperature

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(init_range * (2 * torch.rand((1, *shape), generator=generator) - 1))

        self.start = uniform(1, hidden)
        self.embedding = uniform(num_operations, hidden)
        self.lstm = uniform(2 * hidden, 4 * hidden)
        self.head = uniform(hidden, num_operations)
        self.bias = nn.Parameter(torch.zeros(1, 1, num_operations))

    def hard(self, noise: Tensor) -> Tensor:
        """Return the samples, edge by edge; see :meth:`Distribution.hard`."""

        def choose(edge: int, log_probs: Tensor) -> Tensor:
            index = (log_probs + noise[:, :, edge]).argmax(dim=-1)
            return one_hot(index, self.num_operations, self.dtype)

        with torch.no_grad():
            return self._walk(choose, noise.shape[0], noise.shape[1])[1]

    # Implements SNAS (12, 15).
    def step_log_probs(self, z: Tensor) -> Tensor:
        """Return ``log pi(. | Z_<e)`` along ``z`` ``(R, n, E, K)``, the same shape."""
        return self._walk(lambda edge, _: z[:, :, edge], z.shape[0], z.shape[1])[0]

    # Implements SNAS (13, 14).
    def log_prob(self, z: Tensor) -> Tensor:
        """Return each decision's log-probability; see :meth:`Distribution.log_prob`."""
        return (z * self.step_log_probs(z)).sum(dim=-1)

    def path_entropy(self, z: Tensor) -> Tensor:
        """Return the entropy of each decision given the earlier ones of ``z``, ``(R, n, E)``.

        The mean of its sum over draws ``z`` is the entropy of the architecture. Its gradient along
        fixed ``z`` is only a part of that entropy's gradient.
        """
        log_probs = self.step_log_probs(z)
        return -(log_probs.exp() * log_probs).sum(dim=-1)

    def mode(self) -> Tensor:
        """Return the greedy architecture; see :meth:`Distribution.mode`."""
        shape = (self.replicates, 1, self.num_edges, self.num_operations)
        return self.hard(self.start.new_zeros(shape))[:, 0]

    def marginals(self, generator: torch.Generator) -> Tensor:
        """Return the mean over 512 draws of each decision's conditional probabilities.

        See :meth:`Distribution.marginals`; exact for the first edge.
        """
        with torch.no_grad():
            z = self.hard(self.noise(self.replicates, MARGINAL_DRAWS, generator))
            return self.step_log_probs(z).exp().mean(dim=1)

    def replicate(self, replicates: int) -> Self:
        """Return ``R`` copies of the first replicate; see :meth:`Distribution.replicate`."""
        other = deepcopy(self)
        other.replicates = replicates
        for name, parameter in self.named_parameters():
            copies = parameter.detach()[:1].expand(replicates, -1, -1).clone()
            setattr(other, name, nn.Parameter(copies))
        return other

    def _walk(
        self, choose: Callable[[int, Tensor], Tensor], replicates: int, n: int
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and chosen one-hot rows of all edges, both ``(R, n, E, K)``.

        In the controller's own number type, also inside an outer autocast region: rounding would
        pile up along the edges, and there is nothing to gain in a network this small.

        Args:
            choose: Given an edge and its log-probabilities ``(R, n, K)``, returns one-hot rows.
            replicates: ``R``.
            n: Architectures per replicate.
        """
        with torch.autocast(self.start.device.type, enabled=False):
            return self._steps(choose, self.start.expand(replicates, n, -1))

    def _steps(self, choose: Callable[[int, Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = cell = torch.zeros_like(x)
        log_probs, rows = [], []
        for edge in range(self.num_edges):
            gates = torch.cat([x, hidden], dim=-1) @ self.lstm
            i, f, o = gates[..., : 3 * self.hidden].sigmoid().chunk(3, dim=-1)
            cell = i * gates[..., 3 * self.hidden :].tanh() + f * cell
            hidden = o * cell.tanh()
            logits = (hidden @ self.head + self.bias) / self.temperature
            if self.tanh_constant is not None:
                logits = self.tanh_constant * logits.tanh()
            log_probs.append(logits.log_softmax(dim=-1))
            rows.append(choose(edge, log_probs[-1]))
            x = rows[-1] @ self.embedding
        return torch.stack(log_probs, dim=2), torch.stack(rows, dim=2)
