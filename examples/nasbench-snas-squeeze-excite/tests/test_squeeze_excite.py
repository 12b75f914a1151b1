"""The conformance checks of ``squeeze-excite``, and what is particular to it."""

import torch
from nasbench_snas_squeeze_excite.squeeze_excite import Excited, SqueezeExcite

from nasbench_snas.testing import OperationConformance


class TestSqueezeExcite(OperationConformance):
    operation = SqueezeExcite


def test_channels_are_weighted_by_one_factor_each():
    module = Excited(
        4, 1, 1, False
    ).eval()  # new running statistics: the norm changes next to nothing
    x = torch.rand(2, 4, 3, 3) + 0.5
    factors = module(x) / x
    flat = factors.flatten(2)
    torch.testing.assert_close(flat, flat[..., :1].expand_as(flat), rtol=1e-4, atol=1e-4)
    assert ((flat > 0) & (flat < 1)).all()
