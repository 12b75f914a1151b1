"""What a step takes: the reference parent, the fused one, captured ones; launches, memory, rates.

Times on a GPU are those of events around a step (what the GPU does, waiting included) and of the
wall clock; where they are equal and launches many, the host is what limits. Fractions are of rates
measured in the same process: copies of 256 MB, products of 4096 x 4096 matrices without TF32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_snas.architecture.space import Space
from nasbench_snas.kernels.accounting import count_step, counting_kernels
from nasbench_snas.kernels.protocol import Kernels
from nasbench_snas.kernels.triton import support
from nasbench_snas.prove.context import Context, Finding
from nasbench_snas.prove.equality import weights
from nasbench_snas.prove.hostcalls import host_calls
from nasbench_snas.prove.record import Row
from nasbench_snas.search.objective import losses_and_errors
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.supernet.fast.graph import GraphedStep
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent

TIMES, WAITS, COMPILED = "times", "waits of the host", "compilations"

SIZES = {
    "tiny": (4, 8, 4, 2, 2),
    "small": (32, 16, 8, 5, 4),
    "mid": (16, 32, 16, 8, 4),
    "paper": (64, 32, 16, 8, 4),
}
"""Batch, side of the images, channels, cells, nodes of a cell."""

Step = Callable[[], Any]


def parent(context: Context, size: str, fused: bool, dtype: torch.dtype) -> nn.Module:
    """Return a parent of that size on the device."""
    _, resolution, channels, cells, nodes = SIZES[size]
    space = context.parent_space(cells, channels, nodes, resolution)
    generator = torch.Generator().manual_seed(0)
    net: nn.Module = ReferenceParent(space, generator)
    if fused:
        net = FastParent(space, generator, kernels=context.kernels(dtype))
    return net.to(context.device, dtype).train()


def batch(net: nn.Module, size: str, hot: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, labels and weights for a parent."""
    like = next(net.parameters())
    count, resolution = SIZES[size][:2]
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(count, 3, resolution, resolution, generator=generator)
    labels = torch.randint(10, (count,), generator=generator).to(like.device)
    z = weights(net.space, 1, hot).to(like)  # type: ignore[arg-type]
    return images.to(like), labels, z


def options(net: nn.Module, hot: bool) -> dict[str, bool]:
    """Return how a search calls a parent: all operations, or one an edge, chosen on the device."""
    if not hot:
        return {"all_operations": True}
    return {"single_path": True} if isinstance(net, FastParent) and net.chooses else {}


def step_of(net: nn.Module, given: tuple[Tensor, Tensor, Tensor], hot: bool) -> Step:
    """Return a forward and backward pass for theta and the weights."""
    images, labels, z = given
    parameters, how = list(net.parameters()), options(net, hot)

    def step() -> Any:
        leaf = z.detach().requires_grad_()
        losses, _ = losses_and_errors(net(images, leaf, **how), labels)
        return torch.autograd.grad(losses.sum(), [leaf, *parameters], allow_unused=True)

    return step


