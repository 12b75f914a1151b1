"""The factory says which parent and kernels run, and falls back where it must."""

import pytest
import torch

from nasbench_snas.kernels.folded import FoldedKernels
from nasbench_snas.spaces.darts_cnn import DartsCNN
from nasbench_snas.supernet import build as build_module
from nasbench_snas.supernet.build import PLAIN_FROM, WAIT_FROM, build_parent, kernels_name
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.reference import ReferenceParent


@pytest.fixture
def space():
    return DartsCNN(cells=2, channels=4, nodes=2).build(3, 5, 8)


def seeded():
    return torch.Generator().manual_seed(0)


def test_the_fast_parent_is_the_default_and_names_its_kernels(space):
    parent, note = build_parent(space, seeded(), kernels="reference")
    assert isinstance(parent, FastParent)
    assert "fused" in note and "reference" in note and "\n" not in note


@pytest.mark.parametrize("options", [{"partial_channels": 2}, {"double_backward": True}])
def test_what_the_fast_parent_cannot_do_takes_the_reference_and_says_why(space, options):
    parent, note = build_parent(space, seeded(), **options)
    assert isinstance(parent, ReferenceParent)
    assert "partial channels" in note or "gradients of gradients" in note


@pytest.fixture
def uncompiled(monkeypatch, tmp_path):
    monkeypatch.setenv("NASBENCH_NO_COMPILER", "1")
    monkeypatch.setenv("NASBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("NASBENCH_KERNELS", raising=False)


def gradient(parent, resolution=8):
    space = parent.space
    z = torch.rand(1, space.num_edges, space.num_operations, requires_grad=True)
    parent(torch.randn(2, 3, resolution, resolution), z).sum().backward()
    return z.grad


def test_without_a_compiler_small_nodes_take_the_reference_parent(space, uncompiled):
    parent, note = build_parent(space, seeded(), batch_size=32)
    assert isinstance(parent, ReferenceParent) and kernels_name(parent) == "plain"
    assert "no C++ compiler" in note and "faster" in note and "\n" not in note
    assert torch.isfinite(gradient(parent)).all()


def test_without_a_compiler_large_nodes_take_fused_cells(space, uncompiled):
    first = 8 * 8 * 4
    parent, note = build_parent(space, seeded(), batch_size=PLAIN_FROM // first)
    assert isinstance(parent, FastParent) and kernels_name(parent) == "reference"
    assert "no C++ compiler" in note
    assert torch.isfinite(gradient(parent)).all()
    small, _ = build_parent(space, seeded(), batch_size=PLAIN_FROM // first - 1)
    assert isinstance(small, ReferenceParent)


@pytest.mark.parametrize("kernels", ["plain", "reference"])
def test_a_continued_run_gets_the_parent_it_began_with_whatever_has_been_built(space, kernels):
    for batch_size in (2, 2**20):
        parent, _ = build_parent(space, seeded(), kernels=kernels, batch_size=batch_size)
        assert kernels_name(parent) == kernels


def test_all_parents_start_from_the_same_weights(space):
    fast, _ = build_parent(space, seeded(), kernels="reference", dtype=torch.float64)
    plain, _ = build_parent(space, seeded(), double_backward=True, dtype=torch.float64)
    state = fast.canonical(fast.state_dict())
    assert all(torch.equal(state[n], t) for n, t in plain.state_dict().items())


@pytest.mark.parametrize("steps", [0, WAIT_FROM - 1, WAIT_FROM])
def test_only_long_runs_wait_for_the_compiler(space, monkeypatch, steps):
    asked = []

    def select(kernels, device, dtype, wait):
        asked.append(wait)
        return FoldedKernels(), "kernels: reference"

    monkeypatch.setattr(build_module, "select_backend", select)
    build_parent(space, seeded(), steps=steps)
    assert asked == [steps == WAIT_FROM]


def test_autocast_takes_the_reference_parent_and_does_not_reach_fused_cells(space):
    parent, note = build_parent(space, seeded(), autocast=True)
    assert isinstance(parent, ReferenceParent) and "autocast" in note
    fast, _ = build_parent(space, seeded(), kernels="reference")
    images, z = torch.randn(2, 3, 8, 8), torch.rand(1, space.num_edges, space.num_operations)
    want = fast(images, z)
    with torch.autocast("cpu", torch.bfloat16):
        got = fast(images, z)
        assert parent(images, z).isfinite().all()
    assert got.dtype == torch.float32 and torch.equal(got, want)
