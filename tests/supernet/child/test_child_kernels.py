"""Derived networks on the compiled kernels: equal to the plain modules, with the same names."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.errors import ConfigError
from nasbench_snas.kernels.cpu import build
from nasbench_snas.registry import Registry
from nasbench_snas.retrain.loop import Retraining
from nasbench_snas.retrain.plan import Target, plan_retraining
from nasbench_snas.retrain.runner import retrain_folder, run_retraining
from nasbench_snas.runs.folder import read_json
from nasbench_snas.runs.options import RunOptions
from nasbench_snas.supernet.child.cells import WholeCell
from nasbench_snas.supernet.child.kernels import FusedChain, child_kernels, fuse_child
from nasbench_snas.supernet.child.network import ChildNetwork, ChildSettings

needs_kernels = pytest.mark.skipif(
    not build.is_built(), reason="the C++ kernels are not built: nasbench doctor --build"
)

OPERATIONS = ["sep_conv_3x3", "dil_conv_5x5", "sep_conv_5x5", "dil_conv_3x3", "skip_connect"]


def mixed() -> Genotype:
    """Return two cells with every depthwise operation of DARTS, poolings, and strided skips."""
    names = [*OPERATIONS, "max_pool_3x3", "sep_conv_7x7", "avg_pool_3x3"]
    edges = tuple(Edge(name, number % 2, 2 + number % 3) for number, name in enumerate(names))
    inner = (Edge("sep_conv_3x3", 2, 3), Edge("dil_conv_3x3", 3, 4))
    ordered = tuple(sorted(edges + inner, key=lambda edge: (edge.target, edge.source)))
    cell = CellGenotype(2, 3, ordered, (2, 3, 4))
    return Genotype({"normal": cell, "reduce": cell}, name="mixed")


def pair(
    dtype: torch.dtype = torch.float64,
    *,
    size: int = 9,
    auxiliary: bool = False,
    affine: bool = True,
) -> tuple[ChildNetwork, ChildNetwork]:
    """Return a plain and a fused network of the same weights, away from their defaults."""
    settings = ChildSettings(
        channels=5, layers=3, auxiliary=auxiliary, resolution=size, affine=affine
    )
    plain, fused = (
        ChildNetwork(mixed(), settings, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, tensor in plain.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(0.5 + noise if "mean" not in name else noise - 0.5)
    fused.load_state_dict(plain.state_dict())
    kernels, _ = child_kernels("cpu", "cpu", dtype)
    assert kernels is not None
    assert fuse_child(fused.to(dtype), kernels) > 10
    return plain.to(dtype), fused


def gradients(network: ChildNetwork, images: torch.Tensor, drop: float) -> dict[str, torch.Tensor]:
    """Return logits, loss gradients of images and parameters, and buffers after one pass."""
    images = images.clone().requires_grad_()
    masks = None
    if drop:
        masks = network.draw_masks(len(images), drop, torch.Generator().manual_seed(5))
        masks = masks.to(images)
    out = network(images, masks=masks)
    weights = torch.linspace(-1, 1, out.logits.numel()).view_as(out.logits).to(images)
    loss = (out.logits * weights).sum() + out.logits.square().sum()
    if out.auxiliary is not None:
        loss = loss + 0.4 * (out.auxiliary * weights).sum()
    network.zero_grad(set_to_none=True)
    loss.backward()
    found = {"logits": out.logits.detach(), "images": images.grad}
    if out.auxiliary is not None:
        found["auxiliary"] = out.auxiliary.detach()
    found |= {f"d {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found | {name: b.clone() for name, b in network.named_buffers()}


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Return the largest difference relative to each tensor's largest value (or 1)."""
    assert a.keys() == b.keys()
    return max(
        float((a[name] - b[name]).abs().max()) / max(1.0, float(a[name].abs().max())) for name in a
    )


@needs_kernels
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("batch", "size", "drop", "auxiliary", "affine"),
    [(3, 9, 0.3, False, True), (1, 11, 0.0, False, True), (2, 16, 0.2, True, True),
     (2, 8, 0.0, False, False)],
)  # fmt: skip
def test_a_fused_child_equals_the_plain_one_in_float64(
    training: bool, batch: int, size: int, drop: float, auxiliary: bool, affine: bool
) -> None:
    networks = pair(size=size, auxiliary=auxiliary, affine=affine)
    generator = torch.Generator().manual_seed(6)
    images = torch.randn(batch, 3, size, size, generator=generator, dtype=torch.float64)
    plain, fused = (gradients(network.train(training), images, drop) for network in networks)
    assert ("auxiliary" in plain) == (auxiliary and training)
    assert any(name.endswith("num_batches_tracked") and int(plain[name]) == training
               for name in plain)  # fmt: skip
    assert largest_difference(plain, fused) < 1e-9


@needs_kernels
def test_several_float32_steps_stay_near_the_plain_child() -> None:
    networks = pair(torch.float32, size=16)
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(8, 3, 16, 16, generator=generator)
    labels = torch.randint(0, 10, (8,), generator=generator)
    losses = []
    for network in networks:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        for _ in range(4):
            loss = functional.cross_entropy(network(images).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
        assert math.isfinite(losses[-1])
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)


