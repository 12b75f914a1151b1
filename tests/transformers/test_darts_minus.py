"""DARTS-: the auxiliary skip against sums by hand, its decay, and that no child has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nasbench_snas.errors import ConfigError
from nasbench_snas.registry import Registry
from nasbench_snas.search.composed import Composed
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.seeding import stream
from nasbench_snas.supernet.build import build_parent
from nasbench_snas.supernet.reference import MixedEdge, ReferenceParent
from nasbench_snas.testing import TransformerConformance
from nasbench_snas.testing.toy import toy_space
from nasbench_snas.transformers.darts_minus import DartsMinus

TINY = ["data.dataset=fake", "data.fake.train_images=48", "data.fake.classes=3", "space.channels=2"]
TINY += ["data.fake.channels=1", "search.batch_size=8", "search.epochs=2", "child.samples=1"]
MINUS = 'transformers=["darts-minus"]'


class TestKit(TransformerConformance):
    transformer = DartsMinus


def search(*more: str, space: str = "darts-cnn", estimator: str = "darts") -> Search:
    sizes = ["space.cells=3", "space.nodes=1"] if space == "darts-cnn" else []
    plan = plan_run(Registry(), estimator, space, assignments=[*TINY, *sizes, MINUS, *more])
    return Search(plan.config, Registry())


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_an_edge_adds_the_weighted_skip_to_its_mixture(weight: float) -> None:
    parent, note = build_parent(toy_space(), stream(0, "theta"), auxiliary_skip=True)
    assert isinstance(parent, ReferenceParent) and "auxiliary skip" in note
    parent.set_auxiliary_weight(weight)
    edge = parent.cell(0).edges[0]
    assert isinstance(edge, MixedEdge)
    x = torch.randn(2, 4, 8, 8, generator=stream(1, "x"))
    row = torch.tensor([0.1, 0.2, 0.3, 0.4])
    operations = list(edge.operations.values())
    by_hand = sum(w * operation(x) for w, operation in zip(row, operations, strict=True))
    assert torch.allclose(edge(x, row, [0, 1, 2, 3]), by_hand + weight * x, atol=1e-6)


def test_without_its_weight_the_parent_is_the_plain_one() -> None:
    """Stride 2 included: the same weights without the auxiliary reductions."""
    one = search()
    parent = one.parent
    assert isinstance(parent, ReferenceParent)
    plain = ReferenceParent(one.space, stream(5, "other"))
    plain.load_canonical(parent.state_dict())
    assert any(".auxiliary." in name for name in parent.state_dict())
    with pytest.raises(RuntimeError, match="auxiliary"):
        plain.load_state_dict(parent.state_dict())
    images, z = torch.randn(4, 1, 8, 8, generator=stream(1, "x")), one.dist.probs.detach()
    for network in (parent, plain):
        network.eval()
    parent.set_auxiliary_weight(0.0)
    assert torch.equal(parent(images, z), plain(images, z))
    parent.set_auxiliary_weight(0.5)
    assert not torch.allclose(parent(images, z), plain(images, z))


def weights_of(one: Search) -> set[float]:
    return {m.auxiliary_weight for m in one.parent.modules() if isinstance(m, MixedEdge)}


@pytest.mark.parametrize("level", ["joint", "bilevel"])
def test_it_fades_linearly_over_the_steps_of_the_run(level: str) -> None:
    one = search(f"search.level={level}", "transformer.darts-minus.start=0.8")
    total = one.total_steps
    for number in range(total):
        one.one_step()
        expected = [0.8 * (1 - number / (total - 1))]
        assert list(weights_of(one)) == pytest.approx(expected)
        if one.epoch_finished:
            assert one.finish_epoch()["auxiliary_weight"] in weights_of(one)
    assert weights_of(one) == {0.0}


def test_children_are_measured_without_it_and_a_continued_search_has_it_again() -> None:
    one = search()
    one.one_step()
    one.one_step()
    shown = weights_of(one)
    assert shown != {0.0}
    with one.as_children():
        assert weights_of(one) == {0.0}
        alone = one.parent.eval()(torch.ones(1, 1, 8, 8), one.dist.mode())
    assert weights_of(one) == shown
    plain = ReferenceParent(one.space, stream(5, "other"))
    plain.load_canonical(one.parent.state_dict())
    assert torch.equal(alone, plain.eval()(torch.ones(1, 1, 8, 8), one.dist.mode()))
    again = search()
    again.load_state_dict(one.state_dict())
    assert weights_of(again) == shown


@pytest.mark.parametrize("estimator", ["rloo", "snas"])
def test_it_goes_with_hard_and_soft_estimators(estimator: str) -> None:
    one = search(space="snas-unit", estimator=estimator)
    one.one_step()
    assert one.parent.space is one.space and "auxiliary skip" in one.note


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["search.track_gradients=2"], "gradients cannot be tracked"),
        (["transformer.darts-minus.start=0"], "must be positive"),
    ],
)
def test_what_does_not_go_together_is_refused(more: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        search(*more)


def test_a_space_with_lasting_auxiliary_skips_is_refused() -> None:
    one = search()
    space = replace(one.space, auxiliary_skip=True)
    with pytest.raises(ConfigError, match="auxiliary skip connections of its own"):
        Composed(one.config, Registry(), space, torch.device("cpu"))
