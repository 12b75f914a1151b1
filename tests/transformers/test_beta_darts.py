"""beta-DARTS against its closed form."""

from __future__ import annotations

import pytest
import torch

from nasbench_snas.api import Categorical, LossStep
from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.ready import check_ready
from nasbench_snas.seeding import stream
from nasbench_snas.testing import TransformerConformance
from nasbench_snas.testing.toy import toy_space
from nasbench_snas.transformers.beta_darts import BetaDarts


class TestBeta(TransformerConformance):
    transformer = BetaDarts


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_every_logit_decays_by_its_own_probability(progress: float) -> None:
    logits = 3 * torch.randn(5, 4, generator=stream(0, "logits"), dtype=torch.float64)
    dist = Categorical(logits)
    step = LossStep("alpha", progress, toy_space(), stream(0, "x"))
    penalty = BetaDarts().penalty(dist, step)
    assert penalty is not None
    penalty.backward()
    weight = 50 * progress
    by_hand = sum(float(torch.log(torch.exp(row).sum())) for row in logits) / 5
    assert float(penalty.detach()) == pytest.approx(weight * by_hand, rel=1e-12, abs=1e-12)
    right = weight * logits.exp() / logits.exp().sum(dim=-1, keepdim=True) / 5
    assert dist.alpha.grad is not None
    assert torch.allclose(dist.alpha.grad[0], right, atol=1e-12)


TINY = ["data.dataset=fake", "data.fake.train_images=48", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=2", "child.samples=1"]


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        ("fair-darts", "SigmoidWeights"),
        ("enas", "plain categorical|Controller"),
        ("random", "does not train"),
    ],
)
def test_what_has_no_such_logits_is_refused_before_the_run(estimator: str, said: str) -> None:
    registry = Registry()
    chosen = ['transformers=["beta-darts"]']
    plan = plan_run(registry, estimator, "snas-unit", assignments=[*TINY, *chosen])
    with pytest.raises(ConfigError, match=said):
        check_ready(plan.config, registry, kernels="reference")


@pytest.mark.parametrize("name", ["sdarts-rs", "sdarts-adv"])
def test_a_perturbation_of_theta_s_loss_is_refused_where_one_loss_trains_both(name: str) -> None:
    chosen = [f'transformers=["{name}"]']
    with pytest.raises(ConfigError, match="level joint.*\n.*one loss trains both"):
        plan_run(Registry(), "darts", "snas-unit", assignments=[*TINY, *chosen])
