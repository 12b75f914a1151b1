"""The unordered-set estimator: k distinct architectures, drawn without replacement.

For the set ``S`` of k architectures with probabilities ``p(s)``:
``sum_s p(s) R(S, s) grad log p(s) [L(s) - sum_s' p(s') R^{D-s}(S, s') L(s')]``, where ``R(S, s)``
is the probability of S given that s came first, over that of S, and ``R^{D-s}(S, s')`` the same for
``s'`` second after ``s`` (1 for ``s' = s``). Unbiased for the expected loss: the Rao-Blackwellised
leave-one-out baseline. Naively renormalised weights ``p(s) / p(S)`` would be biased.

Reference: Kool et al. 2020, arXiv:2002.06043, section 4 (with its built-in baseline); Gumbel-top-k
by beam search: Kool et al. 2019, arXiv:1903.06059.
Deviations: the ratios are exact for every k: instead of summing over permutations, or integrating
over a Gumbel threshold, probabilities of completing S from each of its subsets are tabulated
(``2^k`` terms, hence k at most 10). The beam search works with exponential arrival times (minus the
logarithm of which are the perturbed log-probabilities), whose residuals are memoryless. When k
exceeds the number of architectures the gradient is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Categorical, Estimator, Loss, one_hot, score_term
from nasbench_snas.errors import ConfigError


class UnorderedSet(Estimator):
    """Score function on distinct architectures.

    Args:
        n: Architectures per draw (k), 2 to 10. Default 4.
    """

    name = "unordered-set"
    family = "score"
    reference = "kool2020estimating, kool2019stochastic"
    evaluations = "n F forward, n F backward for theta"
    bias = "unbiased"
    single_path = True
    claims = {"draw": "score:unordered_set"}

    def __init__(self, n: int = 4) -> None:
        super().__init__()
        if not 2 <= n <= 10:
            raise ConfigError(f"unordered-set: n must be 2 to 10, got {n}.")
        self.n = n

    def surrogate(self, loss: Loss, dist: Categorical, noise: Tensor) -> Tensor:
        """Return the weighted losses with their scores; see :meth:`Estimator.surrogate`."""
        log_probs = dist.logits.detach().double().log_softmax(dim=-1)
        choices = gumbel_top_k(log_probs, noise)
        z = one_hot(choices, dist.num_operations, dist.dtype)
        probs = (z.double() * log_probs[:, None]).sum(dim=(-2, -1)).exp()
        first, second = (ratio.to(dist.dtype) for ratio in leave_one_out(probs))
        losses = loss(z)
        baseline = (second * losses.detach()[:, None]).sum(dim=-1)
        advantage = first * (losses.detach() - baseline)
        scores = score_term(advantage, dist.log_prob(z).sum(dim=-1))
        return (first * losses + scores).sum(dim=1)


def gumbel_top_k(log_probs: Tensor, noise: Tensor) -> Tensor:
    """Draw k architectures without replacement from a factorised law.

    Args:
        log_probs: Shape ``(R, E, K)``, detached.
        noise: Gumbel, shape ``(R, k, E, K)``.

    Returns:
        Operations in the order of the draws, ``(R, min(k, K^E), E)``.
    """
    choices = torch.zeros(noise.shape[0], 1, 0, dtype=torch.long, device=noise.device)
    time = mass = log_probs.new_zeros(1, 1)
    for e in range(noise.shape[2]):
        joint = mass[..., None] + log_probs[:, None, e]
        arrival = (-noise[:, : joint.shape[1], e] - joint).clamp_max(700).exp()
        arrival = time[..., None] + (arrival - arrival.amin(dim=-1, keepdim=True))
        joint = joint.expand_as(arrival)
        count = min(noise.shape[1], arrival[0].numel())
        time, index = arrival.flatten(1).topk(count, largest=False)
        mass = joint.flatten(1).gather(1, index)
        choices = extend(choices, index, noise.shape[3])
    return choices


def extend(choices: Tensor, index: Tensor, num_operations: int) -> Tensor:
    """Append an edge's operation to partial architectures.

    Args:
        choices: Operations of the earlier edges, shape ``(R, b, e)``.
        index: ``beam * K + operation``, shape ``(R, k)``.
        num_operations: ``K``.

    Returns:
        Shape ``(R, k, e + 1)``.
    """
    beam = (index // num_operations)[..., None].expand(-1, -1, choices.shape[2])
    return torch.cat([choices.gather(1, beam), (index % num_operations)[..., None]], dim=-1)


def leave_one_out(probs: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``p(s) R(S, s)``, ``(R, k)``, and ``p(s') R^{D-s}(S, s')``, ``(R, k, k)``.

    ``v[A]``: probability of completing S after the subset A was drawn, over the product of the
    probabilities of the remaining members: ``v[A] = sum_{i not in A} v[A + i] / (1 - p(A))``.

    Args:
        probs: Probabilities of the members of S, shape ``(R, k)``, in float64.
    """
    k = probs.shape[1]
    bits = 1 << torch.arange(k, device=probs.device)
    member = (torch.arange(2**k, device=probs.device)[:, None] & bits) > 0
    inside, outside = (probs @ side.to(probs.dtype).T for side in (member, ~member))
    rest = torch.maximum(1 - inside, outside)  # the second is exact where the first cancels
    v = torch.ones_like(rest)
    for size in reversed(range(k)):
        subsets = (member.sum(dim=1) == size).nonzero()[:, 0]
        following = v[:, subsets[:, None] | bits] * ~member[subsets]
        v[:, subsets] = following.sum(dim=-1) / rest[:, subsets]
    second = v[:, bits[:, None] | bits] / v[:, bits, None]
    same = torch.eye(k, dtype=torch.bool, device=probs.device)
    return v[:, bits] / v[:, :1], torch.where(same, probs[:, :, None], second)
