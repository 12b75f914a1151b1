"""Errors planted in the built-in estimators, one line each, to measure what the checks find.

Each is a file, a text that occurs in it once, and what stands in its place. Marks:

* ``small``: the mean gradient is within about 5 per cent of the right one;
* ``updates``: it shows only after a hundred or so updates of the estimator's state;
* ``K``, ``E``, ``n``: it shows only for K other than 3, for E above 6 (or above 2), for n above 1;
* ``scale``: it shows only for losses of another scale than a few nats.

Run them with ``python tests/testing/planted/run.py``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Error:
    """One planted error.

    Attributes:
        name: For the record.
        file: The estimator's file, without ``.py``.
        right: Text that occurs once in the file.
        wrong: What stands there instead.
        marks: See the module.
    """

    name: str
    file: str
    right: str
    wrong: str
    marks: tuple[str, ...] = ()


def planted(name: str, file: str, right: str, wrong: str, *marks: str) -> Error:
    return Error(name, file, right, wrong, marks)


ERRORS = (
    # pathwise
    planted(
        "darts-warm-softmax",
        "darts",
        "return dist.probs[:, None]",
        "return (0.97 * dist.logits).softmax(dim=-1)[:, None]",
        "small",
    ),
    planted(
        "snas-temperature-3-per-cent",
        "snas",
        "(dist.perturb(noise) / self.tau)",
        "(dist.perturb(noise) / (1.03 * self.tau))",
        "small",
    ),
    planted(
        "snas-schedule-ignored",
        "snas",
        "(dist.perturb(noise) / self.tau)",
        "(dist.perturb(noise) / self.tau_start)",
    ),
    planted(
        "st-gumbel-scale",
        "st_gumbel",
        "straight_through(dist.hard(noise), soft)",
        "straight_through(dist.hard(noise), 0.97 * soft)",
        "small",
    ),
    planted(
        "st-gumbel-noise-negated",
        "st_gumbel",
        "(dist.perturb(noise) / self.tau)",
        "((dist.log_probs[:, None] - noise) / self.tau)",
    ),
    planted(
        "straight-through-edges-rolled",
        "straight_through",
        "straight_through(dist.hard(noise), dist.probs[:, None])",
        "straight_through(dist.hard(noise), dist.probs[:, None].roll(1, dims=2))",
    ),
    planted(
        "straight-through-divided-by-n",
        "straight_through",
        "straight_through(dist.hard(noise), dist.probs[:, None])",
        "straight_through(dist.hard(noise), dist.probs[:, None] / self.n)",
        "n",
    ),
    planted(
        "gdas-scale", "gdas", "(soft - soft.detach())", "0.96 * (soft - soft.detach())", "small"
    ),
    planted(
        "gdas-three-operations",
        "gdas",
        "(soft - soft.detach())",
        "(soft - soft.detach()) * 3 / soft.shape[-1]",
        "K",
    ),
    planted(
        "gumbel-rao-noise-differentiated",
        "gumbel_rao",
        "shifted = logits + (perturbed - logits).detach()",
        "shifted = perturbed",
    ),
    planted(
        "gumbel-rao-samples-mixed-up",
        "gumbel_rao",
        "soft.view(len(hard), self.n, self.samples, *hard.shape[2:]).mean(dim=2)",
        "soft.view(len(hard), self.samples, self.n, *hard.shape[2:]).mean(dim=1)",
        "n",
    ),
    planted(
        "reinmax-less-of-the-first-order",
        "reinmax",
        "2 * heun - 0.5 * dist.probs[:, None]",
        "2 * heun - 0.45 * dist.probs[:, None]",
    ),
    planted("reinmax-middle", "reinmax", "+ hard) / 2", "+ 1.1 * hard) / 2.1", "small"),
    planted(
        "drnas-centred-by-mean",
        "drnas",
        "noise * step.sum(dim=-1, keepdim=True)",
        "step.mean(dim=-1, keepdim=True)",
    ),
    planted(
        "drnas-total",
        "drnas",
        "total.contiguous())",
        "(1.05 * total).contiguous())",
        "small",
    ),
    planted(
        "proxyless-laws-swapped",
        "proxyless",
        'by_pair = self.law == "published"',
        'by_pair = self.law == "exact"',
    ),
    planted(
        "proxyless-warm-pair",
        "proxyless",
        "logits.softmax(dim=-1)",
        "(0.95 * logits).softmax(dim=-1)",
        "small",
    ),
    planted(
        "pc-darts-edges-detached",
        "pc_darts",
        "(dist.edge_weights[..., None] * dist.probs)[:, None]",
        "(dist.edge_weights.detach()[..., None] * dist.probs)[:, None]",
    ),
    planted(
        "fair-darts-penalty-of-six",
        "fair_darts",
        "square().mean(dim=(-2, -1))",
        "square().sum(dim=(-2, -1)) / 6",
        "K",
        "E",
    ),
    planted(
        "hard-concrete-width",
        "hard_concrete",
        "(s * (self.zeta - self.gamma) + self.gamma)",
        "(s * (self.zeta + self.gamma) + self.gamma)",
    ),
    # score
    planted(
        "reinforce-baseline-grows",
        "reinforce",
        "self.decay * past + (1 - self.decay) * mean",
        "past + (1 - self.decay) * mean",
        "updates",
    ),
    planted(
        "reinforce-normalised-by-baseline",
        "reinforce",
        "        self.baseline.update(losses)\n        return advantage",
        "        self.baseline.update(losses)\n"
        "        return advantage / self.baseline.value.nan_to_num(1).clamp_min(1)",
        "updates",
    ),
    planted("rloo-four-draws", "rloo", "(self.n / (self.n - 1))", "(4 / 3)", "n"),
    planted(
        "rloo-scale", "rloo", "(self.n / (self.n - 1))", "(0.97 * self.n / (self.n - 1))", "small"
    ),
    planted(
        "self-critical-clipped",
        "self_critical",
        "return losses - loss(dist.mode()[:, None])",
        "return (losses - loss(dist.mode()[:, None])).clamp(-5, 5)",
        "scale",
    ),
    planted("vargrad-population-covariance", "vargrad", "/ (self.n - 1)", "/ self.n"),
    planted("arsm-three-operations", "arsm", "1 / k - pi", "1 / 3 - pi", "K"),
    planted(
        "arsm-mean-of-the-other-axis",
        "arsm",
        "table.mean(dim=2, keepdim=True)",
        "table.mean(dim=3, keepdim=True)",
    ),
    planted(
        "unordered-set-weak-baseline",
        "unordered_set",
        "(losses.detach() - baseline)",
        "(losses.detach() - 0.9 * baseline)",
        "small",
    ),
    planted(
        "sum-and-sample-baseline-sees-the-sample",
        "sum_and_sample",
        "(share * advantage[:, :-1]).sum(dim=1, keepdim=True)",
        "(weight * advantage).sum(dim=1, keepdim=True)",
    ),
    planted(
        "enas-scale",
        "enas",
        "advantage = cost - self.baseline.before(lambda: self.cost_of_mode(loss, dist))",
        "advantage = 0.97 * (cost - self.baseline.before(lambda: self.cost_of_mode(loss, dist)))",
        "small",
    ),
    planted(
        "enas-centred-over-draws",
        "enas",
        "        self.baseline.update(cost)\n        return advantage",
        "        self.baseline.update(cost)\n"
        "        return advantage - (self.n > 1) * advantage.mean(dim=1, keepdim=True)",
        "n",
    ),
    planted(
        "enas-ppo-values-run-away",
        "enas_ppo",
        "moved = values + (1 - self.decay) * advantage",
        "moved = values - (1 - self.decay) * advantage",
        "updates",
    ),
    planted(
        "enas-ppo-only-the-last-advantage",
        "enas_ppo",
        "rows.append(delta + self.gae_lambda * rows[-1])",
        "rows.append(delta + self.gae_lambda * rows[0])",
        "E",
    ),
    # credit
    planted(
        "dsnas-scale",
        "dsnas",
        "log_prob = dist.log_prob(z)[..., None]",
        "log_prob = 0.97 * dist.log_prob(z)[..., None]",
        "small",
    ),
    planted(
        "dsnas-edges-rolled",
        "dsnas",
        "log_prob = dist.log_prob(z)[..., None]",
        "log_prob = dist.log_prob(z).roll(1, dims=-1)[..., None]",
    ),
    planted(
        "snas-credit-three-operations",
        "snas_credit",
        "return 1 - noise.shape[-1] *",
        "return 1 - 3 *",
        "K",
    ),
    planted(
        "snas-credit-sample-not-detached",
        "snas_credit",
        "(dist.perturb(noise).detach() / self.tau)",
        "(dist.perturb(noise) / self.tau)",
    ),
    # control variates
    planted(
        "muprop-mean-term",
        "muprop",
        "+ score + restored",
        "+ score + 0.97 * restored",
        "small",
    ),
    planted(
        "muprop-scores-summed",
        "muprop",
        "expansion, log_prob).mean(dim=1)",
        "expansion, log_prob).sum(dim=1)",
        "n",
    ),
    planted(
        "rebar-weight-of-the-control-forgotten",
        "rebar",
        "control = self.eta * (free - given)",
        "control = free - given",
        "updates",
    ),
    planted(
        "rebar-conditional-detached",
        "rebar",
        "dist.conditional(hard, noise[1]))",
        "dist.conditional(hard, noise[1].detach()) + 0.1 * hard)",
    ),
    planted(
        "relax-control-not-subtracted",
        "relax",
        "score_term(losses.detach() - given, log_prob)",
        "score_term(losses.detach() - 0.5 * given, log_prob)",
        "updates",
    ),
    planted(
        "relax-terms-summed",
        "relax",
        "return (losses + score + (control - control.detach())).mean(dim=1)",
        "return losses.mean(dim=1) + (score + control - control.detach()).sum(dim=1)",
        "n",
    ),
    # marginalisation
    planted(
        "local-expectation-scale",
        "local_expectation",
        "score_term(table, probs)",
        "score_term(0.97 * table, probs)",
        "small",
    ),
    planted(
        "local-expectation-six-edges",
        "local_expectation",
        "local = score_term(table, probs).sum(dim=(-2, -1))",
        "local = score_term(table, probs)[:, :, :6].sum(dim=(-2, -1))",
        "E",
    ),
    planted(
        "local-expectation-neighbour",
        "local_expectation",
        "(1 - here) * z[:, :, None, None]",
        "(1 - here) * z.roll(1, dims=1)[:, :, None, None]",
        "n",
    ),
    # enumeration
    planted(
        "exact-theta-scale",
        "exact",
        ".exp() * loss(z)).sum(dim=1)",
        ".exp() * (0.97 * loss(z) + 0.03 * loss(z).detach())).sum(dim=1)",
        "small",
    ),
    planted(
        "exact-three-operations",
        "exact",
        "// digits % operations",
        "// digits % min(operations, 3)",
        "K",
    ),
    planted("exact-first-left-out", "exact", "loss(z)).sum(dim=1)", "loss(z))[:, 1:].sum(dim=1)"),
    # evolution strategies
    planted("nes-scale", "nes", "/ (2 * self.sigma)", "/ (2.06 * self.sigma)", "small"),
    planted(
        "nes-pairs-summed",
        "nes",
        "step = gradient.mean(dim=1)",
        "step = gradient.sum(dim=1)",
        "n",
    ),
    planted("nes-half-a-pair", "nes", "noise[1] - shift]", "noise[1]]"),
    # evolution
    planted(
        "regularized-evolution-worst-wins",
        "regularized_evolution",
        "self.fitness[rivals].argmin(",
        "self.fitness[rivals].argmax(",
        "updates",
    ),
    planted(
        "regularized-evolution-fitness-not-saved",
        "regularized_evolution",
        "torch.full((population,), torch.inf, dtype=torch.float64))",
        "torch.full((population,), torch.inf, dtype=torch.float64), persistent=False)",
        "updates",
    ),
    planted(
        "regularized-evolution-two-mutations",
        "regularized_evolution",
        "change = _below(edge, dist.num_edges), 1 + _below(change, dist.num_operations - 1)",
        "change = _below(edge, dist.num_edges), 1 + _below(change, dist.num_operations)",
        "updates",
    ),
    # random
    planted(
        "random-draws-from-p",
        "random",
        "one_hot(noise.argmax(dim=-1)",
        "one_hot((noise + dist.alpha[:, None]).argmax(dim=-1)",
    ),
    planted("random-summed", "random", "noise)).mean(dim=1)", "noise)).sum(dim=1)", "n"),
    planted(
        "random-three-operations",
        "random",
        "one_hot(noise.argmax(dim=-1)",
        "one_hot(noise[..., :3].argmax(dim=-1)",
        "K",
    ),
)