def timed(context: Context, step: Step, repeats: int) -> dict[str, float]:
    """Return median seconds of a step after two warm-up steps: events, wall clock, process."""
    for _ in range(2):
        step()
    context.wait()
    walls, events, processors = [], [], []
    for _ in range(repeats):
        began, own = time.perf_counter(), time.process_time()
        if context.cuda:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            step()
            last.record()
            torch.cuda.synchronize()
            events.append(first.elapsed_time(last) / 1e3)
        else:
            step()
        walls.append(time.perf_counter() - began)
        processors.append(time.process_time() - own)
    found = {"wall s": sorted(walls)[repeats // 2]}
    if events:
        found["events s"] = sorted(events)[repeats // 2]
    else:
        found["processor s"] = sorted(processors)[repeats // 2]
    return found


def rates(context: Context) -> dict[str, float]:
    """Return bytes a second of a copy and operations a second of a product, measured."""
    elements, side = (2**26, 4096) if context.cuda else (2**22, 512)
    x = torch.ones(elements, device=context.device)
    y, a = torch.empty_like(x), torch.randn(side, side, device=context.device)
    copies = timed(context, lambda: y.copy_(x), 5)
    products = timed(context, lambda: a @ a, 5)
    key = "events s" if context.cuda else "wall s"
    return {"copy B/s": 8 * elements / copies[key], "product FLOP/s": 2 * side**3 / products[key]}


def step_on_paper(
    space: Space, batch: int, kernels: Kernels, used: bool | Tensor,
    dtype: torch.dtype = torch.float32,
) -> Step:  # fmt: skip
    """Return a step of a fused parent whose tensors have no data.

    Args:
        space: The space.
        batch: Images.
        kernels: Kernels that launch nothing.
        used: Which operations run, shape ``(1, E, K)``; True: all.
        dtype: Type in memory.
    """
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=kernels)
    net = net.to("meta", dtype).train()
    shape = (batch, space.in_channels, space.resolution, space.resolution)
    images = torch.empty(shape, device="meta", dtype=dtype)
    z = torch.empty(1, space.num_edges, space.num_operations, device="meta", dtype=dtype)
    z.requires_grad_()

    def step() -> None:
        net(images, z, all_operations=used).sum().backward()

    return step


def paper_costs(context: Context, size: str, hot: bool) -> dict[str, int]:
    """Return launches and bytes of a fused step on paper; nothing runs (tensors have no data)."""
    count, resolution, channels, cells, nodes = SIZES[size]
    space = context.parent_space(cells, channels, nodes, resolution)
    kernels = counting_kernels()
    step = step_on_paper(space, count, kernels, weights(space, 1, True) != 0 if hot else True)
    for _ in range(2):
        counted = count_step(step, kernels)
    return {"launches": counted.launches, "bytes": counted.bytes}


def sized(context: Context, size: str, kind: str, dtype: torch.dtype) -> Finding:
    """Return times of one kind of step at one size."""
    hot, repeats = "one-hot" in kind, 3 if context.short else 10
    net = parent(context, size, fused="reference" not in kind, dtype=dtype)
    given = batch(net, size, hot)
    step = step_of(net, given, hot)
    if context.cuda:
        torch.cuda.reset_peak_memory_stats(context.device)
    if "captured" in kind:
        graph = GraphedStep(
            lambda images, labels, z: losses_and_errors(
                net(images, z, **options(net, hot)), labels
            ),
            list(net.parameters()), given, list(net.buffers()),
        )  # fmt: skip
        values = timed(context, lambda: graph(*given), repeats)
    else:
        values = timed(context, step, repeats)
    more: dict[str, Any] = {}
    if context.cuda:
        more["peak memory GB"] = torch.cuda.max_memory_allocated(context.device) / 1e9
        if "captured" not in kind:
            more["launches"] = _launches(step)
    return None, values | more


def _launches(step: Step) -> int:
    """Return how many kernels a step launches, by the profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    return sum(event.count for event in profiler.key_averages() if event.device_time_total > 0)


def times(context: Context) -> Iterator[Row]:
    """Time steps, the most telling first."""
    if context.short:
        sizes: tuple[str, ...] = ("tiny",)
    else:
        sizes = ("paper", "small", "mid") if context.cuda else ("small",)
    yield context.row(TIMES, "rates of this machine", lambda: (None, rates(context)))
    for size in sizes:
        kinds = ["fused, soft", "reference, soft", "fused, one-hot"]
        if context.cuda:
            kinds.insert(1, "captured, soft")
            kinds += ["captured, one-hot", "fused, soft, bfloat16"]
        for kind in kinds:
            if context.left < 0:
                yield context.skipped(TIMES, f"{size}: {kind}", "no time left")
                continue
            dtype = torch.bfloat16 if "bfloat16" in kind else torch.float32
            yield context.row(
                TIMES,
                f"{size}: {kind}",
                lambda s=size, k=kind, d=dtype: sized(context, s, k, d),  # type: ignore[misc]
            )
    if not context.short:
        for size, hot in (("paper", False), ("paper", True), ("small", False)):
            case = f"{size}: {'one-hot' if hot else 'soft'}, on paper"
            if not support.installed():
                yield context.skipped(TIMES, case, support.NOT_INSTALLED)
                continue
            yield context.row(
                TIMES,
                case,
                lambda s=size, h=hot: (None, paper_costs(context, s, h)),  # type: ignore[misc]
            )


def waited(context: Context, estimator: str) -> Finding:
    """Return how often a search step makes the host wait, and where."""
    settings = [
        "data.dataset=fake", "data.fake.train_images=160", "search.batch_size=16", "space.nodes=2",
        "space.cells=2", "space.channels=4",
    ]  # fmt: skip
    planned = plan_run(context.registry, estimator, "darts-cnn", assignments=settings)
    search = Search(planned.config, context.registry, context.device)
    for _ in range(3):
        search.one_step()
    states = search.learner.alpha_optimizer.state.values()
    steps = [state["step"] for state in states if "step" in state]
    with host_calls(host=steps) as found:
        search.one_step()
    where = {f"{what} {place}": number for (what, place), number in found.found.most_common(6)}
    # On a CPU every step is read at once, so that there is no limit to hold it to.
    limit = 1 if search.estimator.dense else 2
    return (found.total <= limit if context.cuda else None), {"waits": found.total, **where}


def waits(context: Context) -> Iterator[Row]:
    """Count what makes the host wait in a step of a search."""
    for estimator in ("snas", "rloo", "darts", "enas")[: 2 if context.short else 4]:
        yield context.row(WAITS, estimator, lambda e=estimator: waited(context, e))  # type: ignore[misc]


def compiled(context: Context) -> Finding:
    """Return how many kernels soft and one-hot steps compile, and the seconds they take first."""
    from nasbench_snas.prove.binder import kernels

    def number() -> int:
        caches = [cache[0] for kernel in kernels() for cache in kernel.device_caches.values()]
        return sum(len(cache) for cache in caches)

    net = parent(context, "small", True, torch.float32)
    before, began = number(), time.perf_counter()
    step_of(net, batch(net, "small"), False)()
    context.wait()
    soft, seconds = number() - before, time.perf_counter() - began
    for seed in range(30):
        images, labels, _ = batch(net, "small")
        z = weights(net.space, 1, True, seed).to(images)  # type: ignore[arg-type]
        step_of(net, (images, labels, z), True)()
    more = number() - before - soft
    return more == 0, {"soft": soft, "first step s": seconds, "more in 30 one-hot steps": more}


def planned_compilations(context: Context) -> Finding:
    """Return the same by Triton's binder alone: nothing is compiled or launched."""
    from nasbench_snas.kernels.triton.backend import TritonKernels
    from nasbench_snas.prove.binder import compilations

    space = context.parent_space(cells=2, channels=4, nodes=1, resolution=8)
    net = FastParent(space, torch.Generator().manual_seed(0), kernels=TritonKernels())
    with compilations() as found:
        net(torch.zeros(2, 3, 8, 8), weights(net.space, 1, False).float()).sum().backward()
        soft = len(found.keys)
        for seed in range(6):
            z, how = weights(net.space, 1, True, seed).float(), options(net, seed % 2 == 0)
            net(torch.zeros(2, 3, 8, 8), z, **({} if seed % 2 else how)).sum().backward()
    more = len(found.keys) - soft
    return more == 0, {"soft": soft, "more in 6 one-hot steps": more}


def compilations_of(context: Context) -> Iterator[Row]:
    """Count kernels."""
    if not support.installed():
        yield context.skipped(COMPILED, "kernels", support.NOT_INSTALLED)
    elif context.cuda:
        yield context.row(COMPILED, "on the device", lambda: compiled(context))
    else:
        yield context.row(COMPILED, "by Triton's binder", lambda: planned_compilations(context))