@needs_kernels
def test_weights_go_from_fused_to_plain_and_back_under_the_same_names() -> None:
    plain, fused = pair()
    names = [name for name, _ in plain.named_parameters()]
    assert names == [name for name, _ in fused.named_parameters()]
    assert list(plain.state_dict()) == list(fused.state_dict())
    images = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    gradients(fused.train(), images, 0.0)
    plain.load_state_dict(fused.state_dict())
    with torch.no_grad():
        one, two = plain.eval()(images).logits, fused.eval()(images).logits
    assert largest_difference({"logits": one}, {"logits": two}) < 1e-9
    gradients(plain.train(), images, 0.0)
    fused.load_state_dict(plain.state_dict())
    assert all(torch.equal(value, fused.state_dict()[n]) for n, value in plain.state_dict().items())


def count_calls(monkeypatch: pytest.MonkeyPatch, fused: ChildNetwork) -> list[str]:
    """Return a list that grows by a word whenever a cell or a unit runs on the kernels."""
    calls: list[str] = []
    kernels = type(next(m for m in fused.modules() if isinstance(m, FusedChain))._kernels)
    unit, cell = kernels.unit_forward, WholeCell.forward

    def counted_unit(self: object, *args: object) -> object:
        calls.append("unit")
        return unit(self, *args)

    def counted_cell(self: WholeCell, *args: Any) -> object:
        calls.append("cell")
        return cell(self, *args)

    monkeypatch.setattr(kernels, "unit_forward", counted_unit)
    monkeypatch.setattr(WholeCell, "forward", counted_cell)
    return calls


@needs_kernels
def test_the_kernels_really_run_and_autocast_and_copies_take_the_plain_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, fused = pair(torch.float32)
    calls = count_calls(monkeypatch, fused)
    images = torch.randn(2, 3, 9, 9)
    fused(images)
    assert calls == ["cell"] * 3
    calls.clear()
    copied = copy.deepcopy(fused)
    assert torch.allclose(copied.eval()(images).logits, fused.eval()(images).logits, atol=1e-4)
    calls.clear()
    copied(images)
    with torch.autocast("cpu", torch.bfloat16):
        fused(images)
        chain = fused.cells["0"].preprocess[0]
        assert isinstance(chain, FusedChain)
        chain(torch.randn(2, 15, 9, 9))
    assert not calls
    fused(images)
    assert calls


