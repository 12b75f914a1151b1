"""The same again: two equal steps, and a replayed graph, bit for bit; sampling by its moments."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nasbench_snas.api import Categorical
from nasbench_snas.architecture.distributions import gumbel
from nasbench_snas.kernels.reference import ReferenceKernels
from nasbench_snas.prove.context import Context, Finding
from nasbench_snas.prove.equality import CASES, Case, outcome, parent_of, space_of, weights
from nasbench_snas.prove.record import Row
from nasbench_snas.search.objective import losses_and_errors
from nasbench_snas.supernet.fast.graph import GraphedStep, Step

DETERMINISM, SAMPLING = "determinism", "sampling"

_SMALL = Case("", dtype=torch.float32, cells=3, shape=(4, 1, 2, 8, 2, 4))


def _case(context: Context) -> Case:
    return CASES[0] if context.cuda else _SMALL


def twice(context: Context, hot: bool) -> Finding:
    """Return whether two equal steps of two equal parents agree in every bit."""
    case = _case(context)
    space, results = space_of(case, context), []
    for _ in range(2):
        net = parent_of(
            space, context.kernels(), torch.float32, torch.float32, context.device
        ).train()
        size = (case.shape[-1], space.in_channels, space.resolution, space.resolution)
        images = torch.randn(size, generator=torch.Generator().manual_seed(1))
        z = weights(space, 1, hot).float().to(context.device)
        results.append(outcome(net, images.to(context.device), z, None, not hot))
    same = [torch.equal(results[0][name], results[1][name]) for name in results[0]]
    return all(same), {"tensors": len(same), "equal": sum(same)}


def graphed(context: Context) -> Finding:
    """Return whether replayed steps have the losses, gradients and statistics of eager ones."""
    case = _case(context)
    space = space_of(case, context)
    nets = [
        parent_of(space, context.kernels(), torch.float32, torch.float32, context.device).train()
        for _ in range(2)
    ]

    def batch(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        size = (case.shape[-1], space.in_channels, space.resolution, space.resolution)
        images = torch.randn(size, generator=generator)
        labels = torch.randint(space.num_classes, (case.shape[-1],), generator=generator)
        given = (images, labels, weights(space, 1, False, seed).float())
        return tuple(tensor.to(context.device) for tensor in given)  # type: ignore[return-value]

    def step_of(net: torch.nn.Module) -> Step:
        def step(images: Tensor, labels: Tensor, z: Tensor) -> tuple[Tensor, ...]:
            return losses_and_errors(net(images, z, all_operations=True), labels)

        return step

    parameters = list(nets[0].parameters())
    graph = GraphedStep(
        step_of(nets[0]),
        parameters,
        batch(0),
        list(nets[0].buffers()),
    )
    same = []
    for seed in (1, 2, 3):
        losses, _ = graph(*batch(seed))
        images, labels, z = batch(seed)
        z.requires_grad_()
        eager, _ = step_of(nets[1])(images, labels, z)
        wanted = torch.autograd.grad(eager.sum(), [*nets[1].parameters(), z])
        same.append(torch.equal(losses, eager.detach()))
        same += [
            torch.equal(got, want)
            for got, want in zip(graph.gradients, wanted, strict=True)
            if got is not None
        ]
    buffers = zip(nets[0].buffers(), nets[1].buffers(), strict=True)
    same += [torch.equal(one, other) for one, other in buffers]
    return all(same), {"tensors": len(same), "equal": sum(same)}


def determinism(context: Context) -> Iterator[Row]:
    """Repeat steps."""
    yield context.row(DETERMINISM, "a soft step twice", lambda: twice(context, False))
    yield context.row(DETERMINISM, "a one-hot step twice", lambda: twice(context, True))
    case = "a replayed step against an eager one, bit for bit"
    if context.cuda:
        yield context.row(DETERMINISM, case, lambda: graphed(context))
    else:
        yield context.skipped(DETERMINISM, case, "CUDA graphs need a GPU")


def noise_moments(context: Context) -> Finding:
    """Return whether Gumbel noise has its mean and variance: both within 5 standard errors.

    A false alarm happens once in 870,000 runs. An error of 1 % of the standard deviation, in the
    mean or in the scale, is as good as certain to be found; in the short form, one of 3 %.
    """
    count = 2**17 if context.short else 2**22
    generator = torch.Generator(context.device).manual_seed(0)
    noise = gumbel((count,), generator, torch.float32).double()
    mean, variance = 0.5772156649015329, math.pi**2 / 6
    fourth = 5.4 * variance**2  # the kurtosis of a Gumbel variable is 27 / 5
    first = float(noise.mean() - mean) / math.sqrt(variance / count)
    second = float(noise.var() - variance) / math.sqrt((fourth - variance**2) / count)
    return max(abs(first), abs(second)) < 5, {"z of the mean": first, "z of the variance": second}


def choice_frequencies(context: Context) -> Finding:
    """Return whether hard samples have the probabilities of their logits, each within 5 errors."""
    count = 2**14 if context.short else 2**18
    generator = torch.Generator(context.device).manual_seed(1)
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0]]).to(context.device)
    dist = Categorical(logits).to(context.device)
    z = dist.hard(dist.noise(1, count, generator))[0].double()
    p = dist.probs.detach()[0].double()
    errors = (z.mean(0) - p) / (p * (1 - p) / count).sqrt()
    worst = float(errors.abs().max())
    return worst < 5, {"largest z": worst, "draws": count}


def concrete(context: Context) -> Finding:
    """Return whether the concrete sample and its gradient are those of plain PyTorch."""
    generator = torch.Generator().manual_seed(2)
    logits, noise = (torch.randn(n, 5, 8, generator=generator) for n in (1, 6))
    logits, noise = logits[0].to(context.device), noise.to(context.device)
    errors = []
    for tau in (1.0, 0.1):
        results = []
        for kernels in (ReferenceKernels(), context.kernels()):
            z = kernels.concrete_forward(logits, noise, tau)
            results.append((z, kernels.concrete_backward(z, noise, tau)))
        pairs = zip(*results, strict=True)
        errors += [(a - b).norm() / a.norm() for a, b in pairs]
    worst = float(torch.stack(errors).max())  # NaN if one is
    return worst < 1e-5, {"worst relative error": worst, "limit": 1e-5}


def sampling(context: Context) -> Iterator[Row]:
    """Look at samples."""
    yield context.row(SAMPLING, "concrete sample and gradient", lambda: concrete(context))
    if not context.interpreted:
        yield context.row(SAMPLING, "moments of the noise", lambda: noise_moments(context))
        yield context.row(
            SAMPLING, "frequencies of hard samples", lambda: choice_frequencies(context)
        )
