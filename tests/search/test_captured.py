"""Captured steps, values that are read later, and what makes the host wait: without a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nasbench_snas.errors import ConfigError, DivergedError
from nasbench_snas.kernels.accounting import counting_kernels
from nasbench_snas.prove.hostcalls import host_calls
from nasbench_snas.registry import Registry
from nasbench_snas.search.captured import Captured, CapturedLoss
from nasbench_snas.search.objective import SupernetLoss
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.search.totals import CHECK_EVERY, StepTotals
from nasbench_snas.supernet import build
from nasbench_snas.supernet.fast.graph import GraphedStep

SETTINGS = [
    "data.dataset=fake", "data.fake.channels=1", "data.fake.train_images=80", "search.epochs=2",
    "search.batch_size=16", "space.nodes=1", "space.cells=1", "space.channels=2",
]  # fmt: skip

TRANSFORMERS = str(Path(__file__).resolve().parents[2] / "examples/plugins/perturbed.py")


def search_of(estimator: str, *more: str, kernels: str = "reference") -> Search:
    registry = Registry(plugins=[TRANSFORMERS])
    planned = plan_run(registry, estimator, "darts-cnn", assignments=[*SETTINGS, *more])
    return Search(planned.config, registry, "cpu", kernels=kernels)


def repeated(works: Sequence[Callable[[], Any]], device: torch.device) -> Any:
    """What CUDA graphs do, on a CPU: run the works again and write the same tensors."""

    def recorded(work: Callable[[], Any]) -> Any:
        outputs = work()

        def replay() -> None:
            for own, new in zip(outputs, work(), strict=True):
                if own is not None:
                    own.copy_(new)

        return outputs, replay

    return [recorded(work) for work in works]


def silent(works: Sequence[Callable[[], Any]], device: torch.device) -> Any:
    """Graphs whose replay does nothing: what is left is the host's."""
    return [(work(), lambda: None) for work in works]


def state(search: Search) -> list[Tensor]:
    return [*search.parent.state_dict().values(), *search.dist.state_dict().values()]


@pytest.mark.parametrize(
    ("estimator", "level", "transformers"),
    [
        ("snas", "joint", []),
        ("darts", "bilevel", []),
        ("darts", "bilevel", ["perturbed", "beta-decay"]),
        ("straight-through", "joint", []),
    ],
)
def test_a_search_of_captured_steps_is_bit_equal_to_an_eager_one(
    estimator: str, level: str, transformers: list[str]
) -> None:
    results = []
    more = [f"search.level={level}", "cost.eta=0.1", f"transformers={json.dumps(transformers)}"]
    for captured in (False, True):
        search = search_of(estimator, *more)
        search.dense = search.estimator.dense
        search.chooses = True
        if captured:
            search.captured = Captured(search.parent, repeated)
        for _ in range(3):
            search.one_step()
        results.append((state(search), search.sums))
        if search.captured is not None:
            steps = search.captured._steps
            assert len(steps) == (1 if level == "joint" else 2)
            assert all(step is not None and step.calls == 3 for step in steps.values())
            # alpha's step asks for no gradient of theta
            assert sorted(len(step.gradients) > 1 for step in steps.values() if step) == (
                [True] if level == "joint" else [False, True]
            )
    for one, other in zip(results[0][0], results[1][0], strict=True):
        assert torch.equal(one, other)
    assert results[0][1] == results[1][1]


def test_a_captured_loss_whose_memory_was_overwritten_refuses_its_backward_pass() -> None:
    search = search_of("snas")
    images, labels = search.train_stream.next_batch()
    captured = Captured(search.parent, repeated)
    losses = [CapturedLoss(captured, images, labels, True, all_operations=True) for _ in "ab"]
    shape = (1, 1, search.space.num_edges, search.space.num_operations)
    z = torch.rand(shape, requires_grad=True)
    first, second = (loss(z) for loss in losses)
    again = losses[1](z)  # a loss is replayed once: what else it is asked for runs as it is
    second.sum().backward()
    again.sum().backward()
    with pytest.raises(RuntimeError, match="overwritten"):
        first.sum().backward()


