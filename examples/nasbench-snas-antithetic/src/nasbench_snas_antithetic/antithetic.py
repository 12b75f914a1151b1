"""Antithetic REINFORCE: two architectures from mirrored uniforms share a baseline.

On each edge ``D = F^{-1}(u)`` and ``D' = F^{-1}(1 - u)``, with ``F`` the distribution function of
the operations in their listed order: ``g = 1/2 [(L(D) - b) grad log p(D) + (L(D') - b) grad log
p(D')]``. Both have the law ``p``, so the estimate is unbiased for the expected loss whatever ``b``
is, as long as it depends on neither. Where the loss is monotone in the order of the operations
their errors partly cancel; elsewhere nothing is gained, and the other draw must not serve as
baseline, since the two are dependent.

Reference: Hammersley and Morton 1956 (antithetic variates); Williams 1992 (score function).
Deviations: the baseline is a moving average that is used before it is updated; until its first
update it is the loss of the most probable architecture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot, score_term


class Antithetic(Estimator):
    """Score function on antithetic pairs.

    Args:
        decay: Weight of the past in the moving-average baseline.
    """

    name = "antithetic"
    family = "score"
    reference = (
        "@article{hammersley1956antithetic, title = {A new {Monte Carlo} technique: antithetic "
        "variates}, author = {Hammersley, J. M. and Morton, K. W.}, journal = {Mathematical "
        "Proceedings of the Cambridge Philosophical Society}, volume = {52}, year = {1956}}"
    )
    evaluations = "2 F forward, 2 F backward for theta"
    bias = "unbiased"
    n = 2

    baseline: Tensor

    def __init__(self, decay: float = 0.95) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("baseline", torch.tensor(float("nan"), dtype=torch.float64))

    def noise(self, dist: Categorical, replicates: int, generator: torch.Generator) -> Tensor:
        """Return uniforms, shape ``(R, E)``."""
        shape = (replicates, dist.num_edges)
        return torch.rand(shape, generator=generator, device=generator.device, dtype=dist.dtype)

    def weights(self, dist: Categorical, noise: Tensor) -> Tensor:
        """Return both architectures, one-hot, shape ``(R, 2, E, K)``."""
        both = torch.stack([noise, 1 - noise], dim=1)
        steps = dist.probs.detach().cumsum(dim=-1)[:, None]
        index = (both[..., None] > steps).sum(dim=-1).clamp_max(dist.num_operations - 1)
        return one_hot(index, dist.num_operations, dist.dtype)

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return mean losses plus score terms of value zero, shape ``(R,)``."""
        z = self.weights(dist, noise)
        losses = loss(z)
        scores = score_term(losses.detach() - self._baseline(loss, dist), dist.log_prob(z).sum(-1))
        if self.training:
            mean = losses.detach().mean()
            past = mean if bool(self.baseline.isnan()) else self.baseline
            self.baseline.copy_(self.decay * past + (1 - self.decay) * mean)
        return (losses + scores).mean(dim=1)

    def progress_values(self) -> dict[str, float]:
        """Return the baseline."""
        return {"baseline": float(self.baseline)}

    def _baseline(self, loss: Loss, dist: Categorical) -> Tensor:
        if not bool(self.baseline.isnan()):
            return self.baseline.clone()
        with torch.no_grad():
            return loss(dist.mode()[:, None])
