"""What the paper claims, measured at one point.

(a) eq. (7) as an identity: gap and Taylor remainder, by loss and by operation
    (:mod:`nasbench_snas.study.taylor`), and its exact hard limit.
(c) DARTS: bias of its gradient against the expected loss of discrete architectures.
(e) the objective gap: ``L(E[Z])`` against ``E[L(Z)]``, and ``E[L(Z_lambda)]`` between them.
The three gradients of the expected cost stand beside them
(:mod:`nasbench_snas.study.resource`).
(b) and (d) (temperatures; credit assignment at equal compute) compare estimators: they are read
from the study's cells.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nasbench_snas.architecture.distributions import one_hot
from nasbench_snas.oracle.exact import distribution_gradient
from nasbench_snas.oracle.network import Criterion, cross_entropy
from nasbench_snas.seeding import stream
from nasbench_snas.stats.moments import DEFAULT_BLOCKS
from nasbench_snas.study.resource import cost_gradients
from nasbench_snas.study.results import plain
from nasbench_snas.study.settings import StudySettings
from nasbench_snas.study.site import Site
from nasbench_snas.study.taylor import eq7_gaps, hard_gap, remainders

GAP_TEMPERATURES = (1.0, 0.1)
_SOFT_DRAWS = 256


def linear_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return minus the mean logit of the label, shape ``(S,)``: affine in the logits."""
    return -logits.gather(2, labels.expand(len(logits), -1)[..., None]).mean(dim=(1, 2))


def squared_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared distance of the logits to the one-hot label, shape ``(S,)``."""
    goal = functional.one_hot(labels, logits.shape[2]).to(logits.dtype)
    return (logits - goal).square().sum(dim=2).mean(dim=1)


CRITERIA: dict[str, Criterion] = {
    "cross-entropy": cross_entropy,
    "squared": squared_loss,
    "linear": linear_loss,
}


def measure_claims(site: Site, settings: StudySettings) -> dict[str, Any]:
    """Return the claims (a), (c), (e) and the cost gradients at one point, as plain containers."""
    return dict(
        plain(
            {
                "point": site.point.name,
                "fraction": site.point.fraction,
                "eq7": _eq7(site, settings),
                "eq7_hard_limit": _hard_limit(site),
                "taylor": _taylor(site, settings),
                "darts": _darts(site),
                "objective": _objective(site, settings),
                "cost": _cost(site, settings),
            }
        )
    )


def _eq7(site: Site, settings: StudySettings) -> list[dict[str, Any]]:
    rows, space = [], site.point.parent.space
    for name, criterion in CRITERIA.items():
        loss = site.loss(False, criterion=criterion)
        for tau in GAP_TEMPERATURES:
            ops = {op: [k] for k, op in enumerate(space.operations)}
            gaps = eq7_gaps(
                loss,
                site.dist,
                tau,
                settings.samples,
                stream(settings.seed, f"{site.point.name}/eq7/{tau}"),
                replicates=settings.replicates,
                columns=ops if name == "cross-entropy" else None,
                confidence=settings.confidence,
            )
            rows += [{"loss": name, "operation": op, **asdict(gap)} for op, gap in gaps.items()]
    return rows


def _cost(site: Site, settings: StudySettings) -> list[dict[str, Any]]:
    generator = stream(settings.seed, f"{site.point.name}/cost")
    space, draws = site.point.parent.space, max(settings.samples, 2 * DEFAULT_BLOCKS)
    return cost_gradients(space, site.dist, draws, generator, settings.confidence)


def _hard_limit(site: Site) -> dict[str, float]:
    """Return the exact relative gap at temperature 0, where credits are tabulated."""
    if site.losses is None or site.credits_ is None:
        return {}
    _, exact, probs = distribution_gradient(site.dist, site.losses)
    policy = hard_gap(probs, site.credits_, site.oracle.table, site.point.probs)
    cosine = functional.cosine_similarity(policy, exact, dim=0)
    return {"relative": float((policy - exact).norm() / exact.norm()), "cosine": float(cosine)}


def _taylor(site: Site, settings: StudySettings) -> list[dict[str, Any]]:
    """Return the remainder's share of the exact credit, edge by edge."""
    rows, loss = [], site.loss(False)
    for tau in GAP_TEMPERATURES:
        generator = stream(settings.seed, f"{site.point.name}/taylor/{tau}")
        parts = []
        for _ in range(0, _SOFT_DRAWS, 32):
            noise = site.dist.noise(32, 1, generator)
            parts.append(torch.stack(remainders(loss, site.dist, tau, noise)))
        remainder, exact = torch.cat(parts, dim=1)
        share = remainder.square().mean(0).sqrt() / exact.square().mean(0).sqrt()
        total = float(remainder.square().mean().sqrt() / exact.square().mean().sqrt())
        rows.append({"tau": tau, "draws": _SOFT_DRAWS, "share": total, "edges": share.tolist()})
    return rows


def _darts(site: Site) -> dict[str, float]:
    """Return DARTS' gradient against the exact one, and what its objective says."""
    if site.losses is None:
        return {}
    probs = site.point.probs.clone().requires_grad_()
    loss = site.loss(True)
    (h,) = torch.autograd.grad(loss(probs[None, None]).sum(), probs)
    p = probs.detach()
    darts = (p * (h - (p * h).sum(dim=-1, keepdim=True))).flatten()
    value, exact, _ = distribution_gradient(site.dist, site.losses)
    mode = one_hot(p.argmax(dim=-1), p.shape[1], p.dtype)
    with torch.no_grad():
        derived = float(loss(mode[None, None])[0, 0])
        soft = float(loss(p[None, None])[0, 0])
    return {
        "relative_bias": float((darts - exact).norm() / exact.norm()),
        "cosine": float(functional.cosine_similarity(darts, exact, dim=0)),
        "scale": float(darts @ exact / exact.square().sum()),
        "loss_of_mean": soft,
        "expected_loss": float(value),
        "loss_of_mode": derived,
    }


def _objective(site: Site, settings: StudySettings) -> dict[str, Any]:
    """Return the objective at the mean weights, of relaxed and of discrete architectures."""
    loss = site.loss(False)
    relaxed = []
    for tau in sorted({*settings.temperatures, *settings.sweep_temperatures}, reverse=True):
        generator = stream(settings.seed, f"{site.point.name}/objective")
        values = []
        with torch.no_grad():
            for _ in range(0, _SOFT_DRAWS, 32):
                z = (site.dist.perturb(site.dist.noise(32, 1, generator)) / tau).softmax(dim=-1)
                values.append(loss(z)[:, 0])
        sample = torch.cat(values)
        error = float(sample.std()) / math.sqrt(len(sample))
        relaxed.append({"tau": tau, "mean": float(sample.mean()), "se": error, "n": len(sample)})
    with torch.no_grad():
        soft = float(loss(site.point.probs[None, None])[0, 0])
    discrete = None
    if site.losses is not None:
        discrete = float(distribution_gradient(site.dist, site.losses)[0])
    return {"loss_of_mean": soft, "expected_loss": discrete, "relaxed": relaxed}
