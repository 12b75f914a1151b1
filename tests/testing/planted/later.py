"""Errors planted after those of ``errors.py`` were found: noise, state, further updates.

The checks of the law of the noise, of single precision and of several draws were sharpened by them.
"""

from __future__ import annotations

from errors import Error, planted

LATER: tuple[Error, ...] = (
    planted(
        "local-expectation-order-sorted",
        "local_expectation",
        "order.argsort(dim=-1)",
        "order.argsort(dim=-1).sort(dim=-1).values",
    ),
    planted(
        "local-expectation-not-reweighted",
        "local_expectation",
        "* (dist.num_edges / chosen.shape[-1])",
        "* 1.0",
    ),
    planted("nes-noise", "nes", "return eps, common", "return 0.97 * eps, common"),
    planted(
        "gumbel-rao-noise",
        "gumbel_rao",
        "return first, (-gumbel(shape, generator, dist.dtype)).exp()",
        "return first, gumbel(shape, generator, dist.dtype).exp()",
    ),
    planted(
        "gumbel-rao-noise-shared",
        "gumbel_rao",
        "return first, (-gumbel(shape, generator, dist.dtype)).exp()",
        "return first, (-gumbel(shape, generator, dist.dtype)).exp()[:, :1].expand(shape)",
    ),
    planted(
        "drnas-noise",
        "drnas",
        "_sample_dirichlet(concentration,",
        "_sample_dirichlet(1.03 * concentration,",
    ),
    planted(
        "drnas-elu",
        "drnas",
        "self.alpha.relu().log1p(), self.alpha)",
        "self.alpha.relu().log1p(), 0.98 * self.alpha)",
    ),
    planted(
        "hard-concrete-noise-added", "hard_concrete", "return left - right", "return left + right"
    ),
    planted(
        "hard-concrete-penalty",
        "hard_concrete",
        "opened = dist.logits.exp()",
        "opened = 0.95 * dist.logits.exp()",
    ),
    planted(
        "enas-ppo-clip",
        "enas_ppo",
        "ratio.clamp(1 - self.clip, 1 + self.clip)",
        "ratio.clamp(1 - self.clip, 1 + 1.2 * self.clip)",
    ),
    planted("enas-ppo-minimum", "enas_ppo", "torch.maximum(ratio", "torch.minimum(ratio"),
    planted(
        "enas-ppo-value-decay",
        "enas_ppo",
        "(1 - self.decay) * advantage",
        "(1 - 0.99 * self.decay) * advantage",
    ),
    planted(
        "reinforce-decay-off",
        "reinforce",
        "self.decay * past + (1 - self.decay) * mean",
        "0.98 * self.decay * past + (1 - self.decay) * mean",
    ),
    planted(
        "reinforce-decay-swapped",
        "reinforce",
        "self.decay * past + (1 - self.decay) * mean",
        "(1 - self.decay) * past + self.decay * mean",
    ),
    planted(
        "reinforce-baseline-sums",
        "reinforce",
        "mean = losses.detach().mean()",
        "mean = losses.detach().sum()",
    ),
    planted(
        "enas-entropy-sign",
        "enas",
        "return cost + self.entropy_weight",
        "return cost - self.entropy_weight",
    ),
    planted("enas-reward-ignored", "enas", "cost = loss.error(z) if", "cost = losses if"),
    planted(
        "vargrad-kappa",
        "vargrad",
        "f = losses.detach() + self.kappa",
        "f = losses.detach() - self.kappa",
    ),
    planted("rebar-graph", "rebar", "create_graph=second_order)", "create_graph=False)"),
    planted(
        "rebar-tau",
        "rebar",
        "hard, tau = dist.hard(noise[0]), self.log_tau.exp()",
        "hard, tau = dist.hard(noise[0]), self.log_tau.exp().detach()",
    ),
    planted(
        "pc-darts-nodes", "pc_darts", "targets = [(cell.name, target)", "targets = [(cell.name, 0)"
    ),
    planted(
        "sum-and-sample-likeliest",
        "sum_and_sample",
        "mass, index = joint.topk(min(count, joint.shape[1]))",
        "mass, index = joint.topk(min(count, joint.shape[1]), largest=e < 4)",
    ),
    planted(
        "unordered-set-arrival",
        "unordered_set",
        "arrival = time[..., None] + (arrival",
        "arrival = 0.9 * time[..., None] + (arrival",
    ),
    planted(
        "regularized-evolution-place",
        "regularized_evolution",
        "place = int(self.born) % self.population",
        "place = int(self.born) % (self.population - 1)",
    ),
    planted(
        "regularized-evolution-counts",
        "regularized_evolution",
        "(alive.sum(dim=0) + 1 / dist.num_operations)",
        "(alive.sum(dim=0) + 1)",
    ),
    planted(
        "dsnas-theta",
        "dsnas",
        "return z * (1 + (log_prob - log_prob.detach()))",
        "return z * (1 + (log_prob - log_prob.detach())) * 1.02",
    ),
    planted(
        "rloo-half-precision",
        "rloo",
        "return (losses - losses.mean(dim=1, keepdim=True))",
        "return (losses - losses.mean(dim=1, keepdim=True)).bfloat16().to(losses.dtype)",
    ),
    planted(
        "st-gumbel-half-precision",
        "st_gumbel",
        "return straight_through(dist.hard(noise), soft)",
        "return straight_through(dist.hard(noise), soft if soft.itemsize > 4 else soft.bfloat16())",
    ),
    planted(
        "darts-float32",
        "darts",
        "return dist.probs[:, None]",
        "return dist.probs[:, None].float().to(dist.dtype)",
    ),
    planted(
        "snas-last-temperature",
        "snas",
        "(dist.perturb(noise) / self.tau)",
        "(dist.perturb(noise) / max(self.tau, 0.05))",
    ),
    planted(
        "proxyless-weights",
        "proxyless",
        "return dist.hard(noise[0])",
        "return dist.hard(noise[1] * 1.1)",
    ),
    planted(
        "local-expectation-chunks",
        "local_expectation",
        "parts = torch.split(changed.flatten(1, 3), self.chunk, dim=1)",
        "parts = [changed.flatten(1, 3)[:, : self.chunk]] * 99; "
        "parts = parts[: -(-changed.flatten(1, 3).shape[1] // self.chunk)]",
    ),
    planted(
        "muprop-n",
        "muprop",
        "restored = (slope * (probs - mean.detach())).sum(dim=(-2, -1))[:, 0]",
        "restored = (slope * (probs - mean.detach())).sum(dim=(-2, -1))[:, 0] / self.n",
    ),
    planted(
        "self-critical-sees-all",
        "self_critical",
        "return losses - loss(dist.mode()[:, None])",
        "return losses - losses.mean() * 0.01 - loss(dist.mode()[:, None])",
    ),
    planted(
        "self-critical-sees-itself",
        "self_critical",
        "return losses - loss(dist.mode()[:, None])",
        "return losses - 0.02 * losses - loss(dist.mode()[:, None])",
    ),
    planted("coupled-snas-default", "snas", "tau_end: float = 0.03", "tau_end: float = 0.01"),
    planted("coupled-redge-default", "redge", "t1: float = 0.5", "t1: float = 0.1"),
    planted(
        "coupled-carms-ratio",
        "carms",
        "product / torch.where(possible, joint, 1)",
        "0.97 * product / torch.where(possible, joint, 1)",
    ),
    planted("coupled-carms-copula", "carms", "** (self.n - 1), chosen", "** self.n, chosen"),
    planted(
        "coupled-disarm-iw-weight",
        "disarm_iw",
        "before * torch.maximum(s, 1 - s)",
        "before * torch.maximum(s, 0.97 - s)",
    ),
    planted(
        "coupled-double-cv-mean-term",
        "double_cv",
        "losses + scores - restored",
        "losses + scores - 0.97 * restored",
    ),
    planted(
        "coupled-rodeo-own-term",
        "rodeo",
        "score_term(probs * around[..., 1], log_probs)",
        "score_term(0.97 * probs * around[..., 1], log_probs)",
    ),
    planted(
        "coupled-indecater-scale",
        "indecater",
        "score_term(table, dist.probs[:, None])",
        "score_term(0.97 * table, dist.probs[:, None])",
    ),
    planted(
        "coupled-proxyless-zero-rule",
        "proxyless",
        'self.mode == "full" and self.zeros',
        'self.mode == "full" and not self.zeros',
    ),
)
