"""PPO with temporal-difference credit on the controller of ENAS: what SNAS says that ENAS does.

Decision ``e`` of a draw gets the generalised advantage ``A_e = sum_l lambda^l delta_{e+l}`` with
``delta_e = V_{e+1} - V_e`` and, at the last decision, ``delta_E = C - V_E``: the reward is fully
delayed, gamma is 1, and ``C`` is the cost of ``enas``. ``V_e`` is a value for each position, learnt
by TD(lambda): it moves towards ``V_e + A_e`` after it was used. The first update follows
``sum_e A_e grad log pi(Z_e | Z_<e)``; further ones minimise, on the same draws,
``sum_e max(r_e A_e, clip(r_e, 1 - eps, 1 + eps) A_e)`` with ``r_e = pi / pi_old`` (A is a cost).

Biased for the expected loss: with lambda < 1 an early decision sees the outcome only through values
that learn it one position at a time (with equal values its credit is ``lambda^(E-e) (C - V)``), and
updates after the first are off-policy. With ``gae_lambda=1`` the first update is REINFORCE with a
baseline for each position. Theta gets ``dL/dtheta`` at the draws, once.

Reference: Schulman et al. 2017, arXiv:1707.06347, eqs. 7, 11, 12; Schulman et al. 2016,
arXiv:1506.02438, eq. 16; SNAS section 2.3, arXiv:1812.09926.
Deviations: the value depends on the position only (no critic network); costs instead of rewards; no
advantage normalisation. The released ENAS is not PPO: see ``enas``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nasbench_snas.api import Distribution, Loss
from nasbench_snas.errors import ConfigError

from .enas import ENAS


class EnasPPO(ENAS):
    """LSTM controller with clipped ratios and generalised advantages.

    Args:
        n: Architectures per draw. Default 1.
        epochs: Updates of the controller per draw. Default 4.
        clip: ``eps``, by how much a ratio may profit. Default 0.2.
        gae_lambda: ``lambda`` of the advantages, in [0, 1]. Default 0.95.
        reward: ``loss``, or ``accuracy`` of the minibatch. Default 'loss'.
        decay: Weight of the past in the values. Default 0.99.
        entropy_weight: See ``enas``. Default 0.0001.
        hidden: Units of the controller. Default 64.
        tanh_constant: Bound of an operation's logits, before the reduction. Default 1.1.
        tanh_reduce: What it is divided by for operations. Default 2.5.
    """

    name = "enas-ppo"
    family = "score"
    reference = "schulman2017ppo"
    conformance_settings = {"hidden": 8}
    evaluations = "n F forward, n F backward for theta, whatever the epochs"
    bias = "biased"
    claims = {
        "draw": "score:enas_ppo",
        "state": "score:ppo_values",
        "replay": "score:enas_ppo_replay",
    }
    conformance_variants = ({"entropy_weight": 0.5, "gae_lambda": 0.5},)

    def __init__(
        self,
        n: int = 1,
        epochs: int = 4,
        clip: float = 0.2,
        gae_lambda: float = 0.95,
        reward: Literal["loss", "accuracy"] = "loss",
        decay: float = 0.99,
        entropy_weight: float = 1e-4,
        hidden: int = 64,
        tanh_constant: float = 1.10,
        tanh_reduce: float = 2.5,
    ) -> None:
        super().__init__(
            n, reward, decay, entropy_weight, "unbiased", hidden, tanh_constant, tanh_reduce
        )
        if epochs < 1 or clip <= 0 or not 0 <= gae_lambda <= 1:
            raise ConfigError(
                f"enas-ppo: epochs = {epochs}, clip = {clip}, gae_lambda = {gae_lambda}.",
                "Expected epochs >= 1, clip > 0 and gae_lambda in [0, 1].",
            )
        self.updates, self.clip, self.gae_lambda = epochs, clip, gae_lambda
        self.decay = decay
        self.values = torch.zeros(0, dtype=torch.float64)
        self._draw: tuple[Tensor, Tensor, Tensor] | None = None

    def advantage(self, losses: Tensor, loss: Loss, dist: Distribution, z: Tensor) -> Tensor:
        """Return generalised advantages, shape ``(R, n, E)``; see :meth:`Score.advantage`."""
        cost = self.cost(losses, loss, dist, z)
        if len(self.values):
            values = self.values.to(cost).expand(*cost.shape, -1)
        else:
            values = self.cost_of_mode(loss, dist)[..., None].expand(*cost.shape, z.shape[2])
        deltas = torch.cat([values[..., 1:], cost[..., None]], dim=-1) - values
        rows = [deltas[..., -1]]
        for delta in reversed(deltas.unbind(dim=-1)[:-1]):
            rows.append(delta + self.gae_lambda * rows[-1])
        advantage = torch.stack(rows[::-1], dim=-1)
        if self.training:
            moved = values + (1 - self.decay) * advantage
            self.values = moved.mean(dim=(0, 1)).to("cpu", torch.float64)
            with torch.no_grad():
                self._draw = (z, dist.log_prob(z), advantage)
        return advantage

    def replay(self, dist: Distribution) -> Tensor | None:
        """Return the clipped objective on the stored draw, shape ``(R,)``."""
        if self._draw is None:
            return None
        z, before, advantage = self._draw
        ratio = (dist.log_prob(z) - before).exp()
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        return torch.maximum(ratio * advantage, clipped * advantage).sum(dim=-1).mean(dim=1)

    def get_extra_state(self) -> Tensor:
        """Return the values of the positions, shape ``(E,)``, empty before the first draw."""
        return self.values

    def set_extra_state(self, state: Tensor) -> None:
        """Put the values back."""
        self.values = state

    def progress_values(self) -> dict[str, float]:
        """Return the values of the first and the last decision."""
        if not len(self.values):
            return {}
        return {"value_first": float(self.values[0]), "value_last": float(self.values[-1])}