def test_draws_whose_losses_count_differently_have_the_gradients_of_eager_ones() -> None:
    gradients = []
    for captured in (False, True):
        search = search_of("snas")
        images, labels = search.train_stream.next_batch()
        loss = SupernetLoss(search.parent, images, labels, all_operations=True)
        if captured:
            steps = Captured(search.parent, repeated)
            loss = CapturedLoss(steps, images, labels, True, all_operations=True)
        shape = (1, 3, search.space.num_edges, search.space.num_operations)
        z = torch.rand(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        value = (loss(z) * torch.tensor([1.0, -2.0, 0.5])).sum()
        torch.autograd.grad(value, z, retain_graph=True)  # may be asked for again
        value.backward()
        own = [p.grad for p in search.parent.parameters() if p.grad is not None]
        gradients.append([z.grad, *own])
    assert len(gradients[0]) > 3
    for one, other in zip(*gradients, strict=True):
        assert one is not None and other is not None and torch.equal(one, other)


def test_what_cannot_be_captured_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """Several replicates, masks, no gradient; and a capture that fails is said once."""

    def refuses(works: Any, device: torch.device) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    search = search_of("snas")
    images, labels = search.train_stream.next_batch()
    captured = Captured(search.parent, refuses)
    loss = CapturedLoss(captured, images, labels, True, all_operations=True)
    z = torch.rand(2, 1, search.space.num_edges, search.space.num_operations, requires_grad=True)
    assert loss(z).shape == (2, 1) and not captured._steps
    with torch.no_grad():
        assert loss(z[:1]).shape == (1, 1) and not captured._steps
    for _ in range(2):
        assert loss(z[:1]).shape == (1, 1)
    assert caplog.text.count("without a CUDA graph") == 1


def test_a_graph_of_a_cpu_is_a_clear_error() -> None:
    tensor = torch.zeros(1, requires_grad=True)
    with pytest.raises(ConfigError, match="cannot be captured"):
        GraphedStep(lambda z: (z,), [], [tensor], [])


def test_values_that_are_read_later_are_the_same() -> None:
    measured = [torch.rand(3, dtype=torch.float64) for _ in range(CHECK_EVERY + 3)]
    now, later = (StepTotals(torch.device("cpu"), deferred) for deferred in (False, True))
    for step, values in enumerate(measured, start=1):
        now.add(values, step)
        later.add(values, step)
    assert now.read() == later.read()
    continued = StepTotals(torch.device("cpu"), True)
    continued.begin(later.read())
    continued.add(measured[0], 1)
    later.add(measured[0], 1)
    assert continued.read() == later.read()


def test_a_loss_that_is_not_finite_is_found_before_a_checkpoint_is_written() -> None:
    search = search_of("snas")
    search.totals = StepTotals(torch.device("cpu"), deferred=True)
    search.learner.check = search.totals.check
    search.one_step()
    with torch.no_grad():
        next(search.parent.parameters()).fill_(float("nan"))
    search.one_step()
    with pytest.raises(DivergedError):
        search.state_dict()


class Operations(TorchDispatchMode):
    """Counts what is dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def noted_search(estimator: str, monkeypatch: pytest.MonkeyPatch, *more: str) -> Search:
    """A search as on a GPU, whose Triton kernels are noted instead of launched."""
    kernels = counting_kernels()
    monkeypatch.setattr(build, "select_backend", lambda *a, **k: (kernels, "noted"))
    search = search_of(estimator, *more, kernels="auto")
    assert kernels.sources is not None
    search.totals = StepTotals(torch.device("cpu"), deferred=True)
    search.learner.check = search.totals.check
    search.dense = search.estimator.dense
    search.chooses = search.parent.chooses  # type: ignore[union-attr]
    return search


def optimiser_steps(search: Search) -> list[Tensor]:
    """Adam counts its steps on the host."""
    states = search.learner.alpha_optimizer.state.values()
    return [state["step"] for state in states if "step" in state]


@pytest.mark.parametrize(
    ("estimator", "level", "most"),
    [
        ("snas", "joint", 0),
        ("darts", "bilevel", 0),
        ("rloo", "joint", 0),
        ("gdas", "bilevel", 0),
        ("straight-through", "joint", 0),
        ("enas", "joint", 2),  # its controller is the host's: weights go there, losses come back
    ],
)
def test_a_step_makes_the_host_wait_hardly_ever(
    estimator: str, level: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soft weights never; one-hot ones neither, since the device chooses what runs by itself."""
    pytest.importorskip("triton")
    search = noted_search(
        estimator, monkeypatch, f"search.level={level}", "cost.eta=0.1", "search.batch_size=8"
    )
    for _ in range(2):  # what is made once
        search.one_step()
    for _ in range(3):
        with host_calls(host=optimiser_steps(search)) as found:
            search.one_step()
            search.totals.due(search.step)
        assert found.total <= most, found.found


@pytest.mark.parametrize("estimator", ["snas", "rloo"])
def test_a_captured_step_dispatches_a_small_part_of_an_eager_one(
    estimator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    counts: list[tuple[int, int]] = []
    for captured in (False, True):
        search = noted_search(estimator, monkeypatch, "space.cells=3")
        launched: list[Any] = []
        search.parent.kernels.launch.observer = launched.append  # type: ignore[union-attr]
        if captured:
            search.captured = Captured(search.parent, silent)
        for _ in range(2):
            search.one_step()
        launched.clear()
        with torch.autograd.set_multithreading_enabled(False), Operations() as operations:
            search.one_step()
        counts.append((operations.count, len(launched)))
    (eager, kernels), (captured_ones, none) = counts
    assert kernels > 150 and none == 0, counts
    assert 0 < 2 * captured_ones < eager, counts  # a CPU's optimisers take tensors one by one
