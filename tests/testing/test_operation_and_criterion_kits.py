"""The kits of operations and criteria: what is right passes, each planted error fails its check."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasbench_snas.api import CandidateOperation, Conv, CostCriterion, OperationCost
from nasbench_snas.architecture import operations
from nasbench_snas.testing.target import test_class as kit_of


@pytest.fixture(autouse=True)
def nothing_is_left_over():
    before = dict(operations._offered)
    yield
    operations._offered.clear()
    operations._offered.update(before)


class Body(nn.Module):
    """A pointwise convolution with a norm; ``wrong`` is what is planted."""

    def __init__(self, channels: int, stride: int, affine: bool, wrong: str = "") -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(channels, affine=affine)
        self.spare = nn.Parameter(torch.zeros(0)) if wrong == "dead weight" else None
        self.wrong = wrong
        if wrong == "fixed weights":
            nn.init.constant_(self.conv.weight, 0.1)

    def forward(self, x):
        if self.wrong == "input":
            x.mul_(1.0).add_(1e-3)
        y = self.norm(self.conv(x))
        if self.wrong == "random":
            y = y + 1e-3 * torch.randn_like(y)
        if self.wrong == "batch":
            y = y - y.mean(dim=0, keepdim=True)
        if self.wrong == "no gradient":
            y = y.detach() + self.norm(self.conv(x.detach()))
        if self.wrong == "stride":
            y = y[..., :-1]
        return y


class Right(CandidateOperation):
    """A pointwise convolution."""

    name = "pointwise"
    summary = "pointwise"
    wrong = ""

    def build(self, channels, stride, affine):
        return Body(channels, stride, affine, self.wrong)

    def cost(self, channels, stride, resolution, affine):
        weights, out = channels**2, -(-resolution // stride)
        parameters = weights + 2 * channels * affine + (self.wrong == "parameters")
        return OperationCost(parameters, weights * out**2 + (self.wrong == "macs"), weights)


PLANTED = {
    "random": "a_pass_draws_no_random_numbers",
    "input": "the_input_is_left_as_it_is",
    "batch": "images_of_a_batch_do_not_see_each_other_in_evaluation",
    "fixed weights": "weights_are_drawn_from_torchs_generator_alone",
    "dead weight": "gradients_reach_the_input_and_every_weight",
    "no gradient": "gradients_reach_the_input_and_every_weight",
    "stride": "output_keeps_channels_and_follows_the_stride",
    "parameters": "declared_parameters_are_those_of_the_module",
    "macs": "declared_multiply_adds_are_those_of_torchs_counter",
}


def own_checks(target: type) -> list[str]:
    kit = kit_of(target)
    shared = {name for name in dir(kit.__mro__[2]) if name.startswith("test_")}
    return [check for check in kit.checks() if f"test_{check}" not in shared]


def run(target: type, check: str) -> None:
    getattr(kit_of(target)(), f"test_{check}")()


@pytest.mark.parametrize("check", own_checks(Right))
def test_a_right_operation_passes(check):
    run(Right, check)


@pytest.mark.parametrize(("wrong", "check"), PLANTED.items())
def test_a_planted_error_of_an_operation_fails_its_check(wrong, check):
    with pytest.raises(Exception, match=r".") as caught:
        run(type("Wrong", (Right,), {"wrong": wrong}), check)
    assert not isinstance(caught.value, pytest.skip.Exception)


def test_declared_units_pass_too():
    units = ((Conv((3, 3)),), (Conv((1, 1), strided=(False, False)),))
    plain = {"name": "two-units", "summary": "two units", "units": units}
    target = type("TwoUnits", (CandidateOperation,), plain)
    for check in own_checks(target):
        run(target, check)


class Count(CostCriterion):
    """One for each operation but none."""

    name = "count"
    summary = "operations"
    unit = "operations"
    wrong = ""
    calls = 0

    def table(self, space):
        type(self).calls += 1
        row = [float(name != "none" or self.wrong == "none") for name in space.operations]
        if self.wrong == "moving":
            row = [value * self.calls for value in row]
        if self.wrong == "negative":
            row[-1] = -1.0
        return [row] * (space.num_edges - (self.wrong == "short"))


WRONG = {
    "none": "an_absent_edge_costs_nothing",
    "moving": "the_same_space_has_the_same_table",
    "negative": "the_table_has_a_number_for_every_edge_and_operation",
    "short": "the_table_has_a_number_for_every_edge_and_operation",
}


@pytest.mark.parametrize("check", own_checks(Count))
def test_a_right_criterion_passes(check):
    run(Count, check)


@pytest.mark.parametrize(("wrong", "check"), WRONG.items())
def test_a_planted_error_of_a_criterion_fails_its_check(wrong, check):
    with pytest.raises(Exception, match=r"none|two tables|negative|shape"):
        run(type("Wrong", (Count,), {"wrong": wrong}), check)
