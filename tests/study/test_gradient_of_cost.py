"""The gradients of the expected cost: what draws say of each form, in every space."""

import pytest
import torch

from nasbench_snas.architecture.distributions import Categorical
from nasbench_snas.registry import Registry
from nasbench_snas.study.resource import cost_gradients


@pytest.mark.parametrize("name", ["snas-unit", "nasbench201", "darts-cnn"])
def test_the_score_form_has_the_exact_mean_and_the_relaxed_form_has_not(name: str) -> None:
    space = Registry().space(name)().build(3, 10, 8)
    generator = torch.Generator().manual_seed(1)
    shape = (space.num_edges, space.num_operations)
    dist = Categorical(torch.randn(shape, generator=generator, dtype=torch.float64))
    exact, pathwise, score = cost_gradients(space, dist, 800, generator, confidence=0.999)
    assert (exact["relative_bias_sq"], exact["relative_variance"]) == (0, 0)
    assert score["low"] <= 0 <= score["high"] and score["relative_variance"] > 0
    assert pathwise["low"] > 0  # a sample at temperature 0.5 is not a draw of the law
    assert pathwise["cosine"] > 0.9 and score["cosine"] > 0.9
