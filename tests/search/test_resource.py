"""The resource term of a search: its three gradients agree, and a target drives eta."""

from __future__ import annotations

import pytest
import torch

from nasbench_snas.api import Categorical
from nasbench_snas.architecture.controller import LSTMController
from nasbench_snas.cost.settings import CostSettings
from nasbench_snas.search.resource import ResourceTerm
from nasbench_snas.spaces.darts_cnn import DartsCNN

SPACE = DartsCNN(nodes=1, cells=2, channels=4).build(1, 10, 8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distribution() -> Categorical:
    shape = (SPACE.num_edges, SPACE.num_operations)
    return Categorical(torch.randn(shape, generator=generator(1), dtype=torch.float64))


def gradient(kind: str, draws: int) -> torch.Tensor:
    settings = CostSettings(eta=0.5, gradient=kind)  # type: ignore[arg-type]
    term, dist = ResourceTerm(SPACE, settings, generator(2)), distribution()
    total = torch.zeros_like(dist.alpha)
    for _ in range(draws):
        value = term.term(dist)
        assert value is not None
        total += torch.autograd.grad(value, dist.alpha)[0]
    return total / draws


@pytest.mark.equation(9, 11)
def test_the_score_gradient_has_the_exact_one_as_its_mean() -> None:
    exact, score = gradient("exact", 1), gradient("score", 6000)
    assert float((score - exact).norm() / exact.norm()) < 0.05
    assert float(exact.sum(dim=-1).abs().max()) < 1e-12


def test_the_relaxed_gradient_points_the_same_way() -> None:
    exact, relaxed = gradient("exact", 1), gradient("pathwise", 2000)
    cosine = torch.nn.functional.cosine_similarity(exact.flatten(), relaxed.flatten(), dim=0)
    assert float(cosine) > 0.9


def test_a_controller_falls_back_to_the_score_form() -> None:
    dist = LSTMController(SPACE.num_edges, SPACE.num_operations, generator=generator(3), hidden=4)
    term = ResourceTerm(SPACE, CostSettings(eta=1.0), generator(4))
    value = term.term(dist)
    assert value is not None
    value.backward()
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in dist.parameters())


def test_without_eta_there_is_no_term_and_the_cost_is_still_known() -> None:
    term, dist = ResourceTerm(SPACE, CostSettings(), generator()), distribution()
    assert term.term(dist) is None
    uniform = torch.full((SPACE.num_edges, SPACE.num_operations), 1 / SPACE.num_operations)
    assert term.expected(uniform) == pytest.approx(1.0)


@pytest.mark.parametrize(("target", "up"), [("share=0.1", True), ("share=5", False)])
def test_a_target_drives_eta_and_its_state_survives(target: str, up: bool) -> None:
    settings = CostSettings(eta=1.0, target=target)
    term, dist = ResourceTerm(SPACE, settings, generator()), distribution()
    for _ in range(10):
        term.update(dist)
    assert (term.eta > 1.0) == up
    other = ResourceTerm(SPACE, settings, generator())
    other.load_state_dict(term.state_dict())
    assert other.eta == term.eta
