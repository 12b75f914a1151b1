"""The conformance checks of ``antithetic``, and what is particular to it."""

import torch
from nasbench_snas_antithetic.antithetic import Antithetic

from nasbench_snas.api import Categorical
from nasbench_snas.testing import EstimatorConformance


class TestAntithetic(EstimatorConformance):
    estimator = Antithetic


def test_both_architectures_have_the_law_p():
    dist = Categorical(torch.tensor([[0.3, -1.0, 0.7]], dtype=torch.float64))
    uniform = ((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)[:, None]
    z = Antithetic().weights(dist.replicate(len(uniform)), uniform)
    for draw in range(2):
        torch.testing.assert_close(z[:, draw].mean(0), dist.probs[0].detach(), atol=2e-5, rtol=0)


def test_draws_of_a_pair_are_mirrored():
    dist = Categorical(torch.zeros(2, 4, dtype=torch.float64))
    z = Antithetic().weights(dist, torch.tensor([[0.1, 0.6]], dtype=torch.float64))
    assert z.argmax(dim=-1).tolist() == [[[0, 2], [3, 1]]]
