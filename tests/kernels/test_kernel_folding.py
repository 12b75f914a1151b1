"""Folded norms and the rearranged depthwise gradients equal what they replace."""

import pytest
import torch

from nasbench_snas.kernels.depthwise_backward import depthwise_gradients
from nasbench_snas.kernels.folded import FoldedKernels, give, take
from nasbench_snas.kernels.operands import Norm, UnitSpec
from nasbench_snas.kernels.reference import ReferenceKernels


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("size", [(2, 2), (5, 8), (9, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel, dilation", [(3, 1), (5, 1), (3, 2), (5, 2), (7, 1), (3, 3)])
def test_depthwise_gradients_are_those_of_autograd(kernel, dilation, stride, size):
    x = randn(2, *size, 3).permute(0, 3, 1, 2).requires_grad_()
    taps = randn(3, 1, kernel, kernel, seed=1).requires_grad_()
    padding = dilation * (kernel // 2)
    y = torch.nn.functional.conv2d(x, taps, None, stride, padding, dilation, 3)
    dy = randn(*y.shape, seed=2)
    expected = torch.autograd.grad(y, (x, taps), dy)
    with torch.no_grad():
        found = depthwise_gradients(x, dy, taps, stride, dilation)
    for got, want in zip(found, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("rows", [[0], [1, 2], [2, 2, 2], [2, 0, 1], [0, 1, 0]])
def test_giving_is_the_adjoint_of_taking(rows):
    x, index = randn(3, 4), torch.tensor(rows)
    y = randn(len(rows), 4, seed=1)
    total = torch.zeros_like(x)
    give(total, index, y)
    torch.testing.assert_close((total * x).sum(), (take(x, index) * y).sum())


def operands(shift):
    """A unit's input whose norm has a mean far above its deviation, its norm, its weights."""
    x = randn(2, 3, 6, 6, 4)
    ones, zeros = torch.ones(2, 4).double(), torch.zeros(2, 4).double()
    norm = Norm(ones, zeros + shift, zeros, ones)
    weights = [randn(2, 9, 4, seed=1).abs(), randn(2, 4, 5, seed=2)]
    return x, norm, weights, torch.arange(2)


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_statistics_of_a_folded_convolution_are_those_of_its_output(shift):
    x, norm, weights, rows = operands(shift)
    spec, plain = UnitSpec("depthwise", 3), ReferenceKernels()
    _, mean, var = plain.unit_forward(spec, x, norm, weights, rows, rows, True)
    d, *found, covariance = FoldedKernels().folded_forward(spec, x, norm, weights, rows, rows, True)
    torch.testing.assert_close(found, [mean, var], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(d.mean((1, 2, 3)), torch.zeros_like(d[:, 0, 0, 0]), atol=1e-11,
                               rtol=0)  # fmt: skip
    assert covariance.shape == (2, 4, 4)


def test_a_mean_far_above_the_deviation_does_not_cancel_in_single_precision():
    x, norm, weights, rows = operands(0.0)
    x = 1e-2 * x + 30.0
    weights[0] *= (torch.arange(9) == 4)[:, None]  # one tap only: borders see no zeros
    spec, kernels = UnitSpec("depthwise", 3), FoldedKernels()
    exact = kernels.folded_forward(spec, x, norm, weights, rows, rows, True)[2]
    single = [w.float() for w in weights]
    halves = Norm(*(t.float() for t in (norm.scale, norm.shift, norm.mean, norm.inverse)))
    inside = kernels.folded_forward(spec, x.float(), halves, single, rows, rows, True)[2]
    torch.testing.assert_close(inside.double(), exact, rtol=1e-3, atol=0)
