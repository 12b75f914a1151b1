"""Toys whose papers plot the variance of a draw: what can be checked is its order."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nasbench_snas.api import Estimator
from nasbench_snas.functional import estimate, make_estimator, variance_objective
from nasbench_snas.replicate.findings import Experiment, Finding, judge
from nasbench_snas.seeding import stream


def train_bit(
    method: Estimator, target: float, steps: int, seed: int = 0
) -> tuple[float, list[float]]:
    """Minimise ``E[(b - target)^2]`` over one bit with Adam .01, batch 1, from logit 0.

    Control variates are trained on the squared gradient with Adam .01, as in both papers.

    Returns:
        The probability of 1 at the end, and 1,000 draws of the gradient there.
    """
    generator = stream(seed, f"bit/{method.name}/{target}")
    logit = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def f(z: Tensor) -> Tensor:
        return (z[..., 0, 1] - target).square()

    def row(value: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(value), value], dim=-1)[..., None, :]

    optimizer = torch.optim.Adam([logit], lr=0.01)
    tuned = None
    for _ in range(steps):
        logits = row(logit)
        value = estimate(logits, f, estimator=method, generator=generator)
        (gradient,) = torch.autograd.grad(value, logit, retain_graph=method.tunes_variance)
        if method.tunes_variance:
            parameters = [p for p in method.parameters() if p.requires_grad]
            tuned = tuned or torch.optim.Adam(parameters, lr=0.01)
            slopes = torch.autograd.grad(
                variance_objective(value, logits), parameters, allow_unused=True
            )
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            tuned.step()
        logit.grad = gradient
        optimizer.step()
    method.eval()
    leaf = logit.detach().repeat(1_000).requires_grad_()
    value = estimate(row(leaf), f, estimator=method, generator=generator)
    draws = torch.autograd.grad(value.sum(), leaf)[0]
    return float(logit.detach().sigmoid()), draws.tolist()


def relax_toy(full: bool) -> list[Finding]:
    """Grathwohl et al. 2018 (t = .499) and Tucker et al. 2017 (t = .45): one bit."""
    steps, rows = 10_000 if full else 1_000, []
    for target in (0.499, 0.45):
        found = {}
        for name, settings in (("reinforce", {"baseline": "none"}), ("rebar", {}), ("relax", {})):
            _, draws = train_bit(make_estimator(name, **settings), target, steps)
            found[name] = math.log(float(torch.tensor(draws).var()) + 1e-300)
        for name in ("rebar", "relax"):
            rows.append(
                Finding(
                    f"t = {target}: ln variance of 1,000 draws, {name} and reinforce",
                    f"{found[name]:.2f} and {found['reinforce']:.2f}",
                    "below reinforce (order of curves)",
                    judge(found[name] < found["reinforce"])
                    if full or name == "relax"
                    else "not comparable",
                )
            )
    return rows


def coupled_toy(full: bool) -> list[Finding]:
    """Dimitriev and Zhou 2021 (CARMS): median over nine logits of the ln variance."""
    weights = 3 * torch.arange(1, 10, dtype=torch.float64).view(3, 3)

    def f(z: Tensor) -> Tensor:
        return (z * weights).sum(dim=(-2, -1))

    draws = 20_000 if full else 4_000
    rows = []
    for alpha in (1.0, 10.0, 100.0, 1_000.0):
        drawn = np.random.default_rng([0, int(alpha)]).dirichlet([alpha] * 3, size=3)
        logits = torch.from_numpy(drawn).log()
        medians, errors = {}, {}
        for name in ("carms", "rloo", "unordered-set"):
            leaf = logits.expand(draws, -1, -1).clone().requires_grad_()
            value = estimate(leaf, f, estimator=name, generator=stream(1, f"{name}/{alpha}"), n=3)
            gradient = torch.autograd.grad(value.sum(), leaf)[0].flatten(1)
            logs = gradient.var(dim=0).log()
            medians[name] = float(logs.median())
            blocks = torch.stack([b.var(dim=0).log() for b in gradient.chunk(20)])
            errors[name] = float(blocks.median(dim=1).values.std() / math.sqrt(20))
        gap = medians["rloo"] - medians["carms"]
        error = math.hypot(errors["rloo"], errors["carms"])
        beside = f"{medians['unordered-set']:.2f} ± {errors['unordered-set']:.2f}"
        rows.append(
            Finding(
                f"alpha = {alpha:g}: ln variance, carms and leave-one-out (unordered set {beside})",
                f"{medians['carms']:.2f} and {medians['rloo']:.2f} ± {error:.2f}",
                "carms below leave-one-out (order of methods)",
                judge(gap > -2 * error),
            )
        )
    return rows


EXPERIMENTS = (
    Experiment(
        "relax-bit",
        "Grathwohl et al. 2018, arXiv:1711.00123, figure 1; Tucker et al. 2017, arXiv:1703.07370",
        "E[(b - t)^2] over one bit, t = .499 and .45, Adam .01 for logit and control variate, "
        "batch 1, 10,000 steps, one seed.",
        "At the end, 1,000 draws of rebar and of relax vary less than those of REINFORCE without a "
        "baseline.",
        "The network of relax is the suite's. Each is measured at the point that it reached. Small "
        "size: 1,000 steps, at which rebar's temperature and scale are still being learnt and the "
        "rule (for the published 10,000) gives no verdict on it: the first small run had -4.16 "
        "against -4.18 at t = .499.",
        relax_toy,
    ),
    Experiment(
        "carms-toy",
        "Dimitriev and Zhou 2021, arXiv:2110.14002, toy",
        "Three categoricals of three values, f = <3 (1..9), z>, three draws; probabilities from a "
        "Dirichlet of concentration 1, 10, 100, 1,000; median over the nine logits of the ln of "
        "the variance.",
        "The median for CARMS is not above that for leave-one-out by more than two standard errors "
        "at any concentration.",
        "Dirichlet draws of our own seeds; 4,000 draws, 20,000 at full size (published: 1,000, "
        "which cannot order methods at high concentrations).",
        coupled_toy,
    ),
)
