"""Compiled logits of a reference parent equal its plain ones, with all gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.kernels.cpu import build
from nasbench_snas.oracle.compiled import CompiledLogits
from nasbench_snas.oracle.network import BatchedLoss, BatchedNetwork
from nasbench_snas.registry import Registry
from nasbench_snas.spaces.nasbench201 import NasBench201
from nasbench_snas.spaces.snas_unit import SnasUnit
from nasbench_snas.study.settings import StudySettings
from nasbench_snas.study.study import Study, study_folder
from nasbench_snas.supernet.reference import ReferenceParent

TWO_INPUTS = Space(
    name="small",
    operations=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"),
    cells=(CellType.dense("only", 2, 3),),
    layers=(Layer("residual", 4, 2), Layer("cell", 4, 2, "only")),
    stem_channels=3,
    head="bn-relu-linear",
    affine=True,
    in_channels=1,
    num_classes=3,
    resolution=9,
)
SPACES = {
    "unit": SnasUnit(channels=2).build(1, 3, 5),
    "two-inputs": TWO_INPUTS,
    "nasbench201": NasBench201(stages=1, cells_per_stage=1, channels=2, affine=True).build(1, 3, 4),
}


def networks(space: Space, train: bool) -> tuple[BatchedNetwork, BatchedNetwork]:
    if build.missing_compiler():
        pytest.skip(build.missing_compiler())
    generator = torch.Generator().manual_seed(1)
    parent = ReferenceParent(space, generator).double()
    with torch.no_grad():
        for p in parent.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        for name, buffer in parent.named_buffers():
            if name.endswith("running_mean"):
                buffer += torch.randn(buffer.shape, generator=generator, dtype=buffer.dtype)
    parent.train(train)
    compiled = CompiledLogits.of(parent, wait=True)
    assert compiled is not None
    return BatchedNetwork(parent), BatchedNetwork(parent, compiled)


def gradients(network: BatchedNetwork, hot: bool, everything: bool) -> list[torch.Tensor]:
    space, generator = network.space, torch.Generator().manual_seed(2)
    size = (3, space.in_channels, space.resolution, space.resolution)
    images = torch.randn(size, generator=generator, dtype=torch.float64)
    z = torch.randn(2, 2, space.num_edges, space.num_operations, generator=generator).double()
    z = (z == z.amax(-1, keepdim=True)).double() if hot else z.softmax(-1)
    z.requires_grad_()
    loss = BatchedLoss(network, images, torch.tensor([0, 1, 2]), all_operations=everything)
    value = loss(z)
    theta = list(network.parent.parameters())
    found = torch.autograd.grad(value.square().sum(), [z, *theta], allow_unused=True)
    zeros = [
        torch.zeros_like(t) if g is None else g for g, t in zip(found, [z, *theta], strict=True)
    ]
    return [value.detach(), *zeros]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("hot", "everything"), [(False, False), (True, False), (True, True)])
def test_losses_and_gradients_by_weights_and_theta_are_equal_and_nothing_is_updated(
    name: str, train: bool, hot: bool, everything: bool
) -> None:
    plain, compiled = networks(SPACES[name], train)
    before = {name: buffer.clone() for name, buffer in plain.parent.named_buffers()}
    want, got = (gradients(network, hot, everything) for network in (plain, compiled))
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    assert all(torch.equal(b, before[n]) for n, b in compiled.parent.named_buffers())


def test_weights_that_change_later_are_seen() -> None:
    plain, compiled = networks(SPACES["unit"], True)
    gradients(compiled, False, False)
    with torch.no_grad():
        for p in plain.parent.parameters():
            p.mul_(1.5)
    torch.testing.assert_close(
        gradients(compiled, False, False)[0], gradients(plain, False, False)[0]
    )


def test_gradients_of_gradients_take_the_plain_network() -> None:
    _, compiled = networks(SPACES["unit"], True)
    space = compiled.space
    images = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    z = torch.full((1, 1, space.num_edges, space.num_operations), 0.3).double().requires_grad_()
    loss = BatchedLoss(compiled, images, torch.tensor([0, 1]), double_backward=True)
    (first,) = torch.autograd.grad(loss(z).sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), z)
    assert second.abs().max() > 0


@pytest.mark.parametrize(("built", "network"), [(True, "compiled"), (False, "plain")])
def test_a_study_keeps_the_network_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, built: bool, network: str
) -> None:
    settings = StudySettings.model_validate({"space": {"name": "snas-unit"}})
    folder = study_folder(settings, tmp_path)
    folder.path.mkdir(parents=True)

    def start() -> Any:
        return Study(settings, Registry(), tmp_path, folder, lambda event: None)

    monkeypatch.setattr(build, "build_in_background", lambda: "")
    monkeypatch.setattr(build, "is_built", lambda: built)
    assert start().compiled == (network == "compiled")
    monkeypatch.setattr(build, "is_built", lambda: not built)
    assert start().compiled == (network == "compiled")