@needs_kernels
def test_a_cell_with_other_modules_runs_its_chains_and_equals_the_plain_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A concatenation of a part of the nodes, and a dense convolution."""
    edges = (Edge("sep_conv_3x3", 0, 2), Edge("conv_3x3", 1, 2), Edge("dil_conv_3x3", 2, 3))
    cells = {"reduce": CellGenotype(2, 2, edges, (2, 3))}
    part = {"reduce": CellGenotype(2, 2, (edges[0], Edge("sep_conv_3x3", 1, 3)), (2,))}
    kernels, _ = child_kernels("cpu", "cpu", torch.float64)
    assert kernels is not None
    for found in (cells, part):
        settings = ChildSettings(channels=3, layers=1, resolution=6)
        plain, fused = (
            ChildNetwork(Genotype(found), settings, torch.Generator().manual_seed(3)).double()
            for _ in range(2)
        )
        fuse_child(fused, kernels)
        with monkeypatch.context() as context:
            calls = count_calls(context, fused)
            images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
            two = gradients(fused, images, 0.3)
        assert calls
        assert set(calls) == {"unit"}
        assert largest_difference(gradients(plain, images, 0.3), two) < 1e-9


@needs_kernels
@pytest.mark.parametrize("pool_norm", [False, True])
def test_a_whole_cell_has_normed_poolings_dropped_nodes_and_double_edges(
    pool_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [("max_pool_3x3", 0, 2), ("sep_conv_5x5", 0, 2), ("avg_pool_3x3", 1, 2)]
    ends += [("skip_connect", 1, 3), ("dil_conv_3x3", 2, 3), ("skip_connect", 2, 3)]
    edges = tuple(Edge(*end) for end in ends)
    cell = CellGenotype(2, 3, edges, (2, 3, 4))
    settings = ChildSettings(channels=6, layers=3, resolution=10, pool_norm=pool_norm)
    genotype = Genotype({"normal": cell, "reduce": cell})
    plain, fused = (
        ChildNetwork(genotype, settings, torch.Generator().manual_seed(3)).double()
        for _ in range(2)
    )
    kernels, _ = child_kernels("cpu", "cpu", torch.float64)
    assert kernels is not None
    fuse_child(fused, kernels)
    calls = count_calls(monkeypatch, fused)
    images = torch.randn(3, 3, 10, 10, dtype=torch.float64)
    for _ in range(2):
        one, two = (gradients(network, images, 0.3) for network in (plain, fused))
        assert largest_difference(one, two) < 1e-9
    assert calls == ["cell"] * 6


@needs_kernels
def test_two_passes_before_a_backward_pass_do_not_mix() -> None:
    """Packed weights are shared by passes; each backward pass has its own inputs and masks."""
    networks = pair()
    images = torch.randn(2, 2, 3, 9, 9, dtype=torch.float64)
    found = []
    for network in networks:
        network.zero_grad()
        outs = [network(batch).logits.square().sum() for batch in images]
        network.eval()(images[0])
        network.train()
        for out in outs:
            out.backward()
        found.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    assert largest_difference(*found) < 1e-9


@needs_kernels
def test_a_non_finite_pixel_reaches_the_logits() -> None:
    _, fused = pair(torch.float32)
    images = torch.randn(2, 3, 9, 9)
    images[0, 0, 0, 0] = math.nan
    assert fused.eval()(images).logits[0].isnan().all()
    assert fused.eval()(images).logits[1].isfinite().all()


@needs_kernels
def test_a_batch_norm_of_one_value_is_refused_as_by_torch() -> None:
    _, fused = pair(size=2)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fused(torch.randn(1, 3, 2, 2, dtype=torch.float64))


@needs_kernels
def test_a_fused_child_is_exported_as_plain_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = CellGenotype(2, 1, (Edge("sep_conv_3x3", 0, 2), Edge("dil_conv_3x3", 1, 2)), (2,))
    settings = ChildSettings(channels=2, layers=1, auxiliary=False, resolution=4)
    genotype = Genotype({"reduce": cell}, name="one cell")
    network = ChildNetwork(genotype, settings, torch.Generator().manual_seed(0)).eval()
    kernels, _ = child_kernels("cpu", "cpu", torch.float32)
    assert kernels is not None
    assert fuse_child(network, kernels) == 4
    images = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        expected = network(images).logits
    monkeypatch.setattr(type(kernels), "unit_forward", None)
    program = torch.export.export(network, (images,))
    assert torch.allclose(program.module()(images).logits, expected, atol=1e-5)


def test_devices_and_settings_that_need_the_plain_modules_get_them() -> None:
    kernels, note = child_kernels("auto", "cuda", torch.float32)
    assert kernels is None
    assert "plain modules" in note
    kernels, note = child_kernels("auto", "cpu", torch.float32, plain_because="autocast")
    assert kernels is None
    assert "autocast" in note
    assert child_kernels("reference", "cpu", torch.float32)[0] is None
    with pytest.raises(ConfigError, match="autocast"):
        child_kernels("cpu", "cpu", torch.float32, plain_because="autocast")
    with pytest.raises(ConfigError, match="triton"):
        child_kernels("triton", "cpu", torch.float32)
    with pytest.raises(ConfigError, match="float16"):
        child_kernels("cpu", "cpu", torch.float16)


@needs_kernels
def test_a_retraining_keeps_its_kernels_and_its_checkpoint_serves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NASBENCH_KERNELS", raising=False)
    assignments = [
        'data.dataset="fake"', "data.fake.train_images=16", "data.fake.test_images=8",
        "data.fake.classes=3", "network.channels=2", "network.cells=3", "training.epochs=5",
        "training.batch_size=8", "training.drop_path=0.3",
    ]  # fmt: skip
    target = Target("snas-mild", zoo("snas-mild"))
    config = plan_retraining(Registry(), target, preset="smoke", assignments=assignments).config
    folder = retrain_folder(tmp_path, config)
    ways = [("reference", "plain modules"), ("auto", "plain modules"), ("cpu", "kernels: cpu"),
            ("auto", "kernels: cpu"), ("reference", "plain modules")]  # fmt: skip
    for number, (asked, expected) in enumerate(ways):
        options = RunOptions(kernels=asked, max_epochs=number + 1)
        result = run_retraining(config, Registry(), folder, options)
        assert result["epochs_done"] == number + 1
        assert expected in result["kernels"]
    used = [entry["kernels"] for entry in read_json(folder.path / "env.json")]
    assert used == ["reference", "reference", "cpu", "cpu", "reference"]
    losses = [event["train_loss"] for event in folder.events() if event["kind"] == "epoch"]
    assert len(losses) == 5
    assert all(math.isfinite(loss) for loss in losses)


@needs_kernels
def test_both_ways_of_retraining_take_the_same_steps_in_float64() -> None:
    assignments = [
        'data.dataset="fake"', "data.fake.train_images=16", "data.fake.test_images=8",
        "data.fake.classes=3", "network.channels=2", "network.cells=3", "training.batch_size=8",
    ]  # fmt: skip
    target = Target("darts-v2", zoo("darts-v2"))
    config = plan_retraining(Registry(), target, preset="smoke", assignments=assignments).config
    works = [
        Retraining(config, Registry(), dtype=torch.float64, kernels=name)
        for name in ("reference", "cpu")
    ]
    for work in works:
        work.epoch = 1  # so that path dropout acts
        work.one_step()
        work.one_step()
    plain, fused = (work.network.state_dict() for work in works)
    assert largest_difference(plain, fused) < 1e-9
    assert works[0].evaluate().loss == pytest.approx(works[1].evaluate().loss, rel=1e-9)
